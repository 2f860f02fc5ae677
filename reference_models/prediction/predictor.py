"""A network with all that stands between a photograph and its answer, from a model's file or from its export."""

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
    """A network and how faces reach it.

    Attributes:
        network: In evaluation; called with pictures (V, 3, S, S) and, if ``inputs`` is 2, maps (V, K, S, S).
        inputs: Number of its inputs.
        labels: What its outputs stand for, in order.
        preparation: What it sees of a face.
        views: Name of the augmentation whose test-time views it is given, see ``reference_models.data.augmentation``.
        channels_last: Whether pictures are given pixel by pixel.
        calibration: How outputs of action units become presence and levels; None if nothing was fitted.
    """

    network: nn.Module
    inputs: int
    labels: Labels
    preparation: Preparation
    views: str
    channels_last: bool = False
    calibration: Calibration | None = None

    def arguments(self, face: RGBImage, levels: Pixels | None) -> tuple[Tensor, ...]:
        """Return what the network is called with for one face: all of its views, as pictures of one batch.

        Args:
            face: Aligned, (S, S, 3) uint8.
            levels: Grey difference to the neutral face (S, S), uint8; needed exactly if the network takes maps.
        """
        given: dict[str, Tensor] = {"image": tv_tensors.Image(torch.from_numpy(face.transpose(2, 0, 1).copy()))}
        if levels is not None:
            given["maps"] = tv_tensors.Mask(torch.from_numpy(self.preparation.maps(levels)))
        seen = augmentation(self.views, self.preparation.size).test(given)
        image = seen["image"].as_subclass(Tensor)
        pictures = image if image.dim() == 4 else image[None]
        if self.channels_last:
            pictures = pictures.contiguous(memory_format=torch.channels_last)
        if self.inputs == 1 or levels is None:
            return (pictures,)
        return pictures, seen["maps"].as_subclass(Tensor)[None].to(image.dtype).repeat_interleave(len(pictures), 0)

    @torch.no_grad()
    def logits(self, face: RGBImage, levels: Pixels | None) -> Tensor:
        """Return the network's logits (labels,) of one face, the mean over its views; arguments as above."""
        logits: Tensor = self.network(*self.arguments(face, levels))
        return logits.mean(0)

    def probabilities(self, face: RGBImage, levels: Pixels | None) -> dict[str, float]:
        """Return label to probability, in the order of the outputs; arguments as above."""
        logits = self.logits(face, levels)
        values = logits.softmax(0) if self.labels.task == "expressions" else logits.sigmoid()
        return dict(zip(self.labels.names, values.tolist(), strict=True))


def read_predictor(path: Path) -> Predictor:
    """Return the predictor of a file.

    Args:
        path: What :func:`reference_models.training.trained.read_model` reads, or an ``.onnx`` file that
            ``reference-models export`` or ``quantize`` has written of it.

    Raises:
        FileNotFoundError: If there is no such file.
        MissingExtraError: If it is an ONNX file and onnxruntime is not installed.
        ValueError: If it is damaged, or does not say what its network sees of a face.
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
    said = network.metadata
    try:
        labels = Labels(said["task"], tuple(json.loads(said["labels"])))  # type: ignore[arg-type]
        preparation = Preparation.from_plain(json.loads(said["preparation"]))
        calibration = Calibration.from_plain(json.loads(said["calibration"])) if "calibration" in said else None
        augmentation(said["views"], preparation.size)
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"{path} does not say what its network sees of a face: {error}") from error
    return Predictor(network, len(network.input_names), labels, preparation, said["views"], calibration=calibration)
