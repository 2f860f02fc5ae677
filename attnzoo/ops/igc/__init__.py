"""The operations that compute CEDNN's blocks; no other layer uses them."""

from attnzoo.ops.igc.block import igc_block
from attnzoo.ops.igc.chain import IGCLink, igc_chain
from attnzoo.ops.igc.halve import halve
from attnzoo.ops.igc.modules import ModuleLink, chain_of_modules
from attnzoo.ops.igc.stage import Stage
from attnzoo.ops.igc.torch_path import IGCOutput
from attnzoo.ops.igc.training import IGCTraining, Moments, igc_training

__all__ = [
    "IGCLink",
    "IGCOutput",
    "IGCTraining",
    "ModuleLink",
    "Moments",
    "Stage",
    "chain_of_modules",
    "halve",
    "igc_block",
    "igc_chain",
    "igc_training",
]
