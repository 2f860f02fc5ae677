"""The maps and the implementations that the benchmarks of the operations compare."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from timm.layers.cbam import CbamModule
from timm.layers.squeeze_excite import SEModule
from torch import Tensor, nn
from torchvision.ops import SqueezeExcitation

from attnzoo import CBAM, SqueezeExcite, attach, ops

SHAPES = [(8, 64, 56, 56), (8, 256, 56, 56), (8, 512, 28, 28), (8, 1024, 14, 14), (8, 2048, 7, 7)]
SINGLE = [(1, *shape[1:]) for shape in SHAPES]
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
LAYOUTS = {"NCHW": torch.contiguous_format, "channels-last": torch.channels_last}
MODES = ("forward", "training")

BLEND = 0.5


def attached(layer: str, channels: int) -> nn.Module:
    """Return a layer as ``attach`` puts it behind a module by default, the module being one that does nothing.

    The blend, which starts at 0, is set to what training may have made of it.
    """
    host = nn.Sequential(nn.Identity())
    attachment = attach(host, layer, where="0", example_inputs=torch.randn(2, channels, 8, 8))
    for name, parameter in attachment.named_parameters():
        if name.endswith("blend"):
            nn.init.constant_(parameter, BLEND)
    return host


LAYERS: dict[str, dict[str, Callable[[int], nn.Module]]] = {
    "cbam": {"attnzoo": CBAM, "timm": CbamModule},
    "se": {
        "attnzoo": SqueezeExcite,
        "timm": SEModule,
        "torchvision": lambda channels: SqueezeExcitation(channels, channels // 16),
    },
    "cbam attached": {"attnzoo": partial(attached, "cbam"), "timm": CbamModule},
    "se attached": {"attnzoo": partial(attached, "se"), "timm": SEModule},
}
"""What each layer's implementations are called; all have the same number of weights, but for an attached one's blend.

Of an ``attached`` layer ours is attached by default, behind a module that does nothing, and timm's is the bare layer.
"""

PROVIDERS = {
    "attnzoo auto": ("attnzoo", "auto", False),
    "attnzoo native": ("attnzoo", "native", False),
    "attnzoo torch": ("attnzoo", "torch", False),
    "attnzoo native compiled": ("attnzoo", "native", True),
    "timm": ("timm", "torch", False),
    "timm compiled": ("timm", "torch", True),
    "torchvision": ("torchvision", "torch", False),
}
"""Who made the layer, our backend, whether it is compiled. ``auto`` is what users get who choose no backend."""
MEASURED = tuple(name for name in PROVIDERS if name != "attnzoo auto")
"""Those that measure_ops compares: each of our backends by itself."""


@dataclass(frozen=True)
class Case:
    """One layer on one map."""

    layer: str
    shape: tuple[int, int, int, int]
    dtype: str
    layout: str
    mode: str

    def key(self) -> tuple[object, ...]:
        """Return what tells the case from others."""
        return self.layer, self.shape, self.dtype, self.layout, self.mode

    def words(self) -> list[str]:
        """Return the same in words."""
        return [*self.layer.split(), "x".join(map(str, self.shape)), self.dtype, self.layout, self.mode]

    def map(self) -> Tensor:
        """Return a random map of this case."""
        return torch.randn(self.shape).to(DTYPES[self.dtype]).contiguous(memory_format=LAYOUTS[self.layout])


CASES = [Case(*key) for key in itertools.product(("cbam", "se"), SHAPES, DTYPES, LAYOUTS, MODES)]
"""Layers alone on eight images, which every provider runs."""
USERS_CASES = [
    Case(*key)
    for layers, shapes in ((("cbam", "se"), SINGLE), (("cbam attached", "se attached"), SHAPES + SINGLE))
    for key in itertools.product(layers, shapes, DTYPES, LAYOUTS, MODES)
]
"""What users run more often: one image, and layers that are attached. Ours and timm's run them, in eager mode."""
USERS_PROVIDERS = ("attnzoo native", "timm")


def runner(case: Case, provider: str, x: Tensor, gradient: Tensor) -> Callable[[], object] | None:
    """Return a function that runs the case once by the provider, or None if it has no such layer."""
    maker, backend, compiled = PROVIDERS[provider]
    if maker not in LAYERS[case.layer]:
        return None
    layer = LAYERS[case.layer][maker](case.shape[1]).to(x.dtype).train(case.mode == "training")
    layer = layer.to(memory_format=LAYOUTS[case.layout])
    function = torch.compile(copy.deepcopy(layer), fullgraph=True, dynamic=False) if compiled else layer
    run = (
        partial(_train, function, x.clone().requires_grad_(), gradient)
        if layer.training
        else partial(_infer, function, x)
    )

    if backend == "auto" or (backend == "native" and ops.backends()["native"].available):
        return run  # "auto" takes native where that is available, as users call it

    def call() -> object:
        with ops.backend(backend):
            return run()

    return call if maker == "attnzoo" else run


def _infer(layer: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    with torch.no_grad():
        return layer(x)


def _train(layer: nn.Module, x: Tensor, gradient: Tensor) -> Tensor:
    x.grad = None
    for parameter in layer.parameters():
        parameter.grad = None
    y: Tensor = layer(x)
    y.backward(gradient)
    return y


def saved_bytes(call: Callable[[], object]) -> int:
    """Return the bytes that one training step keeps for its backward pass, each storage once, without parameters."""
    storages: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        owner = tensor if tensor._base is None else tensor._base  # noqa: SLF001 - a view holds no memory of its own
        if not isinstance(owner, nn.Parameter):  # those are there in any case
            storages[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        call()
    return sum(storages.values())


def peak_bytes(call: Callable[[], object]) -> int:
    """Return the most bytes of torch's allocator that a call holds at once, beyond those that it finds."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        call()
    events = profile.profiler.kineto_results.events()
    steps = sorted((event.start_ns(), event.nbytes()) for event in events if event.name() == "[memory]")
    return max(itertools.accumulate((size for _, size in steps), initial=0))
