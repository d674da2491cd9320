"""Space and architecture -> Keras models."""

from keras_nas.models.batch_norm_statistics import reestimate_batch_norm
from keras_nas.models.network import build_network, build_piece
from keras_nas.models.supernet import Supernet

__all__ = ["Supernet", "build_network", "build_piece", "reestimate_batch_norm"]
