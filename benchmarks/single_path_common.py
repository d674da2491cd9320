"""What the benchmarks of Single-Path NAS share: a space and a schedule that two CPU cores carry."""

from __future__ import annotations

import dataclasses

import tensorflow as tf
from absl import flags

from benchmarks import common
from keras_nas.config import Config, SpaceConfig
from keras_nas.config.single_path import SinglePathConfig
from keras_nas.data.examples import Examples

SEEDS = flags.DEFINE_integer("seeds", 5, "Runs of each kind.", lower_bound=1)
STEPS = flags.DEFINE_integer("search_steps", 240, "Of a search.", lower_bound=10)
_RATE = flags.DEFINE_float("learning_rate", 0.01, "Of all searches.", lower_bound=0.0)

HELD_OUT_IMAGES, BATCH_NORM_IMAGES = 1000, 256
"""Of each evaluation with the weights of a search."""


def rewrite_no_graphs() -> None:
    """Of networks this small it takes longer than running them."""
    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})


def small_config() -> Config:
    """The experiment: two stages of up to two and three blocks."""
    scaled = common.scaled_config()
    return dataclasses.replace(
        scaled,
        name="single_path_benchmark",
        method="single_path",
        space=SpaceConfig(
            name="single_path",
            resolution=scaled.space.resolution,
            overrides={
                "name": "single_path_2_stages",
                "stem": {"channels": 8, "kernel_size": 3, "stride": 2, "activation": "relu"},
                "first_stages": [],
                "stages": [
                    {"channels": 16, "stride": 2, "min_depth": 1, "max_depth": 2},
                    {"channels": 24, "stride": 2, "min_depth": 1, "max_depth": 3},
                ],
                "final_stages": [],
                "head": {"features": 64, "activation": "relu", "before_pooling": True},
                # Searches are short.
                "batch_norm": {"momentum": 0.9, "epsilon": 1e-3},
            },
        ),
        final="train",
    )


def search_settings(examples: Examples) -> SinglePathConfig:
    """The paper's schedule, as long as the flags say."""
    epochs = STEPS.value * common.BATCH_SIZE / len(examples.fitted)
    return SinglePathConfig(
        epochs=epochs,
        warmup_share=0.4,
        runtime_form="exact",
        batch_size=common.BATCH_SIZE,
        learning_rate=_RATE.value,
        learning_rate_warmup_epochs=epochs / 10,
        decay_epochs=epochs / 10,
        learning_rate_decay=0.9,
        weight_average=0.98,
    )
