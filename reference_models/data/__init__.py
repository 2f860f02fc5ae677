"""Reads a user's copies of the papers' datasets: records, samples, folds, samplers, augmentation.

This package neither contains these datasets nor downloads them: their owners give them to users on application.
"""

from reference_models.data.augmentation import Augmentation, augmentation, list_augmentations
from reference_models.data.dataset import Batch, FaceDataset, Originals, Pictures, Sample, collate
from reference_models.data.folds import Fold, make_folds
from reference_models.data.labels import EXPRESSIONS, Labels
from reference_models.data.layouts import Layout, Reading, layout, list_layouts, read
from reference_models.data.manifest import Manifest, make_manifest, read_manifest
from reference_models.data.own import write as write_records
from reference_models.data.records import PRESENT, Record
from reference_models.data.samplers import au_weights, supplement, tra_net_sampler, undersample
from reference_models.data.tree import DataError, Finding

__all__ = [
    "EXPRESSIONS",
    "PRESENT",
    "Augmentation",
    "Batch",
    "DataError",
    "FaceDataset",
    "Finding",
    "Fold",
    "Labels",
    "Layout",
    "Manifest",
    "Originals",
    "Pictures",
    "Reading",
    "Record",
    "Sample",
    "au_weights",
    "augmentation",
    "collate",
    "layout",
    "list_augmentations",
    "list_layouts",
    "make_folds",
    "make_manifest",
    "read",
    "read_manifest",
    "supplement",
    "tra_net_sampler",
    "undersample",
    "write_records",
]
