"""The single-path supernet: what it decides is what comes out of it."""

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_nas.layers.superkernel import LITERAL, BlockGates
from keras_nas.models.single_path_supernet import SinglePathSupernet, stacked, unstacked
from keras_nas.space import ElasticStage, Head, Stem, single_path
from keras_nas.space.single_path_gates import SKIP, configurations_of_gates, decode, skippable

SPACE = single_path(
    name="small",
    stem=Stem(8),
    stages=(
        ElasticStage(8, 2, min_depth=1, max_depth=2),
        ElasticStage(16, 2, "hard_swish", min_depth=1, max_depth=1),
    ),
    final_stages=(),
    head=Head(16, "relu", before_pooling=True),
    kernel_sizes=(3, 5, 7),
    expansion_ratios=(2, 3, 4),
    se_ratios=(0, 0.25, 0.5),
    resolution=20,
)


@pytest.fixture(scope="module")
def supernet(randomized):
    keras.utils.set_random_seed(0)
    return randomized(SinglePathSupernet(SPACE, 5))


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).normal(size=(2, *SPACE.input_shape)).astype(np.float32)


def random_configurations(seed):
    generator = np.random.default_rng(seed)
    found = generator.integers(27, size=3)
    return np.where(skippable(SPACE) & (generator.random(3) < 0.4), SKIP, found)


def set_margins(supernet, signs):
    """Sets every threshold so that its margin has the sign of +1 or -1 in `signs` [B][gates]."""
    for layer, row in zip(supernet.superkernels, signs, strict=True):
        layer.thresholds.assign(np.where(np.array(row) > 0, -9.0, 1e3))


def assert_equal_networks(supernet, network, gates, images):
    expected = network(images, training=False).numpy()
    found = supernet(images, gates, training=False).numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())


def test_derived_networks_compute_what_the_supernet_does(supernet, images):
    skipped = set()
    for seed in range(10):
        configurations = random_configurations(seed)
        architecture, network = supernet.extract(configurations, f"random_{seed}")
        assert sum(map(len, architecture.stages)) == 1 + np.sum(configurations != SKIP)
        assert_equal_networks(supernet, network, supernet.selection(configurations), images)
        skipped |= set(np.flatnonzero(configurations == SKIP))
    assert skipped == {1}


def test_the_network_is_decoded_from_the_weights_that_run(supernet, images):
    generator = np.random.default_rng(3)
    for _ in range(2):
        set_margins(supernet, generator.choice([-1, 1], (3, 7)))
        decision = supernet.decide()
        gates = supernet.numpy_gates(decision.gates)
        margins = supernet.margins()
        for field in ("kernel", "squeeze_excite"):
            np.testing.assert_array_equal(
                getattr(gates, field), getattr(margins, field) >= 0, field
            )
        expected = (margins.expansion >= 0) | ~(skippable(SPACE)[:, None] | [False, True, True])
        np.testing.assert_array_equal(gates.expansion, expected)
        np.testing.assert_array_equal(
            supernet.configurations(), configurations_of_gates(SPACE, gates)
        )
        architecture, network = supernet.extract(name="found")
        assert architecture == decode(SPACE, gates, "found")
        assert_equal_networks(supernet, network, None, images)


def test_dropped_groups(supernet):
    set_margins(supernet, np.ones((3, 7)))
    drop = BlockGates(
        tf.constant([[1.0, 0], [0, 1], [1, 1]]),
        tf.constant([[0.0, 0, 1], [0, 1, 1], [0, 1, 0]]),
        tf.constant([[0.0, 1], [1, 0], [1, 1]]),
    )
    found = stacked(supernet.decide(drop).gates)
    np.testing.assert_array_equal(found.kernel, drop.kernel)
    np.testing.assert_array_equal(found.squeeze_excite, drop.squeeze_excite)
    # Blocks 0 and 2 cannot be skipped.
    np.testing.assert_array_equal(found.expansion, [[1, 0, 1], [0, 1, 1], [1, 1, 0]])


def test_chosen_configurations_are_decided(supernet):
    for seed in range(4):
        configurations = random_configurations(seed)
        supernet.choose(configurations)
        np.testing.assert_array_equal(supernet.configurations(), configurations)
        margins = supernet.margins()
        for part in (margins.kernel, margins.expansion, margins.squeeze_excite):
            np.testing.assert_allclose(np.abs(part), 1.0, atol=1e-4)


def test_soft_formulations_mix_in_training_only(images):
    keras.utils.set_random_seed(0)
    soft = dataclasses.replace(LITERAL, relaxation="softmax")
    supernet = SinglePathSupernet(SPACE, 5, soft)
    set_margins(supernet, np.ones((3, 7)))
    for layer in supernet.superkernels:
        layer.thresholds.assign(tf.convert_to_tensor(layer.decide().norms[0][0]) * tf.ones(7))
    mixed = stacked(supernet.decide(training=True).gates)
    assert np.any((mixed.kernel > 0) & (mixed.kernel < 1))
    hard = stacked(supernet.decide().gates)
    assert set(np.unique(hard.kernel)) <= {0, 1}
    assert np.all(np.isfinite(supernet(images, training=True)))
    _, network = supernet.extract()
    assert_equal_networks(supernet, network, None, images)


def test_stacking_both_ways(supernet):
    gates = supernet.decide().gates
    tf.nest.map_structure(np.testing.assert_array_equal, unstacked(stacked(gates)), gates)


def test_only_what_has_a_residual_is_skipped(supernet):
    with pytest.raises(ValueError, match="depth of stage 0 should be 1 to 2"):
        supernet.extract([SKIP, SKIP, 0])
