"""attnzoo: plug-in attention for arbitrary vision backbones."""

from attnzoo.costs import Cost, cost
from attnzoo.layers import (
    CBAM,
    LLAM,
    DenselyBackwardAttention,
    DifferenceGate,
    IGCBlock,
    InterleavedGroupConv,
    RegionMask,
    SqueezeExcite,
    threshold_maps,
)
from attnzoo.registry import Kind, LayerInfo, create, layer_info, list_layers, register

__version__ = "0.1.0"

__all__ = [
    "CBAM",
    "LLAM",
    "Cost",
    "DenselyBackwardAttention",
    "DifferenceGate",
    "IGCBlock",
    "InterleavedGroupConv",
    "Kind",
    "LayerInfo",
    "RegionMask",
    "SqueezeExcite",
    "cost",
    "create",
    "layer_info",
    "list_layers",
    "register",
    "threshold_maps",
]
