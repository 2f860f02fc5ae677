"""Whether anybody waits for a module to be called, so that no fused operation may take its place."""

from __future__ import annotations

from torch import nn
from torch.nn.modules.module import _has_any_global_hook


def watched(*modules: nn.Module) -> bool:
    """Tell whether hooks of any kind wait for one of these modules to be called, or for whichever module is.

    Args:
        modules: What a fused operation would take the place of. Hooks on modules inside of them are not looked for.
    """
    if _has_any_global_hook():  # type: ignore[no-untyped-call]
        return True
    for module in modules:  # past the attributes: on a small map this is asked within the time of the kernel
        own = module.__dict__
        if own["_forward_hooks"] or own["_forward_pre_hooks"] or own["_backward_hooks"] or own["_backward_pre_hooks"]:
            return True
    return False
