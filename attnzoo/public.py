"""The public names of ``attnzoo``; the package imports this module when one of them is first used."""

from __future__ import annotations

from attnzoo.attach import Attachment, Plan, PlanRow, PyramidClassifier, Site, Spot, attach, plan, with_pyramid_head
from attnzoo.costs import Cost, cost
from attnzoo.export import Exported, export_aoti, export_onnx, export_program
from attnzoo.kinds import Kind
from attnzoo.layers import (
    CBAM,
    DIFFERENCE_THRESHOLDS,
    LLAM,
    DenselyBackwardAttention,
    DifferenceGate,
    IGCBlock,
    InterleavedGroupConv,
    RegionMask,
    SqueezeExcite,
    threshold_maps,
)
from attnzoo.recorder import FeatureMaps, GateStatistics, Recorder, feature_maps, record
from attnzoo.registry import LayerInfo, create, layer_info, list_layers, register

__all__ = [
    "CBAM",
    "DIFFERENCE_THRESHOLDS",
    "LLAM",
    "Attachment",
    "Cost",
    "DenselyBackwardAttention",
    "DifferenceGate",
    "Exported",
    "FeatureMaps",
    "GateStatistics",
    "IGCBlock",
    "InterleavedGroupConv",
    "Kind",
    "LayerInfo",
    "Plan",
    "PlanRow",
    "PyramidClassifier",
    "Recorder",
    "RegionMask",
    "Site",
    "Spot",
    "SqueezeExcite",
    "attach",
    "cost",
    "create",
    "export_aoti",
    "export_onnx",
    "export_program",
    "feature_maps",
    "layer_info",
    "list_layers",
    "plan",
    "record",
    "register",
    "threshold_maps",
    "with_pyramid_head",
]
