"""The settings of one experiment, typed and validated."""

from keras_nas.config.schema import (
    Config,
    DataConfig,
    DeviceConfig,
    LimitsConfig,
    RecipeConfig,
    SearchConfig,
    SpaceConfig,
)
from keras_nas.config.types import flatten

__all__ = [
    "Config",
    "DataConfig",
    "DeviceConfig",
    "LimitsConfig",
    "RecipeConfig",
    "SearchConfig",
    "SpaceConfig",
    "flatten",
]
