"""RandAugment's operations against Pillow, whose operations the paper's reference code repeats."""

import math

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, ImageEnhance, ImageOps

from keras_nas.data import rand_augment
from keras_nas.data.rand_augment import OPERATIONS

SEED = tf.constant([1, 2], tf.int64)
STRENGTHS = np.array([0.9, -0.9, 0.47, -0.31, 0.0, 0.97], np.float32)


def photographs(size: int = 24) -> np.ndarray:
    """Smooth images of limited contrast, so that every operation has something to do."""
    random = np.random.default_rng(0)
    small = random.integers(30, 220, (len(STRENGTHS), 5, 5, 3), np.uint8)
    return np.stack([np.asarray(Image.fromarray(i).resize((size, size))) for i in small])


def with_pillow(name: str, image: Image.Image, strength: float) -> Image.Image:
    enhancers = {
        "brightness": ImageEnhance.Brightness,
        "contrast": ImageEnhance.Contrast,
        "color": ImageEnhance.Color,
        "sharpness": ImageEnhance.Sharpness,
    }
    if name in enhancers:
        return enhancers[name](image).enhance(1 + 0.9 * strength)
    if name == "posterize":
        return ImageOps.posterize(image, 8 - round(4 * abs(strength)))
    if name == "solarize":
        return ImageOps.solarize(image, math.ceil(256 * (1 - np.float32(abs(strength)))))
    if name == "auto_contrast":
        return ImageOps.autocontrast(image)
    if name == "equalize":
        return ImageOps.equalize(image)
    if name == "rotate":
        # Pillow's angle is counter-clockwise; its centre is that of the image.
        return image.rotate(30 * strength, Image.Resampling.NEAREST, fillcolor=(128,) * 3)
    pixels = round(strength * 150 / 331 * image.width)
    # Pillow evaluates (a, b, c, d, e, f) at pixel centres; c makes up for the half pixels.
    matrix = {
        "identity": (1, 0, 0, 0, 1, 0),
        "shear_x": (1, 0.3 * strength, -0.15 * strength, 0, 1, 0),
        "shear_y": (1, 0, 0, 0.3 * strength, 1, -0.15 * strength),
        "translate_x": (1, 0, pixels, 0, 1, 0),
        "translate_y": (1, 0, 0, 0, 1, pixels),
    }[name]
    return image.transform(
        image.size, Image.Transform.AFFINE, matrix, Image.Resampling.NEAREST, fillcolor=(128,) * 3
    )


@pytest.mark.parametrize("name", OPERATIONS)
def test_operation_equals_pillow(name):
    images = photographs()
    choice = tf.fill([len(images)], OPERATIONS.index(name))
    result = rand_augment.apply(tf.constant(images), choice, tf.constant(STRENGTHS)).numpy()
    for image, ours, strength in zip(images, result, STRENGTHS, strict=True):
        expected = np.asarray(with_pillow(name, Image.fromarray(image), float(strength)))
        difference = np.abs(ours.astype(int) - expected)
        if name in ("rotate", "shear_x", "shear_y"):
            # Where a place falls between two pixels, rounding decides which is nearest.
            assert (difference.max(-1) > 0).mean() < 0.02
        else:
            assert difference.max() <= 1


def test_flat_image_stays_under_histogram_operations():
    flat = tf.fill([2, 8, 8, 3], tf.constant(77, tf.uint8))
    choice = tf.constant([OPERATIONS.index("auto_contrast"), OPERATIONS.index("equalize")])
    np.testing.assert_array_equal(rand_augment.apply(flat, choice, tf.ones([2])), flat)


def test_each_image_draws_its_own_operation():
    image = photographs()[0]
    batch = tf.constant(np.tile(image, (280, 1, 1, 1)))
    result = rand_augment.rand_augment(batch, SEED, operations=1, magnitude=9.0).numpy()
    counts = np.array(sorted(np.unique(result, axis=0, return_counts=True)[1]))
    # 14 operations, nine of them with two directions: 23 results, drawn 10 or 20 times each.
    assert len(counts) == 23 and counts.max() < 45


def test_seed_decides_and_operations_follow_one_another():
    images = tf.constant(photographs())

    def augmented(seed: tf.Tensor, operations: int) -> np.ndarray:
        return rand_augment.rand_augment(images, seed, operations=operations, magnitude=9.0).numpy()

    np.testing.assert_array_equal(augmented(SEED, 2), augmented(SEED, 2))
    assert (augmented(SEED, 2) != augmented(SEED + 1, 2)).any()
    assert (augmented(SEED, 2) != augmented(SEED, 1)).any()
