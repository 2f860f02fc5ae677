"""Whether a module must be called, so that no fused operation may take its place."""

from __future__ import annotations

from collections.abc import Iterable

from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor
from torch.nn.modules.module import _has_any_global_hook

from attnzoo.ops import dispatch


def watched(*modules: nn.Module) -> bool:
    """Tell whether hooks of any kind wait for one of these modules to be called, or for whichever module is.

    So does a weight that is quantised, sharded or sparse: it knows what the module makes of it, and perhaps no more. A
    replica of ``nn.DataParallel`` has no parameters to be read.

    Args:
        modules: What a fused operation would take the place of. Hooks on modules inside of them are not looked for.
    """
    if _has_any_global_hook():  # type: ignore[no-untyped-call]
        return True
    for module in modules:  # past the attributes: on a small map this is asked within the time of the kernel
        own = module.__dict__
        if "_is_replica" in own:
            return True
        if own["_forward_hooks"] or own["_forward_pre_hooks"] or own["_backward_hooks"] or own["_backward_pre_hooks"]:
            return True
        for held in (own["_parameters"], own["_buffers"]):
            if held and not dispatch.readable(*held.values()) and not _faked(held.values()):
                return True
    return False


def _faked(tensors: Iterable[Tensor | None]) -> bool:
    """Tell whether a graph is being made: it is to hold the operation that will take the module's place."""
    return all(t is None or isinstance(t, FakeTensor) for t in tensors)
