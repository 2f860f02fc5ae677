"""The papers' augmentations: what is done to pictures on the way into a network, in training and at test.

All of them take and return the dict of a :class:`~reference_models.data.FaceDataset`; pictures, neutral faces and
difference maps move alike, and maps stay 0 or 1. Pictures become float32.

================  ==============================================  =======================  =========================
name              in training                                     at test                  values
================  ==============================================  =======================  =========================
``tra-net``       horizontal flip                                 -                        VGGFace2's: blue, green,
                                                                                           red, 0 to 255, less mean
``lla-net``       random crop, horizontal flip                    ten crops: (10, 3, ..)   ImageNet's mean, deviation
``cednn``         -                                               -                        0 to 1
``dba-net``       hue, saturation, horizontal flip, rotation of   -                        ImageNet's mean, deviation
                  up to 20 degrees
``moved``         horizontal flip, moved by up to 1/32            -                        0 to 1
``mirrored``      as ``moved``                                    mirrored too: (2, 3, ..) 0 to 1
``none``          -                                               -                        0 to 1
================  ==============================================  =======================  =========================

``moved``, ``mirrored`` and ``none`` are of no paper. Not printed in the papers, and chosen here: how far hue (5% of the
circle) and saturation (half) change; that LLA-Net crops from 8/7 of the picture's side (128 for 112); the values, which
are those of each backbone's pretraining.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as F

from reference_models.checks import one_of, positive_int
from reference_models.data.dataset import Transform, Views

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
VGGFACE2_BGR = (91.4953, 103.8827, 131.0912)
"""Mean of blue, green and red that the published VGGFace2 networks subtract."""
HUE, SATURATION, DEGREES = 0.05, 0.5, 20.0
_LARGER = 8 / 7


@dataclass(frozen=True)
class Augmentation:
    """What a network's pictures go through.

    Attributes:
        train: In training.
        test: At validation and test.
    """

    train: Transform
    test: Transform


def list_augmentations() -> list[str]:
    """Return the names, sorted."""
    return sorted(_PAPERS)


def augmentation(name: str, image_size: int) -> Augmentation:
    """Return a paper's augmentation.

    Args:
        name: One of :func:`list_augmentations`.
        image_size: Side of the square pictures that the network takes, in pixels.

    Raises:
        TypeError: If ``image_size`` is no integer.
        ValueError: If there is none of that name, or ``image_size`` is below 1.
    """
    one_of("name", name, list_augmentations())
    return _PAPERS[name](positive_int("image_size", image_size))


class ToUnit:
    """Makes pictures float32, 0 to 1."""

    def __call__(self, views: Views) -> Views:
        """Return the views; maps are left as they are."""
        return _pictures(views, lambda image: F.to_dtype(image, torch.float32, scale=True))


class ToVGGFace2:
    """Makes pictures what the published VGGFace2 networks take: blue, green, red, 0 to 255, less their mean."""

    def __call__(self, views: Views) -> Views:
        """Return the views; maps are left as they are."""
        mean = torch.tensor(VGGFACE2_BGR).view(3, 1, 1)
        return _pictures(views, lambda image: F.to_dtype(image, torch.float32, scale=True).flip(-3) * 255 - mean)


class ToImageNet:
    """Makes pictures what ImageNet's networks take: 0 to 1, less the mean, over the deviation."""

    def __call__(self, views: Views) -> Views:
        """Return the views; maps are left as they are."""
        mean, deviation = (torch.tensor(values).view(3, 1, 1) for values in IMAGENET)
        return _pictures(views, lambda image: (F.to_dtype(image, torch.float32, scale=True) - mean) / deviation)


class TenViews:
    """Makes ten crops of each picture: four corners and the centre, and their mirror images.

    Args:
        size: Side of the crops in pixels.
    """

    def __init__(self, size: int) -> None:
        self.size = size

    def __call__(self, views: Views) -> Views:
        """Return the views with ``image`` (10, 3, size, size).

        Raises:
            ValueError: If there is anything else beside the picture: neutral faces and maps have one view.
        """
        return {"image": torch.stack(F.ten_crop(_alone(views), self.size))}


class MirrorViews:
    """Makes two views of each picture: itself and its mirror image."""

    def __call__(self, views: Views) -> Views:
        """Return the views with ``image`` (2, 3, H, W).

        Raises:
            ValueError: If there is anything else beside the picture: neutral faces and maps have one view.
        """
        image = _alone(views)
        return {"image": torch.stack([image, F.horizontal_flip(image)])}


def _alone(views: Views) -> Tensor:
    """Return the picture, if there is nothing beside it."""
    if set(views) != {"image"}:
        raise ValueError(f"several views can be made of the picture alone, got {', '.join(sorted(views))}")
    return views["image"].as_subclass(Tensor)


def _pictures(views: Views, change: Callable[[Tensor], Tensor]) -> Views:
    return {
        name: view if isinstance(view, tv_tensors.Mask) else change(view.as_subclass(Tensor))
        for name, view in views.items()
    }


def _square(size: int) -> Any:
    return v2.Resize((size, size), antialias=True)


def _plain(size: int) -> Augmentation:
    steps = v2.Compose([_square(size), ToUnit()])
    return Augmentation(train=steps, test=steps)


def _moved(size: int) -> Augmentation:
    away = max(1, size // 32)
    steps = [_square(size), v2.RandomHorizontalFlip(), v2.RandomCrop(size, padding=away, padding_mode="edge"), ToUnit()]
    return Augmentation(train=v2.Compose(steps), test=_plain(size).test)


def _mirrored(size: int) -> Augmentation:
    return Augmentation(train=_moved(size).train, test=v2.Compose([_square(size), MirrorViews(), ToUnit()]))


def _tra_net(size: int) -> Augmentation:
    return Augmentation(
        train=v2.Compose([_square(size), v2.RandomHorizontalFlip(), ToVGGFace2()]),
        test=v2.Compose([_square(size), ToVGGFace2()]),
    )


def _lla_net(size: int) -> Augmentation:
    larger = _square(round(size * _LARGER))
    return Augmentation(
        train=v2.Compose([larger, v2.RandomCrop(size), v2.RandomHorizontalFlip(), ToImageNet()]),
        test=v2.Compose([larger, TenViews(size), ToImageNet()]),
    )


def _dba_net(size: int) -> Augmentation:
    return Augmentation(
        train=v2.Compose(
            [
                _square(size),
                v2.ColorJitter(saturation=SATURATION, hue=HUE),
                v2.RandomHorizontalFlip(),
                v2.RandomRotation(DEGREES, interpolation=v2.InterpolationMode.BILINEAR),
                ToImageNet(),
            ]
        ),
        test=v2.Compose([_square(size), ToImageNet()]),
    )


_PAPERS: Mapping[str, Callable[[int], Augmentation]] = MappingProxyType(
    {
        "cednn": _plain,
        "dba-net": _dba_net,
        "lla-net": _lla_net,
        "mirrored": _mirrored,
        "moved": _moved,
        "none": _plain,
        "tra-net": _tra_net,
    }
)
