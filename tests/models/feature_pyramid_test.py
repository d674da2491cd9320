"""`build_network(..., features=True)` as the backbone of a detector."""

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from keras_nas.models import build_network
from keras_nas.resources import parameters
from keras_nas.space import Architecture, Head
from keras_nas.space.published import published

SMALL = Architecture.from_block_strings(
    [
        ["ds_k3_s1_c8"],
        ["ir_r2_k3_s2_e2_c12"],
        ["ir_r2_k5_s2_e2_c16_se0.25"],
        ["ir_k3_s2_e2_c24", "ir_k3_s1_e2_c28"],
        ["ir_k3_s2_e2_c32"],
        ["cn_k1_s1_c40"],
    ],
    head=Head(16),
)


def images(count=2, size=64):
    return np.random.default_rng(0).uniform(size=(count, size, size, 3)).astype("f4")


def test_levels_shapes_and_channels():
    backbone = build_network(SMALL, (96, 64, 3), features=True)
    shapes = {level: tuple(output.shape) for level, output in backbone.output.items()}
    # The last output at a stride, so P4 is after the block with 28 channels, P5 after the
    # convolution to 40.
    assert shapes == {
        "P2": (None, 24, 16, 12),
        "P3": (None, 12, 8, 16),
        "P4": (None, 6, 4, 28),
        "P5": (None, 3, 2, 40),
    }


def test_a_published_network_has_the_stages_that_image_models_gives():
    outputs = build_network(published("hardcorenas_a"), (32, 32, 3), features=True).output
    assert {level: output.shape[3] for level, output in outputs.items()} == {
        "P2": 24, "P3": 40, "P4": 112, "P5": 960,
    }  # fmt: skip


def test_strides_that_are_not_there_are_absent():
    stem = dataclasses.replace(SMALL.stem, stride=1)
    flat = dataclasses.replace(SMALL, stem=stem, stages=SMALL.stages[:3])
    assert set(build_network(flat, (32, 32, 3), features=True).output) == {"P2"}
    with pytest.raises(ValueError, match="has none of the strides 4, 8, 16, 32; build it without"):
        build_network(
            dataclasses.replace(flat, stages=SMALL.stages[:1]), (32, 32, 3), features=True
        )


def test_weights_are_the_first_of_the_whole_network(randomized):
    whole = randomized(build_network(SMALL, (64, 64, 3), 7))
    backbone = build_network(SMALL, (64, 64, 3), 7, features=True)
    names = [weight.path for weight in backbone.weights]
    assert names == [weight.path for weight in whole.weights][: len(names)]
    backbone.set_weights(whole.get_weights()[: len(names)])
    deepest = keras.Model(whole.input, whole.get_layer("head_pool").input)
    np.testing.assert_allclose(backbone(images())["P5"], deepest(images()), rtol=1e-5, atol=1e-6)
    head = Architecture("x", SMALL.stem, SMALL.stages, Head(0))
    assert parameters(head, (64, 64, 3), 1) - 41 == sum(
        np.prod(weight.shape) for weight in backbone.trainable_weights
    )


def test_needs_classes_otherwise():
    with pytest.raises(ValueError, match="needs the number of classes, unless features=True"):
        build_network(SMALL, (32, 32, 3))


def feature_pyramid_head(backbone, channels=8):
    """Lin et al., arXiv 1612.03144: lateral 1x1 convolutions, added top down, one score a place."""
    merged, scores = None, []
    for level in sorted(backbone.output, reverse=True):
        lateral = layers.Conv2D(channels, 1)(backbone.output[level])
        if merged is not None:
            lateral = layers.Add()([lateral, layers.UpSampling2D()(merged)])
        merged = lateral
        scores.append(layers.Conv2D(1, 3, padding="same", name=f"score_{level}")(merged))
    return keras.Model(backbone.input, scores)


def test_a_feature_pyramid_on_top_trains_down_to_the_stem():
    """Finds a bright square: gradients reach every weight, and the loss falls."""
    keras.utils.set_random_seed(1)
    light = Architecture.from_block_strings([[f"ds_k3_s2_c{c}"] for c in (12, 16, 24, 32)])
    detector = feature_pyramid_head(build_network(light, (64, 64, 3), features=True))
    generator = np.random.default_rng(0)
    x = generator.uniform(0, 0.2, (8, 64, 64, 3)).astype("f4")
    target = np.zeros((8, 64, 64, 1), "f4")
    for i, (row, column) in enumerate(generator.integers(0, 48, (8, 2))):
        x[i, row : row + 16, column : column + 16] = 1
        target[i, row : row + 16, column : column + 16] = 1

    def loss():
        total = 0.0
        for score in detector(x, training=True):
            wanted = tf.nn.avg_pool2d(target, 64 // score.shape[1], 64 // score.shape[1], "VALID")
            total += tf.reduce_mean((tf.sigmoid(score) - wanted) ** 2)
        return total

    optimizer = keras.optimizers.Adam(0.01)
    weights = detector.trainable_variables

    @tf.function(autograph=False)
    def step():
        with tf.GradientTape() as tape:
            value = loss()
        gradients = tape.gradient(value, [weight.value for weight in weights])
        return value, gradients

    values = []
    for _ in range(12):
        value, gradients = step()
        optimizer.apply(gradients, weights)
        values.append(float(value))
    stem = detector.get_layer("stem_convolution").kernel
    index = next(i for i, weight in enumerate(weights) if weight is stem)
    assert all(gradient is not None for gradient in gradients)
    assert np.abs(gradients[index]).max() > 0
    assert values[-1] < 0.6 * values[0]
