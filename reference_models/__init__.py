"""The four networks for facial behaviour that are built from attnzoo, and the baseline of one of them."""

from reference_models.cednn import CEDNN
from reference_models.dba_net import DBANet
from reference_models.igc_net import IGCNet
from reference_models.lla_net import LLANet
from reference_models.registry import create, list_models, model_class
from reference_models.tra_net import TRANet

__all__ = ["CEDNN", "DBANet", "IGCNet", "LLANet", "TRANet", "create", "list_models", "model_class"]
