"""Functions that launch the Triton kernels, with the names and arguments of ``attnzoo.kernels.cpu.launch``."""

from attnzoo.kernels.triton.apply_gates import apply_gates, apply_gates_backward
from attnzoo.kernels.triton.global_pool import global_pool, global_pool_backward
from attnzoo.kernels.triton.llam_gate import llam_gate, llam_gate_backward
from attnzoo.kernels.triton.spatial_conv import spatial_conv, spatial_conv_backward
from attnzoo.kernels.triton.split_rows import split_rows, split_rows_backward
from attnzoo.kernels.triton.squeeze_channels import squeeze_channels, squeeze_channels_backward

__all__ = [
    "apply_gates",
    "apply_gates_backward",
    "global_pool",
    "global_pool_backward",
    "llam_gate",
    "llam_gate_backward",
    "spatial_conv",
    "spatial_conv_backward",
    "split_rows",
    "split_rows_backward",
    "squeeze_channels",
    "squeeze_channels_backward",
]
