"""Random, seeded, disjoint splits."""

import numpy as np
import pytest

from keras_nas.data import splits


def test_held_out_is_disjoint_complete_sorted_and_of_the_size_asked():
    train, held_out = splits.split_held_out(1000, 0.2, seed=1)
    assert len(held_out) == 200
    np.testing.assert_array_equal(np.sort(np.concatenate([train, held_out])), np.arange(1000))
    assert (np.diff(train) > 0).all() and (np.diff(held_out) > 0).all()


def test_held_out_is_random_and_repeats_by_seed():
    _, first = splits.split_held_out(1000, 0.2, seed=1)
    _, again = splits.split_held_out(1000, 0.2, seed=1)
    _, other = splits.split_held_out(1000, 0.2, seed=2)
    np.testing.assert_array_equal(first, again)
    # Independent fifths of 1000 share 40 on average, standard deviation 5.1.
    assert 10 < len(np.intersect1d(first, other)) < 70
    assert 60 < (first < 500).sum() < 140


@pytest.mark.parametrize("fraction", [0.0, 1.0, -0.1])
def test_fraction_out_of_range_is_refused(fraction):
    with pytest.raises(ValueError, match=r"fraction must be in \(0, 1\)"):
        splits.split_held_out(10, fraction, seed=0)


def test_empty_part_is_refused():
    with pytest.raises(ValueError, match="leaves one part empty"):
        splits.split_held_out(2, 0.1, seed=0)


def test_stratified_split_keeps_the_shares():
    labels = np.repeat(np.arange(3, dtype=np.int32), [100, 200, 50])
    train, test = splits.stratified_split(labels, 0.2, 0, "pets")
    np.testing.assert_array_equal(np.bincount(labels[test]), [20, 40, 10])
    np.testing.assert_array_equal(np.sort(np.concatenate([train, test])), np.arange(350))


@pytest.mark.parametrize("fraction", [0.07, 0.2, 0.5, 0.91])
def test_every_class_gives_its_share_up_to_one(fraction):
    labels = np.random.default_rng(3).permutation(np.repeat(np.arange(4, dtype=np.int32), 37))
    _, test = splits.stratified_split(labels, fraction, 0, "pets")
    assert len(test) == np.ceil(fraction * len(labels))
    assert np.abs(np.bincount(labels[test]) - len(test) / 4).max() < 1


def test_stratified_split_is_of_its_seed():
    labels = np.repeat(np.arange(3, dtype=np.int32), 50)
    one, same, other = (splits.stratified_split(labels, 0.2, seed, "pets") for seed in (1, 1, 2))
    np.testing.assert_array_equal(one[1], same[1])
    assert not np.array_equal(one[1], other[1])


@pytest.mark.parametrize("fraction", [0.0, 1.0])
def test_stratified_split_without_a_part_is_refused(fraction):
    with pytest.raises(ValueError, match=rf"test_fraction must be in \(0, 1\).*{fraction}"):
        splits.stratified_split(np.zeros(4, np.int32), fraction, 0, "pets")


def test_stratified_split_of_too_few_is_refused():
    labels = np.array([0, 0, 0, 1], np.int32)
    with pytest.raises(
        ValueError, match=r"pets cannot be split with test_fraction 0.2: .*class 1.*there are 1\."
    ):
        splits.stratified_split(labels, 0.2, 0, "pets")
