"""The multi-path supernet: mixtures by hand, and what it decides is what comes out of it."""

import itertools

import keras
import numpy as np
import pytest

from keras_nas.models.multi_path_supernet import MultiPathSupernet
from keras_nas.space import ElasticStage, Head, Stem, single_path
from keras_nas.space.single_path_gates import (
    SKIP,
    Gates,
    configurations_of_gates,
    gates_of_configurations,
    skippable,
)

SPACE = single_path(
    name="small",
    stem=Stem(8),
    stages=(
        ElasticStage(8, 2, min_depth=1, max_depth=1),
        ElasticStage(12, 2, "hard_swish", min_depth=1, max_depth=3),
    ),
    first_stages=(),
    final_stages=(),
    head=Head(0),
    expansion_ratios=(2, 3),
    se_ratios=(0, 0.5),
    resolution=16,
)
COUNT = 8
GATES = 4
"""Of a block: kernel 5, the block, expansion 3, squeeze-and-excitation."""


@pytest.fixture(scope="module")
def supernet(randomized):
    keras.utils.set_random_seed(0)
    return randomized(MultiPathSupernet(SPACE, 5))


@pytest.fixture(scope="module")
def by_level():
    keras.utils.set_random_seed(0)
    return MultiPathSupernet(SPACE, 5, "sigmoid")


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).normal(size=(2, *SPACE.input_shape)).astype(np.float32)


def test_derived_networks_compute_what_the_supernet_does(supernet, images):
    generator = np.random.default_rng(1)
    for configurations in ([3, 7, SKIP, 4], [0, 2, 6, SKIP], generator.integers(COUNT, size=4)):
        architecture, network = supernet.extract(configurations, "derived")
        assert sum(map(len, architecture.stages)) == 4 - list(configurations).count(SKIP)
        expected = network(images, training=False).numpy()
        found = supernet(images, supernet.selection(configurations)).numpy()
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())


def test_by_default_what_is_decided_runs(supernet, images):
    supernet.logits.assign(np.random.default_rng(2).normal(size=(4, COUNT + 1)))
    _, network = supernet.extract()
    expected = network(images, training=False).numpy()
    found = supernet(images).numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())


def test_the_last_block_mixes_linearly(supernet, images):
    """After it come only the pooling and the classifier, so that logits mix alike."""
    shares = np.random.default_rng(3).dirichlet(np.ones(COUNT + 1)).astype(np.float32)
    first = supernet.selection([1, 2, 3]).numpy()
    mixed = supernet(images, np.concatenate([first, shares[None]])).numpy()
    alone = [
        supernet(images, supernet.selection([1, 2, 3, c])).numpy() for c in (*range(COUNT), SKIP)
    ]
    np.testing.assert_allclose(mixed, np.tensordot(shares, alone, 1), rtol=1e-4, atol=1e-4)


def test_softmax_shares(supernet):
    logits = np.random.default_rng(4).normal(size=(4, COUNT + 1))
    supernet.logits.assign(logits)
    weights = np.exp(logits)
    weights[~skippable(SPACE), -1] = 0
    np.testing.assert_allclose(supernet.shares(), weights / weights.sum(1, keepdims=True), 1e-5)


def test_sigmoid_shares_enumerate_all_gates(by_level):
    """Every pattern of gates, with its probability, counts for the configuration it decodes to."""
    logits = np.random.default_rng(5).normal(size=(4, GATES)).astype(np.float32)
    by_level.logits.assign(logits)
    opened = 1 / (1 + np.exp(-logits.astype(np.float64)))
    opened[~skippable(SPACE), 1] = 1
    expected = np.zeros((4, COUNT + 1))
    for b, pattern in itertools.product(range(4), itertools.product((0, 1), repeat=GATES)):
        chosen = np.array(pattern)
        probability = np.prod(np.where(chosen, opened[b], 1 - opened[b]))
        if probability:
            gates = np.tile(chosen, (4, 1))
            gates[~skippable(SPACE), 1] = 1  # of the other blocks
            parts = Gates(gates[:, :1], gates[:, 1:3], gates[:, 3:])
            expected[b, configurations_of_gates(SPACE, parts)[b]] += probability
    np.testing.assert_allclose(by_level.shares(), expected, rtol=1e-5, atol=1e-7)


def test_decisions(supernet, by_level):
    generator = np.random.default_rng(6)
    for _ in range(10):
        scores = generator.normal(size=(4, COUNT + 1))
        supernet.logits.assign(scores)
        scores[~skippable(SPACE), -1] = -np.inf
        best = scores.argmax(1)
        np.testing.assert_array_equal(
            supernet.configurations(), np.where(best == COUNT, SKIP, best)
        )
        wanted = np.where(skippable(SPACE) & (generator.random(4) < 0.4), SKIP, best % COUNT)
        gates = gates_of_configurations(SPACE, wanted)
        parts = np.concatenate([gates.kernel, gates.expansion, gates.squeeze_excite], 1)
        by_level.logits.assign((parts - 0.5) * generator.uniform(0.1, 2, parts.shape))
        np.testing.assert_array_equal(by_level.configurations(), wanted)
        assert by_level.margins().kernel.shape == (4, 1)


def test_fresh_shares_are_equal():
    """So that no choice is preferred at first; ties decide for the larger."""
    keras.utils.set_random_seed(0)
    supernet = MultiPathSupernet(SPACE, 5)
    expected = np.full((4, COUNT + 1), 1 / (COUNT + 1))
    expected[~skippable(SPACE)] = [*[1 / COUNT] * COUNT, 0]
    np.testing.assert_allclose(supernet.shares(), expected, rtol=1e-6)
    np.testing.assert_array_equal(supernet.configurations(), COUNT - 1)


def test_unknown_relaxation():
    with pytest.raises(ValueError, match="softmax, sigmoid, received 'straight_through'"):
        MultiPathSupernet(SPACE, 5, "straight_through")
