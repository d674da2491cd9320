"""What can be chosen: blocks, architectures and search spaces as data. Python and NumPy."""

from keras_nas.space.architecture import Architecture, BatchNorm, Head, Stem
from keras_nas.space.blocks import Block
from keras_nas.space.elastic_stage import Configuration, ElasticStage
from keras_nas.space.hardcore_nas import HARDCORE_NAS, HARDCORE_NAS_TABLE_3
from keras_nas.space.pieces import Piece, pieces
from keras_nas.space.search_space import SearchSpace
from keras_nas.space.single_path import SINGLE_PATH, SINGLE_PATH_SE, single_path
from keras_nas.space.squeeze_excite import SqueezeExcite
from keras_nas.space.staged_space import StagedSpace
from keras_nas.space.tf_nas import TF_NAS, TF_NAS_WITHOUT_SE, tf_nas
from keras_nas.space.tf_nas_block import TFNASBlock, TFNASOperation
from keras_nas.space.tf_nas_space import TFNASSpace, Widths
from keras_nas.space.values import make_divisible

SPACES = {
    space.name: space for space in (HARDCORE_NAS, HARDCORE_NAS_TABLE_3, SINGLE_PATH, SINGLE_PATH_SE)
}
"""The named search spaces of configurations."""
TF_NAS_SPACES = {space.name: space for space in (TF_NAS, TF_NAS_WITHOUT_SE)}
"""The named search spaces of operations with free widths."""

__all__ = [
    "HARDCORE_NAS",
    "HARDCORE_NAS_TABLE_3",
    "SINGLE_PATH",
    "SINGLE_PATH_SE",
    "SPACES",
    "TF_NAS",
    "TF_NAS_SPACES",
    "TF_NAS_WITHOUT_SE",
    "Architecture",
    "BatchNorm",
    "Block",
    "Configuration",
    "ElasticStage",
    "Head",
    "Piece",
    "SearchSpace",
    "SqueezeExcite",
    "StagedSpace",
    "Stem",
    "TFNASBlock",
    "TFNASOperation",
    "TFNASSpace",
    "Widths",
    "make_divisible",
    "pieces",
    "single_path",
    "tf_nas",
]
