"""Flips and shifts against slicing in NumPy."""

import itertools

import numpy as np
import pytest
import tensorflow as tf

from keras_nas.data.augmentation import Augmentation, flip_and_shift, take_pixels

SEED = tf.constant([1, 2], tf.int64)


def windows(image: np.ndarray, padding: int, numpy_mode: str, flip: bool) -> set[bytes]:
    """All results that padding, cutting and mirroring can have."""
    size = image.shape[0]
    padded = np.pad(image, [(padding, padding), (padding, padding), (0, 0)], numpy_mode)
    found = set()
    for y, x in itertools.product(range(2 * padding + 1), repeat=2):
        window = padded[y : y + size, x : x + size]
        found |= {window.tobytes(), window[:, ::-1].tobytes()} if flip else {window.tobytes()}
    return found


@pytest.mark.parametrize("mode", ["reflect", "constant"])
@pytest.mark.parametrize("flip", [False, True])
def test_results_are_exactly_the_possible_ones(mode, flip):
    image = np.random.default_rng(0).integers(1, 256, (5, 5, 3), np.uint8)
    batch = tf.constant(np.tile(image, (600, 1, 1, 1)))
    result = flip_and_shift(batch, SEED, flip=flip, padding=2, padding_mode=mode).numpy()
    # 25 shifts, or 50 results with mirroring; 600 draws miss one of 50 with 50 * 0.98^600 = 3e-4.
    assert {item.tobytes() for item in result} == windows(image, 2, mode, flip)


def test_half_of_the_images_are_mirrored():
    ramp = np.tile(np.arange(4, dtype=np.uint8)[None, :, None], (2000, 4, 1, 3))
    result = flip_and_shift(
        tf.constant(ramp), SEED, flip=True, padding=0, padding_mode="reflect"
    ).numpy()
    mirrored = result[:, 0, 0, 0] == 3
    assert 900 < mirrored.sum() < 1100
    np.testing.assert_array_equal(result[mirrored], ramp[mirrored][:, :, ::-1])
    np.testing.assert_array_equal(result[~mirrored], ramp[~mirrored])


def test_seed_decides():
    images = tf.constant(np.random.default_rng(0).integers(0, 256, (8, 6, 6, 3), np.uint8))
    arguments = {"flip": True, "padding": 2, "padding_mode": "reflect"}
    first = flip_and_shift(images, SEED, **arguments).numpy()
    np.testing.assert_array_equal(first, flip_and_shift(images, SEED, **arguments).numpy())
    assert (first != flip_and_shift(images, SEED + 1, **arguments).numpy()).any()


def test_take_pixels_fills_outside():
    images = tf.constant(np.arange(24, dtype=np.uint8).reshape(2, 2, 2, 3))
    rows, columns = tf.constant([[[0], [2]]] * 2), tf.constant([[[1, -1]]] * 2)
    result = take_pixels(images, rows, columns, fill_grey=99).numpy()
    np.testing.assert_array_equal(result[:, 0, 0], images[:, 0, 1])
    assert (result[:, 1] == 99).all() and (result[:, 0, 1] == 99).all()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("crop", "centre"),
        ("padding", -1),
        ("padding_mode", "wrap"),
        ("rand_augment_operations", -1),
        ("rand_augment_magnitude", 11.0),
    ],
)
def test_values_out_of_range(field, value):
    with pytest.raises(ValueError, match=f"{field} must .*Received: "):
        Augmentation(**{field: value})
