"""What an architecture costs: MACs, parameters, latency. NumPy only."""

from keras_nas.resources.counts import macs, parameters, piece_macs, piece_parameters
from keras_nas.resources.expected_cost import CostModel, cost_model

__all__ = ["CostModel", "cost_model", "macs", "parameters", "piece_macs", "piece_parameters"]
