"""See what the gates of a model say: :func:`record`, and :func:`feature_maps` for what stands around a gate."""

from attnzoo.recorder.feature_maps import FeatureMaps, feature_maps
from attnzoo.recorder.recording import Recorder, record
from attnzoo.recorder.statistics import GateStatistics

__all__ = ["FeatureMaps", "GateStatistics", "Recorder", "feature_maps", "record"]
