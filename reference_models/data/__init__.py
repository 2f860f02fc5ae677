"""The papers' datasets, read from a user's own copy: records, samples, folds, samplers, augmentation.

None of these datasets is here or can be downloaded by this package: their owners give them to each user on application.
"""

from reference_models.data.dataset import Batch, FaceDataset, Originals, Pictures, Sample, collate
from reference_models.data.labels import EXPRESSIONS, Labels
from reference_models.data.layouts import Layout, Reading, layout, list_layouts, read
from reference_models.data.records import PRESENT, Record
from reference_models.data.tree import DataError, Finding

__all__ = [
    "EXPRESSIONS",
    "PRESENT",
    "Batch",
    "DataError",
    "FaceDataset",
    "Finding",
    "Labels",
    "Layout",
    "Originals",
    "Pictures",
    "Reading",
    "Record",
    "Sample",
    "collate",
    "layout",
    "list_layouts",
    "read",
]
