"""Augmentations: what is printed, values by hand, and maps that stay on the faces they belong to."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torchvision import tv_tensors

from reference_models.data import FaceDataset, Labels, Record, collate
from reference_models.data.augmentation import augmentation, list_augmentations

BLOB = np.zeros((112, 112, 3), np.uint8)
BLOB[20:60, 10:40] = 200  # off the centre, so that it is seen which way it went
TRAINED = [name for name in list_augmentations() if name != "lla-net"]


class Blob:
    """A bright patch, the same at rest, and maps that are 1 where it is."""

    def image(self, record):
        return BLOB

    neutral = image

    def maps(self, record):
        return np.stack([BLOB[:, :, 0] // 200] * 5)


def views(name, size=112, side="train"):
    record = Record("", "a", "a", 1, units=(1,), levels=(3,), neutral="x")
    transform = getattr(augmentation(name, size), side)
    return FaceDataset(Blob(), [record], Labels.of_units([1]), threshold=3, neutral=True, transform=transform)[0]


@pytest.mark.parametrize("name", TRAINED)
def test_face_rest_and_maps_move_alike_and_maps_stay_binary(name):
    for _ in range(8):
        sample = views(name)
        assert sample.image.dtype == torch.float32
        assert torch.equal(sample.image, sample.neutral)
        assert sample.maps.unique().tolist() == [0, 1]
        grey = sample.image.mean(0)
        bright = grey > (grey.min() + grey.max()) / 2
        overlap = (bright & sample.maps[0].bool()).sum() / (bright | sample.maps[0].bool()).sum()
        assert overlap > (0.93 if name == "dba-net" else 0.999)


@pytest.mark.parametrize("name", ["tra-net", "dba-net"])
def test_faces_are_mirrored_half_of_the_time(name):
    maps = (views(name).maps[0] for _ in range(60))
    left = sum(bool(each[:, :56].sum() > each[:, 56:].sum()) for each in maps)
    assert 12 < left < 48


def test_rotations_stay_within_20_degrees_and_colours_change():
    angles, colours = [], set()
    for _ in range(40):
        sample = views("dba-net")
        rows, columns = torch.nonzero(sample.maps[0], as_tuple=True)
        x, y = columns.double().mean().item() - 55.5, rows.double().mean().item() - 55.5
        angles.append(np.degrees(np.arctan2(y, -abs(x)) - np.arctan2(39.5 - 55.5, 24.5 - 55.5)))
        pixels = torch.full((3, 4, 4), 0, dtype=torch.uint8)
        pixels[0] = 200
        image = augmentation("dba-net", 4).train({"image": tv_tensors.Image(pixels)})["image"]
        colours.add(tuple(image[:, 2, 2].round(decimals=3).tolist()))
    angles = np.remainder(np.array(angles) + 180, 360) - 180
    assert np.abs(angles).max() < 21
    assert np.abs(angles).max() > 10
    assert len(colours) > 20


@pytest.mark.parametrize("name", [name for name in TRAINED if name != "mirrored"])
def test_nothing_is_random_at_test_and_nothing_at_all_in_cednn(name):
    for side in ("test", "train") if name in {"cednn", "none"} else ("test",):
        assert torch.equal(views(name, 56, side).image, views(name, 56, side).image)
        assert views(name, 56, side).image.shape == (3, 56, 56)
        assert views(name, 56, side).maps.shape == (5, 56, 56)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("tra-net", [30 - 91.4953, 20 - 103.8827, 10 - 131.0912]),
        ("cednn", [10 / 255, 20 / 255, 30 / 255]),
        ("dba-net", [(10 / 255 - 0.485) / 0.229, (20 / 255 - 0.456) / 0.224, (30 / 255 - 0.406) / 0.225]),
    ],
)
def test_values_by_hand(name, expected):
    image = tv_tensors.Image(torch.tensor([10, 20, 30], dtype=torch.uint8).view(3, 1, 1).expand(3, 8, 8))
    found = augmentation(name, 8).test({"image": image})["image"]
    torch.testing.assert_close(found.as_subclass(torch.Tensor)[:, 3, 4], torch.tensor(expected))


def test_lla_net_crops_in_training_and_sees_ten_crops_at_test():
    ramp = np.add.outer(np.arange(128), np.zeros(128)).astype(np.uint8)[:, :, None].repeat(3, 2)
    ramp[:, :, 1] = np.arange(128)

    class Ramp(Blob):
        def image(self, record):
            return ramp

        def maps(self, record):
            return None

    record = Record("", "", "a", 1, expression="fear")
    paper = augmentation("lla-net", 112)
    train = FaceDataset(Ramp(), [record], Labels.of_expressions(), transform=paper.train)
    rows = lambda image: (image[0] * 0.229 + 0.485) * 255  # noqa: E731
    columns = lambda image: (image[1] * 0.224 + 0.456) * 255  # noqa: E731
    corners, mirrored = set(), 0
    for _ in range(60):
        image = train[0].image
        assert image.shape == (3, 112, 112)
        corners.add(round(float(rows(image)[0, 0])))
        mirrored += bool(columns(image)[0, 0] > columns(image)[0, -1])
    assert min(corners) < 4
    assert max(corners) > 12
    assert max(corners) <= 16
    assert 12 < mirrored < 48
    test = FaceDataset(Ramp(), [record, record], Labels.of_expressions(), transform=paper.test)
    batch = collate([test[0], test[1]])
    assert batch.image.shape == (2, 10, 3, 112, 112)
    starts = [(round(float(rows(crop)[0, 0])), round(float(columns(crop)[0, 0]))) for crop in batch.image[1]]
    assert starts[:5] == [(0, 0), (0, 16), (16, 0), (16, 16), (8, 8)]
    assert torch.equal(batch.image[1, 5:].flip(-1).sort(0).values, batch.image[1, :5].sort(0).values)


def test_mirrored_is_seen_both_ways_at_test_and_is_moved_in_training():
    test = augmentation("mirrored", 56).test
    image = tv_tensors.Image(torch.from_numpy(BLOB).permute(2, 0, 1))
    both = test({"image": image})["image"]
    assert both.shape == (2, 3, 56, 56)
    assert both.dtype == torch.float32
    assert type(both) is torch.Tensor
    assert torch.equal(both[0], augmentation("moved", 56).test({"image": image})["image"])
    assert torch.equal(both[1], both[0].flip(-1))
    for seed in range(4):
        drawn = []
        for name in ("mirrored", "moved"):
            torch.manual_seed(seed)
            drawn.append(views(name).image)
        assert torch.equal(*drawn)


@pytest.mark.parametrize("name", ["lla-net", "mirrored"])
def test_several_views_are_of_the_picture_alone(name):
    with pytest.raises(ValueError, match="several views can be made of the picture alone, got image, maps, neutral"):
        views(name, side="test")


def test_bad_arguments():
    with pytest.raises(ValueError, match=r"name must be one of 'cednn', 'dba-net', .* got 'igc-net'"):
        augmentation("igc-net", 112)
    with pytest.raises(ValueError, match="image_size must be at least 1, got 0"):
        augmentation("cednn", 0)
