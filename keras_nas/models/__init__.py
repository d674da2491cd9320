"""Space and architecture -> Keras models."""

from keras_nas.models.network import build_network, build_piece

__all__ = ["build_network", "build_piece"]
