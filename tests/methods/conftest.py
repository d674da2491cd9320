"""A space small enough to enumerate, digits in their own size, and a quiet runtime."""

import keras
import numpy as np
import pytest

from keras_nas.config import DataConfig
from keras_nas.data.examples import load_examples
from keras_nas.methods.runtime import Runtime
from keras_nas.models import Supernet
from keras_nas.space import ElasticStage, Head, SearchSpace, Stem

MEAN_STD = {"mean": (0.3,) * 3, "std": (0.35,) * 3}


@pytest.fixture(scope="session")
def space():
    """Stages of one or two blocks, and of exactly one: [3, 4] and [2, 2] for alpha and beta."""
    return SearchSpace(
        name="small",
        stem=Stem(channels=8, stride=1),
        stages=(
            ElasticStage(8, 2, min_depth=1, max_depth=2),
            ElasticStage(12, 2, min_depth=1, max_depth=1),
        ),
        kernel_sizes=(3, 5),
        expansion_ratios=(2,),
        se_ratios=(0, 0.25),
        head=Head(features=16),
        resolution=8,
    )


@pytest.fixture(scope="session")
def examples():
    """Digits at 8x8, without augmentation."""
    return load_examples(DataConfig(**MEAN_STD), 8, 0)


@pytest.fixture
def runtime(tmp_path):
    """Saves after every step."""
    return Runtime(tmp_path / "checkpoints", steps_per_loop=1, save_every_seconds=0)


@pytest.fixture(scope="session")
def supernet(space):
    """Not to be changed. Fresh weights that repeat; statistics and gates that hide no mistake."""
    keras.utils.set_random_seed(0)
    supernet = Supernet(space, 10)
    generator = np.random.default_rng(0)
    for weight in supernet.weights:
        if weight.name == "moving_variance":
            weight.assign(generator.uniform(0.5, 2.0, weight.shape))
        elif len(weight.shape) == 1:
            weight.assign_add(generator.normal(0.0, 0.3, weight.shape))
    return supernet
