"""w-bar, w* and the final network: two steps of each, sampling, teachers, extraction."""

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_nas.config import RecipeConfig
from keras_nas.methods import hardcore_nas
from keras_nas.methods.hardcore_nas import uniform_architecture

RECIPE = RecipeConfig(epochs=0.02, batch_size=12, learning_rate=0.01, mixup=0.0)  # two steps


def test_uniform_architecture_leaves_out_padding(space):
    alpha, beta = uniform_architecture(space)
    np.testing.assert_array_equal(alpha, np.full((3, 4), 0.25))
    np.testing.assert_array_equal(beta, [[0.5, 0.5], [1.0, 0.0]])
    assert alpha.dtype == beta.dtype == np.float64


class Recorder:
    """Takes the place of a supernet and keeps the paths it is run on."""

    def __init__(self, space):
        self.space = space
        self.calls = []

    def __call__(self, images, alpha=None, beta=None, seed=None, training=False):
        self.calls.append((alpha, beta, seed, training))


def test_sampling_of_paths(space):
    recorder, images = Recorder(space), tf.zeros([3000, 1, 1, 3])
    seed = tf.constant([1, 2])
    for sampling in ("independent", "single_path", "stratified"):
        hardcore_nas.path_sampler(recorder, sampling)(images, seed)
    independent, single, stratified = recorder.calls
    assert all(training for *_, training in recorder.calls)
    assert stratified[0] is None
    np.testing.assert_array_equal(stratified[2], seed)
    for weights, expected in zip(independent[:2], uniform_architecture(space), strict=True):
        np.testing.assert_array_equal(np.sum(weights, axis=2), 1)  # one-hot, one path an image
        np.testing.assert_allclose(np.mean(weights, axis=0), expected, atol=0.04)
        assert np.all(np.mean(weights, axis=0)[expected == 0] == 0)
    # Blocks are drawn independently of one another.
    together = np.einsum("nc,nd->cd", independent[0][:, 0], independent[0][:, 1]) / 3000
    np.testing.assert_allclose(together, np.full((4, 4), 1 / 16), atol=0.02)
    for weights in single[:2]:
        np.testing.assert_array_equal(weights, np.repeat(weights[:1], 3000, axis=0))
        np.testing.assert_array_equal(np.sum(weights, axis=2), 1)


def test_random_paths_repeat_by_seed_in_inference_mode(supernet):
    images = np.random.default_rng(0).normal(size=(6, 8, 8, 3)).astype(np.float32)
    before = [w.numpy() for w in supernet.weights]
    first = hardcore_nas.random_paths(supernet, 0)(images).numpy()
    np.testing.assert_array_equal(hardcore_nas.random_paths(supernet, 0)(images).numpy(), first)
    assert np.any(hardcore_nas.random_paths(supernet, 1)(images).numpy() != first)
    for weight, value in zip(supernet.weights, before, strict=True):
        np.testing.assert_array_equal(weight.numpy(), value)


@pytest.fixture(scope="module")
def heaviest(space):
    return hardcore_nas.heaviest_network(space, 10, seed=3)


def test_heaviest_network_repeats_by_seed(space, heaviest):
    again = hardcore_nas.heaviest_network(space, 10, seed=3)
    other = hardcore_nas.heaviest_network(space, 10, seed=4)
    for a, b in zip(heaviest.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    kernels = zip(heaviest.get_weights(), other.get_weights(), strict=True)
    assert any(np.any(a != b) for a, b in kernels)


@pytest.mark.parametrize("sampling", ["independent", "single_path"])  # stratified: api_test.py
def test_supernet_training_starts_from_the_heaviest(space, examples, runtime, heaviest, sampling):
    recipe = dataclasses.replace(RECIPE, sampling=sampling, weight_average=0.0, learning_rate=1e-9)
    supernet, history = hardcore_nas.train_supernet(space, examples, recipe, runtime, heaviest)
    assert [row["step"] for row in history] == [1, 2]
    assert all(np.isfinite(row["loss"]) for row in history)
    # Next to no learning: w* is still w-bar, kernel 3 the centre of kernel 5.
    network = supernet.extract(space.heaviest())
    for ours, theirs in zip(network.trainable_weights, heaviest.trainable_weights, strict=True):
        np.testing.assert_allclose(ours.numpy(), theirs.numpy(), atol=1e-6)
    kernels = {w.shape[0]: w for w in supernet.weights if _is_depthwise(w, "elastic_0")}
    np.testing.assert_allclose(kernels[3].numpy(), kernels[5].numpy()[1:4, 1:4], atol=1e-6)


def _is_depthwise(weight, block):
    return block in weight.path and len(weight.shape) == 4 and weight.shape[0] > 1


def test_the_final_network_from_the_supernet_is_plain_keras(space, examples, runtime, supernet):
    architecture = space.random(5)
    network, history = hardcore_nas.final_network(
        architecture,
        space,
        examples,
        dataclasses.replace(RECIPE, learning_rate=1e-9, weight_average=0.0),
        runtime,
        batch_norm_images=128,
        supernet=supernet,
    )
    assert len(history) == 3  # of all training images, 1438 * 0.02 / 12
    assert {type(layer).__module__.split(".")[0] for layer in network.layers} == {"keras"}
    extracted = hardcore_nas.extract_network(supernet, architecture, examples.rejoined(), 128)
    for ours, theirs in zip(network.trainable_weights, extracted.trainable_weights, strict=True):
        np.testing.assert_allclose(ours.numpy(), theirs.numpy(), atol=1e-6)
    # The statistics are the network's own, no more those of the mixed paths.
    plain = supernet.extract(architecture)
    moved = [
        np.abs(ours.numpy() - theirs.numpy()).max()
        for ours, theirs in zip(extracted.weights, plain.weights, strict=True)
        if "moving" in ours.name
    ]
    assert min(moved) > 1e-4


def test_the_final_network_from_scratch(space, examples, runtime):
    network, history = hardcore_nas.final_network(
        space.lightest(), space, examples, RECIPE, runtime, batch_norm_images=64
    )
    assert len(history) == 3
    assert (runtime.checkpoints / "train").is_dir()
    assert isinstance(network, keras.Model)


def test_distillation_needs_a_teacher(space, examples, runtime):
    recipe = dataclasses.replace(RECIPE, distillation=1.0)
    with pytest.raises(ValueError, match=r"'pretrain' has distillation 1\.0, .* needs a teacher"):
        hardcore_nas.pretrain(space, examples, recipe, runtime)
