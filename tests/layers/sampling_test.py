import numpy as np
import pytest
import tensorflow as tf

from keras_nas.layers.sampling import fold_in, gumbel_one_hot, random_permutation

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


def test_permutations_are_uniform():
    draws = 4000

    @tf.function(autograph=False)
    def permute_all():
        return tf.map_fn(lambda step: random_permutation(4, fold_in(SEED, step)), tf.range(draws))

    permutations = permute_all().numpy()  # [N, 4]
    np.testing.assert_array_equal(np.sort(permutations, axis=1), [[0, 1, 2, 3]] * draws)
    _, counts = np.unique(permutations, axis=0, return_counts=True)
    assert len(counts) == 24
    p = 1 / 24
    assert np.all(np.abs(counts / draws - p) <= 5 * np.sqrt(p * (1 - p) / draws))


def test_permutation_is_static_and_repeats():
    compiled = tf.function(lambda seed: random_permutation(7, seed), autograph=False)
    concrete = compiled.get_concrete_function(SEED)
    assert concrete.output_shapes == (7,) and concrete.output_dtypes == tf.int32
    np.testing.assert_array_equal(compiled(SEED), random_permutation(7, SEED))


@pytest.mark.parametrize("data", [0, 1, 1000])
def test_fold_in_takes_numbers_and_tensors(data):
    np.testing.assert_array_equal(fold_in(SEED, data), fold_in(SEED, tf.constant(data)))
    assert np.any(fold_in(SEED, data) != fold_in(SEED, data + 1))
