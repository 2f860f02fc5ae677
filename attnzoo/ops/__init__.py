"""The operations that the layers share, each computed by the fastest backend that can."""

from attnzoo.ops.apply_gates import apply_gates
from attnzoo.ops.dispatch import BackendInfo, backend, backends
from attnzoo.ops.eligibility import Decision, why_called
from attnzoo.ops.explain import explain
from attnzoo.ops.gate_listener import note_gates
from attnzoo.ops.global_pool import Pooled, global_pool
from attnzoo.ops.halve import halve
from attnzoo.ops.igc_block import igc_block
from attnzoo.ops.igc_chain import IGCLink, igc_chain
from attnzoo.ops.igc_reference import IGCOutput
from attnzoo.ops.igc_stage import Stage
from attnzoo.ops.igc_training import IGCTraining, Moments, igc_training
from attnzoo.ops.linear import LinearLayer, linear, linears
from attnzoo.ops.llam_gate import llam_gate
from attnzoo.ops.spatial_conv import spatial_conv
from attnzoo.ops.split_rows import split_rows
from attnzoo.ops.squeeze_channels import Squeezed, squeeze_channels
from attnzoo.ops.winograd import convolve

__all__ = [
    "BackendInfo",
    "Decision",
    "IGCLink",
    "IGCOutput",
    "IGCTraining",
    "LinearLayer",
    "Moments",
    "Pooled",
    "Squeezed",
    "Stage",
    "apply_gates",
    "backend",
    "backends",
    "convolve",
    "explain",
    "global_pool",
    "halve",
    "igc_block",
    "igc_chain",
    "igc_training",
    "linear",
    "linears",
    "llam_gate",
    "note_gates",
    "spatial_conv",
    "split_rows",
    "squeeze_channels",
    "why_called",
]
