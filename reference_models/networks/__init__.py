"""The four networks of the papers and the baseline of one of them, one network a file."""

from reference_models.networks.cednn import CEDNN
from reference_models.networks.dba_net import DBANet
from reference_models.networks.igc_net import IGCNet
from reference_models.networks.lla_net import LLANet
from reference_models.networks.registry import create, list_models, model_class
from reference_models.networks.tra_net import TRANet

__all__ = ["CEDNN", "DBANet", "IGCNet", "LLANet", "TRANet", "create", "list_models", "model_class"]
