"""Scaled networks against published ones, and against Keras' own builders."""

import dataclasses
import math

import keras
import pytest

from keras_nas.resources import macs, parameters
from keras_nas.space.published import published
from keras_nas.space.width_multiplier import widened

SHAPE = (224, 224, 3)


def test_the_published_wide_network():
    wide = widened(published("mobilenetv2_100"), 1.4, head="grows")
    assert dataclasses.replace(wide, name="mobilenetv2_140") == published("mobilenetv2_140")
    assert parameters(wide, SHAPE, 1000) == 6_108_776


@pytest.mark.parametrize(
    ("name", "multiplier", "head", "builder"),
    [
        ("mobilenetv2_100", 0.35, "grows", "MobileNetV2"),
        ("mobilenetv2_100", 1.3, "grows", "MobileNetV2"),
        ("mobilenetv3_large_100", 0.75, "grows", "MobileNetV3Large"),
    ],
)
def test_keras_builds_the_same(name, multiplier, head, builder):
    build = getattr(keras.applications, builder)
    model = build(input_shape=SHAPE, alpha=multiplier, weights=None)
    expected = sum(math.prod(weight.shape) for weight in model.trainable_variables)
    assert parameters(widened(published(name), multiplier, head=head), SHAPE, 1000) == expected


@pytest.mark.parametrize(
    ("multiplier", "millions", "million_macs"),
    # As TensorFlow's MnasNet page prints them (github.com/tensorflow/tpu, models/official/mnasnet).
    [
        (0.35, 1.7, 63.2),
        (0.5, 2.1, 105.2),
        (0.75, 2.9, 226.7),
        (1.0, 3.9, 315.2),
        (1.4, 6.1, 591.5),
    ],
)
def test_mnasnet_as_published(multiplier, millions, million_macs):
    network = widened(published("mnasnet_a1"), multiplier)
    assert parameters(network, SHAPE, 1000) / 1e6 == pytest.approx(millions, abs=0.06)
    assert macs(network, SHAPE, 1000) / 1e6 == pytest.approx(million_macs, rel=0.03)


def test_fixed_widths_inside_blocks_are_scaled():
    network = published("tf_nas_a")
    half = widened(network, 0.5)
    for before, after in zip(network.blocks(), half.blocks(), strict=True):
        for field in ("channels", "fixed_middle_channels"):
            old, new = getattr(before, field), getattr(after, field)
            assert new % 8 == 0 and abs(new - old / 2) <= 4 + 0.1 * old
        assert (before.fixed_middle_channels == 0) == (after.fixed_middle_channels == 0)
    assert widened(network, 1.0) is network


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"multiplier": 0.0}, "should be a number above 0, received 0.0"),
        ({"multiplier": float("inf")}, "should be a number above 0"),
        ({"multiplier": 0.5, "head": "shrinks"}, "unknown rule for the head 'shrinks'"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError) as error:
        widened(published("mobilenetv2_100"), **arguments)
    assert message in str(error.value)


def test_mixed_kernels_need_even_parts():
    with pytest.raises(ValueError, match="cannot deal"):
        widened(published("mixnet_s"), 0.5)
