"""The settings of one experiment, typed and validated."""

from keras_nas.config.baselines import BaselinesConfig
from keras_nas.config.device import AndroidConfig, DeviceConfig, OtherDeviceConfig
from keras_nas.config.schema import (
    Config,
    DataConfig,
    LimitsConfig,
    ProjectionConfig,
    RecipeConfig,
    SearchConfig,
    SpaceConfig,
)
from keras_nas.config.single_path import SinglePathConfig
from keras_nas.config.tf_nas import TFNASConfig
from keras_nas.config.types import flatten

__all__ = [
    "AndroidConfig",
    "BaselinesConfig",
    "Config",
    "DataConfig",
    "DeviceConfig",
    "LimitsConfig",
    "OtherDeviceConfig",
    "ProjectionConfig",
    "RecipeConfig",
    "SearchConfig",
    "SinglePathConfig",
    "SpaceConfig",
    "TFNASConfig",
    "flatten",
]
