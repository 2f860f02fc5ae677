"""The operations that the layers share, each computed by the fastest available backend."""

from attnzoo.ops.dense.linear import LinearLayer, linear, linears
from attnzoo.ops.dense.winograd import convolve
from attnzoo.ops.dispatch import BackendInfo, backend, backends
from attnzoo.ops.eligibility import Decision, why_called
from attnzoo.ops.explain import explain
from attnzoo.ops.gate_listener import note_gates
from attnzoo.ops.gates.apply_gates import apply_gates
from attnzoo.ops.gates.global_pool import Pooled, global_pool
from attnzoo.ops.gates.llam_gate import llam_gate
from attnzoo.ops.gates.spatial_conv import spatial_conv
from attnzoo.ops.gates.split_rows import split_rows
from attnzoo.ops.gates.squeeze_channels import Squeezed, squeeze_channels
from attnzoo.ops.memory_format import channels_last

__all__ = [
    "BackendInfo",
    "Decision",
    "LinearLayer",
    "Pooled",
    "Squeezed",
    "apply_gates",
    "backend",
    "backends",
    "channels_last",
    "convolve",
    "explain",
    "global_pool",
    "linear",
    "linears",
    "llam_gate",
    "note_gates",
    "spatial_conv",
    "split_rows",
    "squeeze_channels",
    "why_called",
]
