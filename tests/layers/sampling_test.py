import numpy as np
import pytest
import tensorflow as tf

from keras_nas.layers.sampling import (
    cell_major,
    deal,
    fold_in,
    gumbel_one_hot,
    shared_gumbel_one_hot,
    uniform_choices,
)

SEED = tf.constant([3, 5])


def test_gumbel_frequencies():
    probabilities = np.array([[0.5, 0.3, 0.2, 0.0], [0.01, 0.0, 0.0, 0.99], [0.25] * 4])
    draws = 40_000
    samples = gumbel_one_hot(tf.constant(probabilities), draws, SEED).numpy()  # [N, 3, 4]
    assert samples.dtype == np.float64 and samples.shape == (draws, 3, 4)
    np.testing.assert_array_equal(samples.sum(-1), 1.0)
    assert set(np.unique(samples)) == {0.0, 1.0}
    sigma = np.sqrt(probabilities * (1 - probabilities) / draws)
    assert np.all(np.abs(samples.mean(0) - probabilities) <= 5 * sigma)  # 0 is never drawn
    # Rows are independent of one another.
    joint = np.einsum("ni,nj->ij", samples[:, 0], samples[:, 2]) / draws
    expected = np.outer(probabilities[0], probabilities[2])
    assert np.all(np.abs(joint - expected) <= 5 * np.sqrt(expected * (1 - expected) / draws))


def test_gumbel_draws_the_only_possibility():
    for column in range(5):
        row = np.eye(5, dtype="f4")[column]
        np.testing.assert_array_equal(gumbel_one_hot(tf.constant(row), 1000, SEED), [row] * 1000)


def test_same_seed_same_sample_and_static_shape():
    probabilities = tf.fill([2, 3, 4], 0.25)
    compiled = tf.function(lambda seed: gumbel_one_hot(probabilities, 50, seed), autograph=False)
    assert compiled.get_concrete_function(SEED).output_shapes == (50, 2, 3, 4)
    np.testing.assert_array_equal(compiled(SEED), gumbel_one_hot(probabilities, 50, SEED))
    assert np.any(compiled(SEED) != compiled(fold_in(SEED, 1)))


def test_one_draw_for_the_whole_batch():
    probabilities = tf.constant([[0.5, 0.5], [0.0, 1.0]])
    draws = np.stack(
        [shared_gumbel_one_hot(probabilities, tf.constant([7, n])) for n in range(200)]
    )
    assert draws.shape == (200, 2, 2) and set(np.unique(draws)) == {0.0, 1.0}
    np.testing.assert_array_equal(draws[:, 1], [[0.0, 1.0]] * 200)
    assert 60 < draws[:, 0, 0].sum() < 140


def test_permutations_are_uniform_and_independent_between_groups():
    draws, members = 2000, np.arange(8, dtype=np.int32).reshape(2, 4)

    @tf.function(autograph=False)
    def deal_all():
        return tf.map_fn(lambda step: deal(members, 0, 1, fold_in(SEED, step))[0], tf.range(draws))

    permutations = deal_all().numpy().reshape(draws, 2, 4) - [[0], [4]]  # [N, G, M]
    np.testing.assert_array_equal(np.sort(permutations, axis=2), [[[0, 1, 2, 3]] * 2] * draws)
    for group in (0, 1):
        _, counts = np.unique(permutations[:, group], axis=0, return_counts=True)
        assert len(counts) == 24
        p = 1 / 24
        assert np.all(np.abs(counts / draws - p) <= 5 * np.sqrt(p * (1 - p) / draws))
    same = np.mean(np.all(permutations[:, 0] == permutations[:, 1], axis=1))
    assert abs(same - 1 / 24) < 5 * np.sqrt(1 / 24 / draws)


def test_dealing_keeps_groups_even():
    """Of each group of 6, 2 leave and the others are dealt to 2 cells, again and again."""
    members = np.arange(18, dtype=np.int32).reshape(6, 3).T  # image i is of group i % 3
    compiled = tf.function(lambda seed: deal(members, 2, 2, seed)[0], autograph=False)
    order = compiled(SEED).numpy()
    assert order.dtype == np.int32 and compiled.get_concrete_function(SEED).output_shapes == (18,)
    again, stay = deal(members, 2, 2, SEED)
    np.testing.assert_array_equal(order, again)
    np.testing.assert_array_equal(np.sort(order), range(18))
    left, cells = order[:6], order[6:].reshape(2, 6)
    for part in (left, *cells):
        np.testing.assert_array_equal(np.bincount(part % 3), [2, 2, 2])
    assert stay.shape == (3, 4)
    for group in range(3):
        np.testing.assert_array_equal(order[6:][stay[group]] % 3, [group] * 4)
    # Values of a group's images, in the order of its new members, move along with the images.
    numbers = tf.constant(order[6:][stay])
    np.testing.assert_array_equal(cell_major(numbers, 2), order[6:])


def test_choices_are_uniform():
    chosen = uniform_choices(300, 4, 3, SEED).numpy()
    assert chosen.shape == (300, 4) and chosen.dtype == np.int32
    counts = np.bincount(chosen.ravel(), minlength=3)
    assert np.all(np.abs(counts / 1200 - 1 / 3) <= 5 * np.sqrt(2 / 9 / 1200))


@pytest.mark.parametrize("data", [0, 1, 1000])
def test_fold_in_takes_numbers_and_tensors(data):
    np.testing.assert_array_equal(fold_in(SEED, data), fold_in(SEED, tf.constant(data)))
    assert np.any(fold_in(SEED, data) != fold_in(SEED, data + 1))
