"""The ways of ``gate_images`` and ``igc_chain`` to their kernels in eager mode, past Python: see eager.h.

Like the kernels they are optional. They also want DLPack's exchange of tensors between functions in C, which torch
has since 2.10. Without them the same is computed, later.
"""

from __future__ import annotations

import functools
import importlib
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad

from attnzoo.ops import dispatch
from attnzoo.ops.noting import told


def _built() -> ModuleType | None:
    try:
        return importlib.import_module("attnzoo.ops.eager_calls")
    except ImportError:
        return None


_eager_calls = _built()


def _never(*_: object) -> Any:
    """Return None: Python decides."""


gated = _never if _eager_calls is None else _eager_calls.gated
gradients = _never if _eager_calls is None else _eager_calls.gradients
chained = _never if _eager_calls is None else _eager_calls.chained


def missing() -> str | None:
    """Return why the way is not there, or None where it is."""
    if _eager_calls is None:
        return "eager_calls was not built"
    if not hasattr(Tensor, "__dlpack_c_exchange_api__"):
        return f"torch {torch.__version__} has no functions of DLPack in C"
    return None


@functools.cache
def prepare() -> None:
    """Tell the ways where their kernels are, if they can be loaded; before that they lead nowhere."""
    if _eager_calls is None or missing() or not dispatch.native_is_built():
        return
    from attnzoo.kernels.cpu import launch_gates
    from attnzoo.kernels.cpu.igc import launch as launch_igc
    from attnzoo.kernels.cpu.library import address

    kernels = (
        (address("gate_images"), launch_gates.CALL.size),
        (address("gate_images_backward"), launch_gates.GRADIENTS.size),
        (address("igc_block"), launch_igc.RECORDS),
    )
    types = (Tensor, nn.Parameter, nn.Conv2d, nn.ReLU, nn.Sigmoid, nn.BatchNorm2d, nn.Identity)
    silent = (dispatch._peek_transform, dispatch._traced, told.get)  # noqa: SLF001
    asked = (torch.is_grad_enabled, dispatch._dispatch_modes, torch.get_num_threads)  # noqa: SLF001
    floats = torch.empty(0, dtype=torch.float32, device="cpu")
    known = (forward_ad.__dict__, dispatch._chosen, nn.modules.module.__dict__, floats)  # noqa: SLF001
    exchange = Tensor.__dlpack_c_exchange_api__
    _eager_calls.prepare(*kernels, exchange, types, (*silent, *asked, torch.empty_like), known)
