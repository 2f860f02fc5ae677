"""The way of ``gate_images`` to its kernel in eager inference, past Python: see eager_gate.cpp.

Like the kernels it is optional. It also wants DLPack's exchange of tensors between functions in C, which torch has
since 2.10. Without it the same is computed, later.
"""

from __future__ import annotations

import importlib
from types import ModuleType

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad

from attnzoo.ops import dispatch
from attnzoo.ops.noting import told


def _built() -> ModuleType | None:
    try:
        return importlib.import_module("attnzoo.ops.eager_gate")
    except ImportError:
        return None


_eager_gate = _built()


def _never(
    x: Tensor, channel: nn.Module | None, spatial: nn.Module | None, channels: int, offset: float, maxima: bool
) -> Tensor | None:
    """Return None: ``gate_images`` decides."""


gated = _never if _eager_gate is None else _eager_gate.gated


def missing() -> str | None:
    """Return why the way is not there, or None where it is."""
    if _eager_gate is None:
        return "eager_gate was not built"
    if not hasattr(Tensor, "__dlpack_c_exchange_api__"):
        return f"torch {torch.__version__} has no functions of DLPack in C"
    return None


def prepare() -> None:
    """Tell the way where the kernel is, if it can be loaded; before that it leads nowhere."""
    if _eager_gate is None or missing() or not dispatch.native_is_built():
        return
    from attnzoo.kernels.cpu.launch_gates import CALL
    from attnzoo.kernels.cpu.library import address

    types = (Tensor, nn.Parameter, nn.Conv2d, nn.ReLU, nn.Sigmoid, nn.BatchNorm2d, nn.Identity)
    silent = (dispatch._peek_transform, dispatch._traced, told.get)  # noqa: SLF001
    asked = (torch.is_grad_enabled, dispatch._dispatch_modes, torch.get_num_threads)  # noqa: SLF001
    known = (forward_ad.__dict__, dispatch._chosen, nn.modules.module.__dict__)  # noqa: SLF001
    exchange = Tensor.__dlpack_c_exchange_api__
    _eager_gate.prepare(address("gate_images"), CALL.size, exchange, types, (*silent, *asked, torch.empty_like), known)
