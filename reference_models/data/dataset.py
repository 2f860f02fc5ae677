"""A torch dataset of records; a picture is decoded when its sample is requested, in the requesting worker."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset
from torchvision import tv_tensors

from reference_models.checks import flag
from reference_models.data import video
from reference_models.data.labels import Labels
from reference_models.data.landmark_files import read_landmarks
from reference_models.data.records import PRESENT, Record
from reference_models.data.tree import DataError, inside
from reference_models.faces.images import RGBImage, read_image

Views = dict[str, Tensor]
"""Input and output of a transform: ``image``, and ``neutral`` and ``maps`` if there are any."""
Transform = Callable[[Views], Mapping[str, Tensor]]
_STACKED = ("image", "target", "levels", "neutral", "maps")


class Pictures(Protocol):
    """Source of the pictures of records: the dataset as published, or a prepared copy of it."""

    def image(self, record: Record) -> RGBImage:
        """Return the frame (H, W, 3), uint8."""
        ...

    def neutral(self, record: Record) -> RGBImage:
        """Return the subject's neutral face (H, W, 3), uint8."""
        ...

    def maps(self, record: Record) -> NDArray[np.uint8] | None:
        """Return the difference maps (K, H, W), uint8 with values 0 and 1; None if there are none."""
        ...


@dataclass(frozen=True)
class Originals:
    """The pictures of a dataset as published.

    Attributes:
        root: Its folder.
    """

    root: Path

    def image(self, record: Record) -> RGBImage:
        """Return the frame, cropped to the record's box if it has one.

        Raises:
            DataError: If the path leads out of the root, or the box lies outside the picture.
            ImageError: If the picture cannot be read.
        """
        pixels = self._read(record.image, record.frame)
        if record.box is None:
            return pixels
        left, top, right, bottom = record.box
        cropped = pixels[max(top, 0) : max(bottom, 0), max(left, 0) : max(right, 0)]
        if cropped.size == 0:
            raise DataError(f"{record.image}: the box {record.box} lies outside its {pixels.shape[1::-1]} pixels")
        return np.ascontiguousarray(cropped)

    def neutral(self, record: Record) -> RGBImage:
        """Return the subject's neutral face.

        Raises:
            DataError: If the record has no neutral frame, or its path leads out of the root.
            ImageError: If the picture cannot be read.
        """
        if record.neutral is None:
            raise DataError(f"{record.key} has no neutral frame")
        return self._read(record.neutral, record.neutral_frame or 0)

    def maps(self, record: Record) -> None:
        """Return None: published datasets have no difference maps."""

    def _read(self, relative: str, frame: int) -> RGBImage:
        path = inside(self.root, relative)
        if PurePosixPath(relative).suffix.lower() in video.SUFFIXES:
            return video.read_video_frame(path, frame)
        return read_image(path)


@dataclass(frozen=True, eq=False, slots=True)
class Sample:
    """One labelled picture.

    Attributes:
        image: Pixels (3, H, W): uint8 without a transform, else the transform's output.
        target: For action units (A,) float32, 1 where the level reaches the threshold and 0 elsewhere; for expressions
            the class index, an int64 scalar.
        levels: Intensities (A,) float32, 0 to 5, NaN where a unit is present but not scored; None for expressions.
        neutral: The subject's neutral face, like ``image``; None if it was not requested.
        maps: Difference maps (K, H, W), 0 or 1; None if there are none.
        landmarks: Points (N, 2), float64, (x, y) in pixels of the decoded picture; None if not requested or unknown.
        record: The dataset's record of the picture.
    """

    image: Tensor
    target: Tensor
    levels: Tensor | None
    neutral: Tensor | None
    maps: Tensor | None
    landmarks: Tensor | None
    record: Record


@dataclass(frozen=True, eq=False, slots=True)
class Batch:
    """A stack of samples: each attribute is that of :class:`Sample` with a leading dimension B.

    Attributes:
        image: (B, 3, H, W), or (B, V, 3, H, W) if the transform makes V views of each picture.
        target: (B, A) float32 for action units, or (B,) int64 for expressions.
        levels: (B, A); None for expressions.
        neutral: (B, 3, H, W) or None.
        maps: (B, K, H, W) or None.
        records: B records.
    """

    image: Tensor
    target: Tensor
    levels: Tensor | None
    neutral: Tensor | None
    maps: Tensor | None
    records: tuple[Record, ...]

    def pin_memory(self) -> Batch:
        """Return a copy in page-locked memory; a DataLoader with ``pin_memory=True`` calls this."""
        return self._each(Tensor.pin_memory)

    def to(self, device: torch.device | str, *, non_blocking: bool = False) -> Batch:
        """Return the batch on a device."""
        return self._each(lambda tensor: tensor.to(device, non_blocking=non_blocking))

    def _each(self, change: Callable[[Tensor], Tensor]) -> Batch:
        changed: dict[str, Any] = {}
        for name in _STACKED:
            value: Tensor | None = getattr(self, name)
            changed[name] = None if value is None else change(value)
        return Batch(**changed, records=self.records)


def collate(samples: Sequence[Sample]) -> Batch:
    """Stack samples; use it as ``collate_fn`` of a DataLoader over a :class:`FaceDataset`.

    Raises:
        ValueError: If pictures have different sizes, or only some samples have levels, neutral faces or maps.
    """
    sizes = sorted({tuple(sample.image.shape) for sample in samples})
    if len(sizes) > 1:
        raise ValueError(
            f"pictures of a batch must have one size, got {sizes}: give the dataset a transform that resizes"
        )

    def stacked(name: str) -> Tensor | None:
        parts = [getattr(sample, name) for sample in samples]
        missing = sum(part is None for part in parts)
        if missing == len(parts):
            return None
        if missing:
            raise ValueError(f"{missing} of {len(parts)} samples of a batch have no {name}")
        return torch.stack([torch.as_tensor(part) for part in parts])

    parts: dict[str, Any] = {name: stacked(name) for name in _STACKED}
    return Batch(**parts, records=tuple(sample.record for sample in samples))


class FaceDataset(Dataset[Sample]):
    """Records with their pictures and labels.

    Args:
        pictures: Source of the pictures; a path of the dataset's folder is short for :class:`Originals` of it.
        records: The records, in the order of the samples.
        labels: Labels of each picture, in the order of the network's outputs.
        threshold: Level from which an action unit counts as present, 1 to 5: 3 in TRA-Net, 2 in CEDNN for DISFA+, 1 in
            CEDNN for CK+. Required for action units, must be None for expressions. A unit that is present but not
            scored counts as present at every threshold.
        transform: Takes and returns a dictionary of tensors, such as torchvision's v2 transforms, which apply the same
            geometric transform to all of them.
        neutral: Whether samples contain the subject's neutral face.
        landmarks: Whether samples contain landmarks; cannot be combined with ``transform``, which would not move them.

    Raises:
        TypeError: If an argument has the wrong type.
        ValueError: If a record lacks a requested label or neutral frame, or arguments contradict each other.
    """

    def __init__(
        self,
        pictures: Pictures | str | Path,
        records: Sequence[Record],
        labels: Labels,
        *,
        threshold: int | None = None,
        transform: Transform | None = None,
        neutral: bool = False,
        landmarks: bool = False,
    ) -> None:
        super().__init__()
        if not isinstance(labels, Labels):
            raise TypeError(f"labels must be Labels, got {type(labels).__name__}")
        if labels.task == "action units":
            if isinstance(threshold, bool) or not isinstance(threshold, int) or not 1 <= threshold <= 5:
                raise ValueError(f"threshold must be an int from 1 to 5 for action units, got {threshold!r}")
        elif threshold is not None:
            raise ValueError(f"threshold must be None for expressions, got {threshold!r}")
        if flag("landmarks", landmarks) and transform is not None:
            raise ValueError("landmarks must be False with a transform, which would not move them")
        self.pictures: Pictures = Originals(Path(pictures)) if isinstance(pictures, str | Path) else pictures
        self.records = records
        self.labels = labels
        self.threshold = threshold
        self.transform = transform
        self.with_neutral = flag("neutral", neutral)
        self.with_landmarks = landmarks
        self._check_records()

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, index: int) -> Sample:
        record = self.records[index]
        views: dict[str, Any] = {"image": tv_tensors.Image(_channels_first(self.pictures.image(record)))}
        if self.with_neutral:
            views["neutral"] = tv_tensors.Image(_channels_first(self.pictures.neutral(record)))
        maps = self.pictures.maps(record)
        if maps is not None:
            views["maps"] = tv_tensors.Mask(torch.tensor(maps))
        result = views if self.transform is None else self.transform(views)
        return Sample(
            image=result["image"].as_subclass(Tensor),
            target=self.target(record),
            levels=self.levels(record),
            neutral=_plain(result.get("neutral")),
            maps=_plain(result.get("maps")),
            landmarks=self._landmarks(record),
            record=record,
        )

    def target(self, record: Record) -> Tensor:
        """Return the target of a record; see :class:`Sample`."""
        return torch.tensor(self._value(record))

    def targets(self) -> Tensor:
        """Return the targets of all records, (N, A) or (N,), without decoding pictures, for samplers.

        Raises:
            ValueError: If the dataset is empty.
        """
        if not len(self):
            raise ValueError("records must not be empty")
        return torch.tensor([self._value(record) for record in self.records])

    def _value(self, record: Record) -> int | list[float]:
        if self.threshold is None:
            return self.labels.names.index(str(record.expression))
        levels = (record.level(unit) for unit in self.labels.units)
        return [float(level == PRESENT or level >= self.threshold) for level in levels]

    def levels(self, record: Record) -> Tensor | None:
        """Return the intensities of a record; see :class:`Sample`."""
        if self.threshold is None:
            return None
        levels = (record.level(unit) for unit in self.labels.units)
        return torch.tensor([float("nan") if level == PRESENT else float(level) for level in levels])

    def _landmarks(self, record: Record) -> Tensor | None:
        if not self.with_landmarks or record.landmarks is None:
            return None
        if not isinstance(self.pictures, Originals):
            raise ValueError(f"landmarks belong to the pictures as published, and pictures are {self.pictures!r}")
        return torch.from_numpy(read_landmarks(inside(self.pictures.root, record.landmarks)))

    def _check_records(self) -> None:
        for record in self.records:
            if self.threshold is None:
                if record.expression not in self.labels.names:
                    raise ValueError(f"{record.key} shows {record.expression}, which is none of {self.labels}")
            elif unknown := set(self.labels.units) - set(record.units):
                raise ValueError(f"action units {sorted(unknown)} were not coded in {record.key}")
            if self.with_neutral and record.neutral is None:
                raise ValueError(f"{record.key} has no neutral frame; leave it out, or set neutral=False")


def _channels_first(pixels: RGBImage) -> Tensor:
    return torch.from_numpy(pixels.transpose(2, 0, 1).copy())


def _plain(view: Tensor | None) -> Tensor | None:
    return None if view is None else view.as_subclass(Tensor)
