"""Space and architecture -> Keras models."""

from keras_nas.models.network import build_network, build_piece
from keras_nas.models.supernet import Supernet

__all__ = ["Supernet", "build_network", "build_piece"]
