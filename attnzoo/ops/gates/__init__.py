"""Operations of gating layers: pooling maps, computing gates, and multiplying maps by gates."""
