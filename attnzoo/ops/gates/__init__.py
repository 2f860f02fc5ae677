"""Operations on gates: statistics of maps, the gates made of them, and gates applied to maps."""
