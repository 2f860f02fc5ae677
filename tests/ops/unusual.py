"""What people do to layers and maps so that no kernel may stand for the modules, and who may be looking."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.nn.utils import parametrizations, prune
from torch.utils.flop_counter import FlopCounterMode
from torch.utils.hooks import RemovableHandle

from attnzoo import CBAM, ops
from attnzoo.ops.gate_listener import listening

DTYPES = (torch.float32, torch.bfloat16, torch.float16)
FORMATS = (torch.contiguous_format, torch.channels_last)


class Subclass(nn.Conv2d):
    """A convolution of somebody else's."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * 2


class Marked(Tensor):
    """A tensor of somebody else's."""


@contextmanager
def told_gates() -> Iterator[None]:
    with listening(lambda *_: None):
        yield


LOOKED: dict[str, Callable[[], AbstractContextManager[object]]] = {
    "a counter": lambda: FlopCounterMode(display=False),
    "forward-mode AD": forward_ad.dual_level,
    "a recorder": told_gates,
    "another backend": lambda: ops.backend("torch"),
}


def every_hook(modules: Iterable[nn.Module]) -> Iterator[Callable[[], RemovableHandle]]:
    """Yield what registers a hook, of every kind, on each module and on all that there are."""
    for kind in ("forward_hook", "forward_pre_hook", "full_backward_hook", "full_backward_pre_hook"):
        for module in modules:
            yield partial(getattr(module, f"register_{kind}"), lambda *_: None)
        yield partial(getattr(nn.modules.module, f"register_module_{kind}"), lambda *_: None)


def put(path: str, value: object) -> Callable[[nn.Module], object]:
    def change(layer: nn.Module) -> None:
        parent, _, name = path.rpartition(".")
        setattr(layer.get_submodule(parent), name, value)

    return change


def _negated(count: int) -> nn.Parameter:
    """Return a parameter whose memory holds the negative of what it is worth."""
    values = torch.randn(count, dtype=torch.complex64).conj().imag
    assert values.is_neg()
    return nn.Parameter(values)


CBAM_CHANGES: dict[str, Callable[[CBAM], object]] = {
    "another norm": put("spatial.norm", nn.InstanceNorm2d(1)),
    "the norm counts in float": lambda layer: layer.spatial.norm.train().__setattr__(
        "num_batches_tracked", torch.zeros(())
    ),
    "another activation": put("channel.act", nn.GELU()),
    "another kind of layer": put("channel.fc1", Subclass(12, 3, 1)),
    "a larger kernel in the bottleneck": put("channel.fc1", nn.Conv2d(12, 3, 3, padding=1)),
    "a bottleneck in groups": put("channel.fc1", nn.Conv2d(12, 3, 1, groups=3)),
    "too large a kernel": put("spatial.conv", nn.Conv2d(2, 1, 9, padding=4)),
    "a kernel that is not square": put("spatial.conv", nn.Conv2d(2, 1, (3, 5), padding=(1, 2))),
    "a circular convolution": lambda layer: (
        setattr(layer.spatial.conv, "padding_mode", "circular"),
        setattr(layer.spatial.conv, "_reversed_padding_repeated_twice", [3, 3, 3, 3]),
    ),
    "a convolution that is dilated": put("spatial.conv", nn.Conv2d(2, 1, 3, padding=2, dilation=2)),
    "a weight that is not dense": put("channel.fc2.weight", nn.Parameter(torch.randn(3, 12, 1, 1).transpose(0, 1))),
    "a negated bias": put("channel.fc2.bias", _negated(12)),
    "a parametrised weight": lambda layer: parametrizations.weight_norm(layer.channel.fc1),
    "pruned": lambda layer: prune.l1_unstructured(layer.channel.fc1, "weight", 0.5),
    "a forward of its own": put("channel.fc1.forward", lambda v: v[:, :3] + 2),
    "a sigmoid before the norm": put("spatial.norm.forward", lambda v: v.sigmoid()),
    "a convolution's method replaced": put("spatial.conv._conv_forward", lambda x, weight, bias: x[:, :1] * 2),
}
"""Changes of ``CBAM(12, rd_channels=3)`` that only the modules know of; the layer still computes."""


MAPS: dict[str, Callable[[Tensor], object]] = {
    "no tensor": lambda x: x.numpy(),
    "a subclass": lambda x: x.as_subclass(Marked),
    "float64": lambda x: x.double(),
    "another dtype": lambda x: x.bfloat16(),
    "integers": lambda x: x.long(),
    "gaps": lambda x: torch.randn(2, 12, 5, 12)[..., ::2],
    "transposed": lambda x: x.transpose(2, 3),
    "one image": lambda x: x[0],
    "too many axes": lambda x: x[None],
    "other channels": lambda x: x[:, :11].contiguous(),
    "no image": lambda x: x[:0],
    "no pixel": lambda x: x[..., :0],
    "sparse": lambda x: x.to_sparse(),
    "meta": lambda x: x.to("meta"),
    "zeros without memory": lambda x: torch._efficientzerotensor(x.shape),
    "oneDNN's": lambda x: x.to_mkldnn(),
}
