"""What can be chosen: blocks, architectures and search spaces as data. Pure Python."""

from keras_nas.space.architecture import Architecture, BatchNorm, Head, Stem
from keras_nas.space.blocks import Block
from keras_nas.space.elastic_stage import Configuration, ElasticStage
from keras_nas.space.hardcore_nas import HARDCORE_NAS, HARDCORE_NAS_TABLE_3
from keras_nas.space.pieces import Piece, pieces
from keras_nas.space.search_space import SearchSpace
from keras_nas.space.squeeze_excite import SqueezeExcite
from keras_nas.space.values import make_divisible

SPACES = {space.name: space for space in (HARDCORE_NAS, HARDCORE_NAS_TABLE_3)}
"""The named search spaces."""

__all__ = [
    "HARDCORE_NAS",
    "HARDCORE_NAS_TABLE_3",
    "SPACES",
    "Architecture",
    "BatchNorm",
    "Block",
    "Configuration",
    "ElasticStage",
    "Head",
    "Piece",
    "SearchSpace",
    "SqueezeExcite",
    "Stem",
    "make_divisible",
    "pieces",
]
