"""Frequencies of sampled operations against their probabilities."""

import numpy as np
import pytest
import tensorflow as tf

from keras_nas.layers.tf_nas_sampling import gumbel_softmax, sample_operations

P = np.array([[0.1, 0.2, 0.3, 0.4], [0.7, 0.1, 0.1, 0.1]])
DRAWS = 20_000


def draw(second, allowed=None, p=P):
    """[DRAWS, P, B] operations: blocks of a big batch are independent draws."""
    logits = tf.constant(np.log(np.tile(p, (DRAWS, 1))), tf.float32)
    mask = np.ones_like(p, bool) if allowed is None else allowed
    mask = tf.constant(np.tile(mask, (DRAWS, 1)))
    sampled = sample_operations(logits, mask, second, tf.constant([3, 4])).numpy()
    return sampled.reshape(len(sampled), DRAWS, len(p)).transpose(1, 0, 2)


def second_given_first(second, p):
    """[first, second] probability of the second operation."""
    rows = {"random": np.ones(4), "gumbel": p}[second]
    table = np.tile(rows, (4, 1)) * (1 - np.eye(4))
    return table / table.sum(axis=1, keepdims=True)


def within_five_sigma(counts, p, n):
    assert np.all(np.abs(counts - n * p) <= 5 * np.sqrt(n * p * (1 - p)) + 1e-9)


@pytest.mark.parametrize("second", ["random", "gumbel"])
def test_frequencies(second):
    sampled = draw(second)
    for b, p in enumerate(P):
        first, other = sampled[:, 0, b], sampled[:, 1, b]
        assert np.all(first != other)
        within_five_sigma(np.bincount(first, minlength=4), p, DRAWS)
        joint = np.zeros((4, 4))
        np.add.at(joint, (first, other), 1)
        within_five_sigma(joint, p[:, None] * second_given_first(second, p), DRAWS)


@pytest.mark.parametrize(("second", "best"), [("minimum", (0, 1)), ("maximum", (3, 2))])
def test_extremes(second, best):
    """The smallest or largest, or the next one where the first path has it."""
    sampled = draw(second)[:, :, 0]
    expected = np.where(sampled[:, 0] == best[0], best[1], best[0])
    np.testing.assert_array_equal(sampled[:, 1], expected)


def test_none_is_one_path():
    assert draw("none").shape == (DRAWS, 1, 2)


def test_what_is_not_allowed_is_never_drawn_nor_mixed():
    allowed = np.array([[True, True, False, False], [True, False, True, True]])
    sampled = draw("random", allowed)
    assert set(np.unique(sampled[:, :, 0])) == {0, 1}
    assert set(np.unique(sampled[:, :, 1])) == {0, 2, 3}
    logits = tf.constant(np.log(P), tf.float32)
    mix = gumbel_softmax(logits, tf.constant(allowed), 5.0, tf.constant([1, 2])).numpy()
    np.testing.assert_array_equal(mix > 0, allowed)
    np.testing.assert_allclose(mix.sum(axis=1), 1, rtol=1e-6)


def test_the_gumbel_softmax_is_drawn_and_cools():
    """Its largest entry is distributed as p; at a high temperature it is nearly uniform."""
    logits = tf.constant(np.log(np.tile(P[:1], (DRAWS, 1))), tf.float32)
    allowed = tf.ones((DRAWS, 4), tf.bool)
    cold, hot = (
        gumbel_softmax(logits, allowed, temperature, tf.constant([5, 6])).numpy()
        for temperature in (0.01, 100.0)
    )
    within_five_sigma(np.bincount(cold.argmax(axis=1), minlength=4), P[0], DRAWS)
    assert cold.max(axis=1).mean() > 0.97
    assert np.abs(hot - 0.25).max() < 0.05


def test_an_unknown_sampler_is_refused():
    with pytest.raises(ValueError, match="one of random, gumbel, minimum, maximum, none"):
        draw("twice")
