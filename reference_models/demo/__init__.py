"""The demonstration: attention in a pretrained backbone, and the papers' networks, on one photograph."""

from reference_models.demo.run import run

__all__ = ["run"]
