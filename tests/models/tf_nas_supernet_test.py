"""The supernet of TF-NAS: paths equal stand-alone networks; widths come and go."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_nas.layers.tf_nas_depth import DepthSpace
from keras_nas.layers.tf_nas_mixed import MixedOperation
from keras_nas.models.tf_nas_supernet import TFNASSupernet
from keras_nas.space import TF_NAS, ElasticStage, Head, Stem, TFNASSpace
from keras_nas.space.tf_nas import OPERATIONS

SPACE = TFNASSpace(
    name="small",
    stem=Stem(6, 3, 1, "relu"),
    stages=(ElasticStage(6, 2, "relu", 1, 1), ElasticStage(8, 2, "swish", 1, 3)),
    operations=OPERATIONS[::3] + OPERATIONS[4:5],  # k3_e3, k5_e6, k5_e3_se, k3_e3_se
    head=Head(16, "swish", before_pooling=True),
    resolution=8,
)
IMAGES = tf.constant(np.random.default_rng(0).normal(size=(6, 8, 8, 3)), tf.float32)


def supernet(depth_space, share_weights):
    """Random weights, biases of gates included, and random widths."""
    keras.utils.set_random_seed(1)
    net = TFNASSupernet(SPACE, 10, depth_space=depth_space, share_weights=share_weights)
    noise = np.random.default_rng(1)
    for mixed in net.mixed:
        for bias in (mixed.gate.reduce_bias, mixed.gate.expand_bias):
            bias.assign(noise.normal(size=bias.shape))
    net.set_widths(noise.integers(SPACE.smallest_widths(), SPACE.largest_widths() + 1))
    return net


def choice(net, noise):
    """A random network: what a path has to be given, and what `extract` has to."""
    count, skip = len(SPACE.operations), net.depth.may_skip
    operations = noise.integers(count, size=len(skip))
    beta = np.full(net.depth.shape, -50.0)
    if net.depth.kind == "sink":
        beta[0, 0] = beta[1, noise.integers(3)] = 0.0
        return operations, operations, net.depth.kept_blocks(beta, skip), beta
    kept = ~skip | (noise.random(len(skip)) < 0.5)
    if net.depth.kind == "skip_in":
        return np.where(kept, operations, count), operations, kept, np.zeros(net.depth.shape)
    beta[np.arange(len(skip)), kept.astype(int)] = 0.0
    return operations, operations, kept, beta


@pytest.mark.parametrize(
    ("depth_space", "share_weights"),
    [("sink", False), ("sink", True), ("skip_in", False), ("skip_out", True)],
)
def test_a_path_and_a_one_hot_mixture_are_the_stand_alone_network(depth_space, share_weights):
    net = supernet(depth_space, share_weights)
    noise = np.random.default_rng(2)
    for _ in range(2):
        candidates, operations, kept, beta = choice(net, noise)
        depths = net.depth.probabilities(tf.constant(beta, tf.float32))
        path = tf.constant(candidates, tf.int32)
        network = net.extract(operations, kept)
        assert len(list(net.architecture(operations, kept).blocks())) == kept.sum()
        alone = network(IMAGES, training=True).numpy()
        tolerance = 1e-4 * np.abs(alone).max()
        sampled = net.call_path(IMAGES, path, net.sampled_weights(path), depths)
        np.testing.assert_allclose(sampled, alone, rtol=0, atol=tolerance)
        mix = tf.one_hot(path, net.allowed.shape[1])
        mixed = net.call_mixture(IMAGES, mix, depths)
        np.testing.assert_allclose(mixed, alone, rtol=0, atol=tolerance)


def test_depths_mix_as_the_space_says():
    """Each depth space against its formula, on numbers in place of images."""
    depths, first = np.array([[1, 0, 0], [1, 2, 3]]), (0, 1)
    may_skip = np.array([False, False, True, True])
    beta = np.log([[1.0, 9, 9], [0.2, 0.3, 0.5]])
    sink = DepthSpace("sink", depths, first, may_skip)
    p = sink.probabilities(tf.constant(beta, tf.float32))
    np.testing.assert_allclose(p, [[1, 0, 0], [0.2, 0.3, 0.5]], rtol=1e-6)
    np.testing.assert_allclose(sink.runs(p), [1, 1, 0.8, 0.5], rtol=1e-6)
    outputs = [tf.constant(v) for v in (1.0, 10.0, 100.0)]
    assert float(sink.after_stage(1, outputs, p)) == pytest.approx(0.2 + 3 + 50)
    assert float(sink.after_block(2, outputs[0], outputs[1], p)) == 10
    out = DepthSpace("skip_out", depths, first, may_skip)
    assert out.shape == (4, 2)
    logits = np.log([[9.0, 1], [9, 1], [0.3, 0.7], [0.5, 0.5]])
    p = out.probabilities(tf.constant(logits, tf.float32))
    np.testing.assert_allclose(out.runs(p), [1, 1, 0.7, 0.5], rtol=1e-6)
    assert float(out.after_block(2, outputs[0], outputs[1], p)) == pytest.approx(7.3)
    assert float(out.after_stage(1, outputs, p)) == 100


def test_an_unknown_depth_space_is_refused():
    with pytest.raises(ValueError, match="one of sink, skip_in, skip_out"):
        TFNASSupernet(SPACE, 10, depth_space="deep")


def test_skipping_leaves_the_smallest_depth():
    np.testing.assert_array_equal(
        supernet("skip_in", False).depth.may_skip, [False, False, True, True]
    )


def mixed_operation():
    keras.utils.set_random_seed(0)
    layer = MixedOperation(
        kernel_sizes=[3, 5],
        middle_channels=[4, 6],
        se_channels=[0, 2],
        channels=3,
        stride=1,
        residual=False,
        activation_name="relu",
        se_activation=("relu", "sigmoid"),
        epsilon=1e-5,
    )
    layer.build((None, 4, 4, 3))
    return layer


def test_the_channels_with_the_largest_kernels_stay_and_come_back():
    layer = mixed_operation()
    kernel = np.ones((2, 5, 5, 6, 1), np.float32)
    kernel[1, ..., 0] *= np.array([3, -7, 5, 5, -9, 5])
    # The ring of a 3x3 kernel is none of its business.
    kernel[0, 0, ..., 0] = [90, 0, 0, 0, 0, 0]
    kernel[0, 1:4, 1:4, :, 0] = [1, 2, 3, 4, 5, 6]
    layer.depthwise.assign(kernel)
    before = [w.numpy().copy() for w in (layer.expand, layer.depthwise, layer.project)]
    layer.set_widths([2, 4])
    np.testing.assert_array_equal(layer.widths(), [2, 4])
    np.testing.assert_array_equal(
        layer.mask.numpy(), [[0, 0, 1, 1, 0, 0], [0, 1, 1, 1, 1, 0]]
    )  # ties in order; the first operation has 4 channels at most
    kernel[1, ..., 0, 0] = 100
    layer.depthwise.assign(kernel)
    layer.set_widths([3, 4])  # unchanged widths keep their channels
    np.testing.assert_array_equal(layer.mask.numpy()[1], [0, 1, 1, 1, 1, 0])
    layer.set_widths([4, 5])
    np.testing.assert_array_equal(layer.mask.numpy()[1], [1, 1, 1, 1, 1, 0])
    layer.depthwise.assign(before[1])
    for weight, value in zip((layer.expand, layer.depthwise, layer.project), before, strict=True):
        np.testing.assert_array_equal(weight.numpy(), value)


@pytest.mark.parametrize("widths", [[0, 3], [5, 3], [3]])
def test_widths_that_an_operation_cannot_have_are_refused(widths):
    with pytest.raises(ValueError, match=r"widths should be 1 to \[4, 6\], received"):
        mixed_operation().set_widths(widths)


def test_widths_outside_the_space_are_refused():
    widths = SPACE.initial_widths()
    widths[1, 0] = 1
    with pytest.raises(ValueError, match="width of operation k3_e3 in block 1"):
        supernet("sink", False).set_widths(widths)


def test_operations_are_given_alike():
    with pytest.raises(ValueError, match="one entry an operation"):
        MixedOperation(
            kernel_sizes=[3], middle_channels=[4, 5], se_channels=[0], channels=3, stride=1,
            residual=False, activation_name="relu", se_activation=("relu", "sigmoid"),
            epsilon=1e-5,
        )  # fmt: skip


def test_the_papers_number_of_architecture_parameters():
    depths = np.array(TF_NAS.depths) > 0
    assert len(TF_NAS.blocks) * len(TF_NAS.operations) + depths.sum() == 162
