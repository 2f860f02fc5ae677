"""The papers' augmentations: the transforms of pictures before the network, in training and at test.

Each takes and returns the dictionary of tensors of a :class:`~reference_models.data.FaceDataset`. Pictures, neutral
faces and difference maps get the same geometric transform; maps stay 0 or 1, pictures become float32.

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

``moved``, ``mirrored`` and ``none`` are not from the papers. Values that the papers do not print and that were chosen
here: the change of hue (5% of the circle) and saturation (half); that LLA-Net crops from a picture with 8/7 of the side
(128 for 112); the value ranges, which are those of each backbone's pretraining.
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
    """The transforms of a network's pictures.

    Attributes:
        train: Transform in training.
        test: Transform at validation and test.
    """

    train: Transform
    test: Transform


def list_augmentations() -> list[str]:
    """Return the names, sorted."""
    return sorted(_AUGMENTATIONS)


def augmentation(name: str, image_size: int) -> Augmentation:
    """Return an augmentation by name.

    Args:
        name: One of :func:`list_augmentations`.
        image_size: Side of the square pictures that the network takes, in pixels.

    Raises:
        TypeError: If ``image_size`` is not an integer.
        ValueError: If there is no augmentation of that name, or ``image_size`` is below 1.
    """
    one_of("name", name, list_augmentations())
    return _AUGMENTATIONS[name](positive_int("image_size", image_size))


class ToUnit:
    """Converts pictures to float32, 0 to 1."""

    def __call__(self, views: Views) -> Views:
        """Return the views; maps are left as they are."""
        return _pictures(views, lambda image: F.to_dtype(image, torch.float32, scale=True))


class ToVGGFace2:
    """Converts pictures to the input of the published VGGFace2 networks: BGR, 0 to 255, minus the mean."""

    def __call__(self, views: Views) -> Views:
        """Return the views; maps are left as they are."""
        mean = torch.tensor(VGGFACE2_BGR).view(3, 1, 1)
        return _pictures(views, lambda image: F.to_dtype(image, torch.float32, scale=True).flip(-3) * 255 - mean)


class ToImageNet:
    """Converts pictures to float32, 0 to 1, normalised with ImageNet's mean and standard deviation."""

    def __call__(self, views: Views) -> Views:
        """Return the views; maps are left as they are."""
        mean, deviation = (torch.tensor(values).view(3, 1, 1) for values in IMAGENET)
        return _pictures(views, lambda image: (F.to_dtype(image, torch.float32, scale=True) - mean) / deviation)


class TenViews:
    """Replaces a picture by ten crops: four corners and the centre, and their mirror images.

    Args:
        size: Side of the crops in pixels.
    """

    def __init__(self, size: int) -> None:
        self.size = size

    def __call__(self, views: Views) -> Views:
        """Return the views with ``image`` (10, 3, size, size).

        Raises:
            ValueError: If there is a neutral face or maps, which have one view only.
        """
        return {"image": torch.stack(F.ten_crop(_only_image(views), self.size))}


class MirrorViews:
    """Replaces a picture by two views: itself and its mirror image."""

    def __call__(self, views: Views) -> Views:
        """Return the views with ``image`` (2, 3, H, W).

        Raises:
            ValueError: If there is a neutral face or maps, which have one view only.
        """
        image = _only_image(views)
        return {"image": torch.stack([image, F.horizontal_flip(image)])}


def _only_image(views: Views) -> Tensor:
    """Return the picture; raise ValueError if there are other views."""
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
    shift = max(1, size // 32)
    crop = v2.RandomCrop(size, padding=shift, padding_mode="edge")
    steps = [_square(size), v2.RandomHorizontalFlip(), crop, ToUnit()]
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


_AUGMENTATIONS: Mapping[str, Callable[[int], Augmentation]] = MappingProxyType(
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
