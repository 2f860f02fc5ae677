"""The operations that the layers share, each computed by the fastest backend that can."""

from attnzoo.ops.apply_gates import apply_gates
from attnzoo.ops.dispatch import BackendInfo, backend, backends
from attnzoo.ops.global_pool import Pooled, global_pool
from attnzoo.ops.llam_gate import llam_gate
from attnzoo.ops.spatial_conv import spatial_conv
from attnzoo.ops.squeeze_channels import Squeezed, squeeze_channels

__all__ = [
    "BackendInfo",
    "Pooled",
    "Squeezed",
    "apply_gates",
    "backend",
    "backends",
    "global_pool",
    "llam_gate",
    "spatial_conv",
    "squeeze_channels",
]
