"""Creates the papers' networks by name."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from torch import nn

from reference_models.networks.cednn import CEDNN
from reference_models.networks.dba_net import DBANet
from reference_models.networks.igc_net import IGCNet
from reference_models.networks.lla_net import LLANet
from reference_models.networks.tra_net import TRANet

_MODELS: Mapping[str, type[nn.Module]] = MappingProxyType(
    {"cednn": CEDNN, "dba_net": DBANet, "igc_net": IGCNet, "lla_net": LLANet, "tra_net": TRANet}
)


def list_models() -> list[str]:
    """Return the sorted names of the networks."""
    return sorted(_MODELS)


def model_class(name: str) -> type[nn.Module]:
    """Return the class of the network ``name``, written with ``_`` or ``-``.

    Raises:
        ValueError: If the name is unknown; the message lists the closest names.
    """
    key = str(name).replace("-", "_")
    if key not in _MODELS:
        close = difflib.get_close_matches(key, _MODELS, n=2, cutoff=0.3) or list_models()
        raise ValueError(f"no network named {name!r}; did you mean {', '.join(close)}?")
    return _MODELS[key]


def create(name: str, **kwargs: Any) -> nn.Module:
    """Create the network ``name`` with the keyword arguments of its class.

    Raises:
        ValueError: If the name is unknown or an argument's value is not allowed.
        TypeError: If an argument is unknown or has the wrong type.

    Example:
        >>> create("cednn", variant="res-L6M3", attention_blocks=0).variant
        'res-L6M3'
    """
    return model_class(name)(**kwargs)
