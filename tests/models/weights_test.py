"""Weights in one file: exact both ways, refused by name for another model."""

import io

import keras
import numpy as np
import pytest

from keras_nas.models.weights import weights_from_bytes, weights_to_bytes


def model(units=4, layers=2):
    return keras.Sequential(
        [
            keras.Input((3,)),
            *(keras.layers.Dense(units) for _ in range(layers)),
            keras.layers.BatchNormalization(),
        ]
    )


def test_both_ways_exactly():
    one, other = model(), model()
    for weight in one.weights:
        weight.assign(np.random.default_rng(0).normal(size=weight.shape))
    weights_from_bytes(other, weights_to_bytes(one), "file")
    for a, b in zip(one.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("other", [model(units=5), model(layers=3)])
def test_another_model_is_refused_and_nothing_is_set(other):
    before = other.get_weights()
    with pytest.raises(ValueError, match=r"w\.npz.*another search space or number of classes"):
        weights_from_bytes(other, weights_to_bytes(model()), "w.npz")
    for a, b in zip(before, other.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("cut", [0, 10, 500, -200, -1])
def test_damaged_bytes_are_refused(cut):
    with pytest.raises(ValueError, match=r"w\.npz is damaged .* run its stage again"):
        weights_from_bytes(model(), weights_to_bytes(model())[:cut], "w.npz")


def test_a_flipped_byte_is_refused():
    data = bytearray(weights_to_bytes(model()))
    data[len(data) // 3] ^= 0xFF
    with pytest.raises(ValueError, match=r"w\.npz is damaged"):
        weights_from_bytes(model(), bytes(data), "w.npz")


def test_pickles_are_refused():
    buffer = io.BytesIO()
    np.savez(buffer, a=np.array([{}], dtype=object))
    with pytest.raises(ValueError, match=r"w\.npz is damaged"):
        weights_from_bytes(model(), buffer.getvalue(), "w.npz")
