"""The final network's training that starts from a file, and settings that ask for it."""

import dataclasses

import numpy as np
import pytest

from keras_nas.config import Config, LimitsConfig, RecipeConfig
from keras_nas.methods import hardcore_nas
from keras_nas.models import build_network
from keras_nas.models.saved_network import network_to_bytes

# Next to no learning: trained weights are those that training started from.
RECIPE = RecipeConfig(epochs=0.02, batch_size=12, learning_rate=1e-9, weight_average=0.0)


@pytest.fixture
def start(space, tmp_path):
    """Architecture, number of classes -> a file, and the trainable weights in it."""

    def write(architecture, classes):
        network = build_network(architecture, (16, 16, 3), classes)
        path = tmp_path / f"{classes}.keras"
        path.write_bytes(network_to_bytes(network))
        return str(path), [weight.numpy() for weight in network.trainable_weights]

    return write


def train(space, examples, runtime, supernet=None, **settings):
    recipe = dataclasses.replace(RECIPE, **settings)
    network, _ = hardcore_nas.final_network(
        space.random(5),
        space,
        examples,
        recipe,
        runtime,
        batch_norm_images=64,
        supernet=supernet,
    )
    return [weight.numpy() for weight in network.trainable_weights]


def test_training_starts_from_the_file_and_not_from_the_supernet(
    space, examples, runtime, supernet, start
):
    path, expected = start(space.random(5), 10)
    trained = train(space, examples, runtime, supernet, init=path)
    for ours, theirs in zip(trained, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-6)
    assert (runtime.checkpoints / "finetune").is_dir()


def test_a_fresh_classifier_only_when_asked_and_by_seed(space, examples, runtime, start):
    path, expected = start(space.random(5), 7)
    with pytest.raises(ValueError, match=r"7\.keras has 7 classes, and 10 are needed; set reset_c"):
        train(space, examples, runtime, init=path)
    trained = train(space, examples, runtime, init=path, reset_classifier=True)
    for ours, theirs in zip(trained[:-2], expected[:-2], strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-6)
    assert trained[-1].shape == (10,)
    anew = dataclasses.replace(runtime, checkpoints=runtime.checkpoints / "anew")
    again = train(space, examples, anew, init=path, reset_classifier=True)
    for ours, theirs in zip(again, trained, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_files_that_do_not_fit_are_refused_before_training(space, examples, runtime, start):
    with pytest.raises(FileNotFoundError, match=r"no network at none\.keras"):
        train(space, examples, runtime, init="none.keras")
    path, _ = start(space.heaviest(), 10)
    with pytest.raises(ValueError, match=r"10\.keras has another architecture than 'random_5'"):
        train(space, examples, runtime, init=path)
    assert not runtime.checkpoints.exists()


@pytest.mark.parametrize(
    ("stage", "settings", "message"),
    [
        ("pretrain", {"init": "x.keras"}, r"config\.pretrain\.init and .* received 'x\.keras'"),
        ("supernet", {"reset_classifier": True}, r"config\.supernet\.init and .* and True"),
        ("train", {"init": "x.keras"}, r"config\.train\.init and .* only the finetune stage"),
        ("finetune", {"reset_classifier": True}, r"belongs to config\.finetune\.init, which is em"),
    ],
)
def test_settings_that_make_no_sense(stage, settings, message):
    config = Config(limits=LimitsConfig(latency_ms=1), **{stage: RecipeConfig(**settings)})
    with pytest.raises(ValueError, match=message):
        config.validate()


def test_settings_that_make_sense():
    recipe = RecipeConfig(init="x.keras", reset_classifier=True)
    Config(limits=LimitsConfig(latency_ms=1), finetune=recipe).validate()
