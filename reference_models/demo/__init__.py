"""The demonstration: one photograph through attention in a pretrained backbone, and through the papers' networks."""

from reference_models.demo.run import run

__all__ = ["run"]
