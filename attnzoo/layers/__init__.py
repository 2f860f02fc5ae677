"""The attention layers, one per file; importing this package registers them."""

from attnzoo.layers.cbam import CBAM
from attnzoo.layers.dense_backward import DenselyBackwardAttention
from attnzoo.layers.difference_gate import DIFFERENCE_THRESHOLDS, DifferenceGate, threshold_maps
from attnzoo.layers.igc import IGCBlock, InterleavedGroupConv
from attnzoo.layers.llam import LLAM
from attnzoo.layers.region_mask import RegionMask
from attnzoo.layers.squeeze_excite import SqueezeExcite

__all__ = [
    "CBAM",
    "DIFFERENCE_THRESHOLDS",
    "LLAM",
    "DenselyBackwardAttention",
    "DifferenceGate",
    "IGCBlock",
    "InterleavedGroupConv",
    "RegionMask",
    "SqueezeExcite",
    "threshold_maps",
]
