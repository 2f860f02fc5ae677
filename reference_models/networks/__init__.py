"""The four papers' networks, and IGC-L24M2, the baseline that CEDNN is compared with; one network per file."""

from reference_models.networks.cednn import CEDNN
from reference_models.networks.dba_net import DBANet
from reference_models.networks.igc_net import IGCNet
from reference_models.networks.lla_net import LLANet
from reference_models.networks.registry import create, list_models, model_class
from reference_models.networks.tra_net import TRANet

__all__ = ["CEDNN", "DBANet", "IGCNet", "LLANet", "TRANet", "create", "list_models", "model_class"]
