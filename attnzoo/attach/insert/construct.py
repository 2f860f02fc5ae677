"""Build the layer for one spot, run it on a map of the spot's shape, and count its multiply-adds."""

from __future__ import annotations

from dataclasses import dataclass
from types import TracebackType
from typing import Any

import torch
from torch import Tensor

from attnzoo.attach.attend import Attend, Init, takes
from attnzoo.attach.insert.guided import GuidedAttend
from attnzoo.attach.insert.paired import PairedAttend
from attnzoo.attach.layout import map_shape
from attnzoo.attach.sites import Spot
from attnzoo.attach.source import Source


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """A layer that is ready to be attached.

    Attributes:
        spot: The tensor to which the layer is applied.
        entry: The layer with its blend and layout.
        macs: Multiply-adds of its convolutions and matrix products on one map of the probed size.
    """

    spot: Spot
    entry: Attend
    macs: int


class AtSite:
    """Context manager that adds the site's name to exceptions."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __enter__(self) -> None:
        return None

    def __exit__(self, _: type[BaseException] | None, error: BaseException | None, __: TracebackType | None) -> None:
        if error is not None:
            error.add_note(f"while making the attention for site {self.name!r}; the model was not changed")


def build(
    source: Source,
    spot: Spot,
    *,
    init: Init,
    device: torch.device,
    dtype: torch.dtype,
    training: bool,
    key: str | None = None,
    inside: str | None = None,
    previous: Spot | None = None,
) -> Built:
    """Build the layer for ``spot`` and run it once.

    Args:
        source: Creates the layer.
        spot: The tensor to which the layer is applied.
        init: ``identity`` or ``paper``.
        device: Device of the layer.
        dtype: Floating dtype of the layer.
        training: Whether the layer is set to training mode, as the site's module is.
        key: Key of a paired or guided layer's second tensor; see :mod:`attnzoo.attach.context`.
        inside: Name of the module inside the site whose output is a paired layer's second tensor; None for an input.
        previous: Layout and shape of a paired layer's second tensor.

    Raises:
        TypeError: If the layer does not accept the arguments of its kind, or returns no tensor.
        ValueError: If it does not keep the map's shape.
    """
    from torch.utils.flop_counter import FlopCounterMode  # imports triton if installed

    layer = source.make(spot.channels, device, dtype).eval()
    extra: tuple[Tensor, ...] = ()
    frame: dict[str, Any] = {"init": init, "device": device, "dtype": dtype, "folds": False}
    if previous is not None and key is not None:
        entry: Attend = PairedAttend(layer, spot, key=key, inside=inside, previous=previous, **frame)
        extra = (_ramp(_native_shape(previous), device, dtype),)
    elif key is not None:
        entry = GuidedAttend(layer, spot, key=key, **frame)
        maps = getattr(layer, "num_maps", 1)
        extra = (_ramp((1, maps, *spot.grid), device, dtype),)
    else:
        entry = Attend(layer, spot, **frame)
    current = _ramp(map_shape(spot, 1), device, dtype)
    with torch.no_grad(), FlopCounterMode(display=False) as flops:
        inputs = entry.inputs(current, *extra)
        output = layer(*inputs)
    _check_output(source.name, output, current)
    entry.folds = _folds(layer, current, inputs, output)
    gates: Any = getattr(layer, "gates", None)
    if entry.folds and callable(gates):
        with torch.no_grad():
            entry.gate_count = len(gates(*inputs))
    torch.clear_autocast_cache()  # under autocast, torch before 2.9 would reuse these casts without gradients
    entry.train(training)
    return Built(spot=spot, entry=entry, macs=flops.get_total_flops() // 2)


def _check_output(name: str, output: Any, current: Tensor) -> None:
    if not isinstance(output, Tensor):
        raise TypeError(f"an attached layer must return a tensor, {name} returned {type(output).__name__}")
    if output.shape != current.shape:
        raise ValueError(
            f"an attached layer must keep the map's shape: {name} made {tuple(output.shape)} of {tuple(current.shape)}"
        )


def _folds(layer: Any, current: Tensor, inputs: tuple[Tensor, ...], output: Tensor) -> bool:
    """Tell whether the layer blends its gates.

    Its ``forward`` has a keyword ``blend``, and on one map returns the input at a blend of 0, and at 1 the same as
    without the keyword; the values are not checked on the meta device.
    """
    if not takes(layer, "blend"):
        return False
    if current.is_meta:
        return True
    nothing, everything = (torch.full((1,), share, device=current.device, dtype=current.dtype) for share in (0.0, 1.0))
    with torch.no_grad():
        kept, whole = layer(*inputs, blend=nothing), layer(*inputs, blend=everything)
    tolerance = 1e-3 if current.dtype in {torch.float32, torch.float64} else 3e-2
    return torch.equal(kept, current) and torch.allclose(whole.float(), output.float(), rtol=tolerance, atol=tolerance)


def _native_shape(spot: Spot) -> tuple[int, ...]:
    batch, channels, height, width = map_shape(spot, 1)
    tokens = height * width + spot.prefix_tokens
    return {
        "NCHW": (batch, channels, height, width),
        "NHWC": (batch, height, width, channels),
        "NLC": (batch, tokens, channels),
        "NCL": (batch, channels, tokens),
    }[spot.layout]


def _ramp(shape: tuple[int, ...], device: torch.device, dtype: torch.dtype) -> Tensor:
    count = torch.Size(shape).numel()
    return torch.linspace(-1, 1, count, device=device, dtype=torch.float32).reshape(shape).to(dtype)
