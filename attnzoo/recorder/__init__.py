"""Inspect a model's gates with :func:`record`, and the maps before and after a module with :func:`feature_maps`."""

from attnzoo.recorder.feature_maps import FeatureMaps, feature_maps
from attnzoo.recorder.recording import Recorder, record
from attnzoo.recorder.statistics import GateStatistics

__all__ = ["FeatureMaps", "GateStatistics", "Recorder", "feature_maps", "record"]
