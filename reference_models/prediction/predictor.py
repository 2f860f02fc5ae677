"""A network with its preparation, views and calibration, read from a model file or from an exported ONNX file."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torchvision import tv_tensors

from reference_models.data.augmentation import augmentation
from reference_models.data.labels import Labels
from reference_models.faces.difference import Pixels
from reference_models.faces.images import RGBImage
from reference_models.preparation.preparation import Preparation
from reference_models.training.calibration import Calibration
from reference_models.training.trained import read_model


@dataclass(frozen=True, eq=False)
class Predictor:
    """A network with everything needed to apply it to an aligned face.

    Attributes:
        network: Network in evaluation mode; takes pictures (V, 3, S, S) and, if ``inputs`` is 2, maps (V, K, S, S).
        inputs: Number of its inputs, 1 or 2.
        labels: The label of each output, in order.
        preparation: Alignment and difference maps of its faces.
        views: Name of the augmentation that makes its test-time views, see ``reference_models.data.augmentation``.
        channels_last: Whether pictures are passed in the channels-last memory format.
        calibration: Turns outputs of action units into presence and levels; None if none was fitted.
    """

    network: nn.Module
    inputs: int
    labels: Labels
    preparation: Preparation
    views: str
    channels_last: bool = False
    calibration: Calibration | None = None

    def arguments(self, face: RGBImage, levels: Pixels | None) -> tuple[Tensor, ...]:
        """Return the network's inputs for one face: a batch of its V views, and the maps if the network takes them.

        Args:
            face: Aligned face (S, S, 3), uint8.
            levels: Grey difference to the neutral face (S, S), uint8; None if the network takes no maps.
        """
        sample: dict[str, Tensor] = {"image": tv_tensors.Image(torch.from_numpy(face.transpose(2, 0, 1).copy()))}
        if levels is not None:
            sample["maps"] = tv_tensors.Mask(torch.from_numpy(self.preparation.maps(levels)))
        transformed = augmentation(self.views, self.preparation.size).test(sample)
        image = transformed["image"].as_subclass(Tensor)
        pictures = image if image.dim() == 4 else image[None]
        if self.channels_last:
            pictures = pictures.contiguous(memory_format=torch.channels_last)
        if self.inputs == 1 or levels is None:
            return (pictures,)
        maps = transformed["maps"].as_subclass(Tensor)[None].to(image.dtype)
        return pictures, maps.repeat_interleave(len(pictures), 0)

    @torch.no_grad()
    def logits(self, face: RGBImage, levels: Pixels | None) -> Tensor:
        """Return the logits (labels,) of one face, the mean over its views; arguments as in :meth:`arguments`."""
        logits: Tensor = self.network(*self.arguments(face, levels))
        return logits.mean(0)

    def probabilities(self, face: RGBImage, levels: Pixels | None) -> dict[str, float]:
        """Return a dictionary of label to probability; arguments as in :meth:`arguments`."""
        logits = self.logits(face, levels)
        values = logits.softmax(0) if self.labels.task == "expressions" else logits.sigmoid()
        return dict(zip(self.labels.names, values.tolist(), strict=True))


def read_predictor(path: Path) -> Predictor:
    """Read a predictor from a file.

    Args:
        path: A path that :func:`reference_models.training.trained.read_model` accepts, or an ``.onnx`` file that
            ``reference-models export`` or ``quantize`` wrote.

    Raises:
        FileNotFoundError: If there is no such file.
        MissingExtraError: If it is an ONNX file and onnxruntime is not installed.
        ValueError: If it is damaged, or lacks the metadata of preparation and labels.
    """
    if path.suffix == ".onnx":
        return _exported(path)
    trained = read_model(path)
    recipe = trained.recipe
    return Predictor(
        trained.network,
        2 if recipe.maps and recipe.options.get("attention_blocks") != 0 else 1,
        recipe.labels,
        trained.preparation,
        recipe.augmentation,
        recipe.channels_last,
        trained.calibration,
    )


def _exported(path: Path) -> Predictor:
    from reference_models.export.onnx_network import OnnxNetwork

    if not path.is_file():
        raise FileNotFoundError(f"no model at {path}")
    network = OnnxNetwork(path)
    metadata = network.metadata
    try:
        labels = Labels(metadata["task"], tuple(json.loads(metadata["labels"])))  # type: ignore[arg-type]
        preparation = Preparation.from_plain(json.loads(metadata["preparation"]))
        calibration = Calibration.from_plain(json.loads(metadata["calibration"])) if "calibration" in metadata else None
        augmentation(metadata["views"], preparation.size)
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"{path} does not say what its network sees of a face: {error}") from error
    return Predictor(network, len(network.input_names), labels, preparation, metadata["views"], calibration=calibration)
