"""The torch dataset: lazy, fit for workers, strict about what it is asked for; and batches of it."""

from __future__ import annotations

import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.utils.data import ConcatDataset, DataLoader

from reference_models import data
from reference_models.data import DataError, FaceDataset, Labels, Record, collate
from reference_models.data.augmentation import augmentation
from reference_models.faces.images import ImageError
from tests.reference_models.data import trees

UNITS = Labels.of_units((1, 12))


@pytest.fixture
def root(tmp_path):
    return trees.disfa(tmp_path, subjects=["SN001", "SN002"])


@pytest.fixture
def records(root):
    return data.read("disfa", root, incomplete=True).records


def test_pictures_are_decoded_when_they_are_asked_for(root, records):
    dataset = FaceDataset(root, records, UNITS, threshold=3)
    (root / records[1].image).write_bytes(b"damaged later")
    assert dataset.targets().shape == (8, 2)
    assert dataset[0].image.shape == (3, 8, 12)
    with pytest.raises(ImageError, match=r"00002\.png"):
        dataset[1]


def test_a_dataset_goes_to_workers_and_batches_come_back(root, records):
    dataset = FaceDataset(root, records, UNITS, threshold=3, neutral=True, transform=augmentation("cednn", 16).test)
    copy = pickle.loads(pickle.dumps(dataset))  # noqa: S301 - what a DataLoader does with workers
    assert torch.equal(copy[3].image, dataset[3].image)
    alone = list(DataLoader(dataset, batch_size=3, collate_fn=collate))
    shared = list(DataLoader(dataset, batch_size=3, collate_fn=collate, num_workers=1))
    assert [len(batch.records) for batch in shared] == [3, 3, 2]
    for mine, theirs in zip(alone, shared, strict=True):
        assert theirs.records == mine.records
        assert theirs.image.dtype == torch.float32
        for name in ("image", "target", "levels", "neutral"):
            assert torch.equal(getattr(theirs, name), getattr(mine, name))
        assert theirs.maps is None


def test_datasets_can_be_joined(root, records):
    labels = Labels.of_expressions()
    other = trees.aff_wild2(root / "aff")
    first = FaceDataset(other, data.read("aff-wild2", other).records, labels)
    second = FaceDataset(root, [Record(records[0].image, "", "raf", 1, expression="disgust")], labels)
    joined = ConcatDataset([first, second])
    assert [int(joined[index].target) for index in (0, 10)] == [6, 1]


def test_pictures_of_different_sizes_make_no_batch(root, records):
    trees.picture(root / records[0].image, size=(20, 20))
    dataset = FaceDataset(root, records, UNITS, threshold=3)
    with pytest.raises(ValueError, match=r"must have one size, got \[\(3, 8, 12\), \(3, 20, 20\)\]"):
        collate([dataset[0], dataset[1]])
    with pytest.raises(ValueError, match="1 of 2 samples of a batch have no neutral"):
        collate([dataset[1], replace(dataset[2], neutral=dataset[2].image)])


def test_a_box_crops_and_one_outside_is_refused(root, records):
    inside = replace(records[0], box=(-3, 2, 5, 99))
    dataset = FaceDataset(root, [inside, replace(inside, box=(12, 0, 20, 8))], UNITS, threshold=3)
    assert dataset[0].image.shape == (3, 6, 5)
    with pytest.raises(DataError, match=r"the box \(12, 0, 20, 8\) lies outside its \(12, 8\) pixels"):
        dataset[1]


class Prepared:
    """Pictures with difference maps, as a prepared copy of a dataset has them."""

    def image(self, record):
        return np.full((4, 4, 3), record.frame, np.uint8)

    neutral = image

    def maps(self, record):
        return np.full((5, 4, 4), record.frame % 2, np.uint8)


def test_other_sources_of_pictures(records):
    dataset = FaceDataset(Prepared(), records, UNITS, threshold=3)
    batch = collate([dataset[0], dataset[1]])
    assert batch.image[:, 0, 0, 0].tolist() == [1, 2]
    assert batch.maps.shape == (2, 5, 4, 4)
    assert batch.maps[:, 0, 0, 0].tolist() == [1, 0]
    with pytest.raises(ValueError, match="landmarks belong to the pictures as published"):
        FaceDataset(Prepared(), records, UNITS, threshold=3, landmarks=True)[0]


@pytest.mark.parametrize(
    ("labels", "options", "message"),
    [
        (UNITS, {}, "threshold must be an int from 1 to 5 for action units, got None"),
        (UNITS, {"threshold": 0}, "threshold must be an int from 1 to 5 for action units, got 0"),
        (UNITS, {"threshold": True}, "threshold must be an int from 1 to 5 for action units, got True"),
        (Labels.of_expressions(), {"threshold": 3}, "threshold must be None for expressions, got 3"),
        (UNITS, {"threshold": 3, "landmarks": True, "transform": dict}, "landmarks must be False with a transform"),
        (Labels.of_units([7]), {"threshold": 3}, r"action units \[7\] were not coded in SN001/1"),
    ],
)
def test_arguments_that_contradict_each_other(root, records, labels, options, message):
    with pytest.raises(ValueError, match=message):
        FaceDataset(root, records, labels, **options)


def test_other_bad_arguments(root, records):
    with pytest.raises(TypeError, match="labels must be Labels, got tuple"):
        FaceDataset(root, records, (1, 2), threshold=3)
    with pytest.raises(TypeError, match="neutral must be True or False, got 1"):
        FaceDataset(root, records, UNITS, threshold=3, neutral=1)
    with pytest.raises(ValueError, match="SN001/1 has no neutral frame; leave it out"):
        FaceDataset(root, [replace(records[0], neutral=None)], UNITS, threshold=3, neutral=True)
    with pytest.raises(ValueError, match="records must not be empty"):
        FaceDataset(root, [], UNITS, threshold=3).targets()
    with pytest.raises(ValueError, match=r"unit must be one of \(1, 2, .* got 3"):
        records[0].level(3)
    with pytest.raises(DataError, match="root must be a folder that can be listed"):
        data.read("disfa", root / "bad_landmarks.txt")
    with pytest.raises(TypeError, match="camera_side"):
        data.read("disfa", root, camera_side="Left")
