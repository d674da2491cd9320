"""A space small enough to enumerate, and weights that hide no mistake."""

import keras
import numpy as np
import pytest

from keras_nas.space import Block, ElasticStage, Head, SearchSpace, Stem


@pytest.fixture(scope="session")
def space():
    """Two stages of unequal depths; stage 0 may stay at its first block."""
    return SearchSpace(
        name="tiny",
        stem=Stem(channels=8),
        first_stages=((Block("ds", 3, 1, 8),),),
        stages=(
            ElasticStage(8, 2, "relu", min_depth=1, max_depth=3),
            ElasticStage(16, 2, "hard_swish", min_depth=2, max_depth=3),
        ),
        final_stages=((Block("cn", 1, 1, 24, activation="hard_swish"),),),
        head=Head(features=32),
        resolution=24,
    )


def _randomized(model, seed=0):
    generator = np.random.default_rng(seed)
    for weight in model.weights:
        if weight.name == "moving_variance":
            value = generator.uniform(0.5, 2.0, weight.shape)
        elif weight.name == "gamma":
            value = generator.uniform(0.5, 1.5, weight.shape)
        elif len(weight.shape) == 1:  # offsets, biases and running means
            value = generator.normal(0.0, 0.3, weight.shape)
        else:
            fan_in = np.prod(weight.shape[:-1]) if len(weight.shape) == 2 else weight.shape[-2]
            value = generator.normal(0.0, 1.0 / np.sqrt(fan_in), weight.shape)
        weight.assign(value)
    return model


@pytest.fixture(scope="session")
def randomized():
    """Fills a model with weights whose batch-norm statistics and biases are not trivial."""
    return _randomized


@pytest.fixture
def policy():
    """Sets the global dtype policy, and puts it back."""
    before = keras.config.dtype_policy()
    yield keras.config.set_dtype_policy
    keras.config.set_dtype_policy(before)
