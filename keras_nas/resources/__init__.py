"""What an architecture costs: MACs, parameters, latency. NumPy only."""

from keras_nas.resources.counts import macs, parameters, piece_macs, piece_parameters
from keras_nas.resources.expected_cost import CostModel, cost_model
from keras_nas.resources.latency_table import DeviceDescription, LatencyTable
from keras_nas.resources.runtime_model import RuntimeModel, pixel1_runtime
from keras_nas.resources.width_latency import WidthLatency

__all__ = [
    "CostModel",
    "DeviceDescription",
    "LatencyTable",
    "RuntimeModel",
    "WidthLatency",
    "cost_model",
    "macs",
    "parameters",
    "piece_macs",
    "piece_parameters",
    "pixel1_runtime",
]
