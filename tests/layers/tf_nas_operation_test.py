"""One operation and a mixture of them against automatic differentiation of the plain formula."""

import numpy as np
import pytest
import tensorflow as tf

from keras_nas.layers import tf_nas_operation
from keras_nas.layers.tf_nas_candidates import operation_weights, run_mixture, run_sampled
from keras_nas.layers.tf_nas_mixed import BlockForm
from keras_nas.layers.tf_nas_normalization import normalize
from keras_nas.layers.tf_nas_operation import Gate, OperationForm, OperationWeights, Selection
from keras_nas.layers.tf_nas_shared import run_shared_mixture

M, R, C_IN, C = 6, 3, 4, 5


def block(activation="swish", stride=1, share_weights=False):
    """Kernels 3 and 5, narrow and wide, without and with squeeze-and-excitation."""
    form = OperationForm(stride, activation, (activation, "sigmoid"), 1e-5, (3, 5))
    return BlockForm(form, (3, 5, 5, 3), (M - 2, M, M - 2, M), (0, 0, R - 1, R), share_weights)


def test_operations_that_are_alike():
    """With shared weights all reach over all channels, but not over as many units."""
    form = OperationForm(1, "relu", ("relu", "sigmoid"), 1e-5, (3, 5))
    sizes, channels, units = (3, 5, 3, 5, 3), (M, M, M, M, M - 2), (0, R, R, R - 1, R)
    assert BlockForm(form, sizes, channels, units, False).alike == ((0, 2), (1,), (3,), (4,))
    assert BlockForm(form, sizes, channels, units, True).alike == ((0, 2, 4), (1,), (3,))


def stacked(form, seed=0):
    """Random stacked weights and a mask, float64."""
    noise = np.random.default_rng(seed)
    rows = [max(r) + 1 for r in form.rows]

    def draw(*shape):
        return tf.constant(noise.normal(scale=0.5, size=shape))

    gate = Gate(draw(rows[3], M, R), draw(rows[3], R), draw(rows[3], R, M), draw(rows[3], M))
    mask = np.zeros((4, M))
    for o in range(4):
        mask[o, noise.permutation(form.extent(o))[: 3 + o % 2]] = 1
    stacks = OperationWeights(
        draw(rows[0], C_IN, M), draw(rows[1], 5, 5, M, 1), draw(rows[2], M, C), gate
    )
    return stacks, tf.constant(mask)


def plain(y, epsilon=1e-5):
    mean, variance = tf.nn.moments(y, (0, 1, 2))
    return (y - mean) / tf.sqrt(variance + epsilon)


def sliced(x, weights, kept, form):
    """The stand-alone operation that has the channels `kept` alone."""
    y = form.act(plain(tf.einsum("bhwc,cm->bhwm", x, tf.gather(weights.expand, kept, axis=1))))
    kernel = tf.gather(weights.depthwise, kept, axis=2)
    strides = (1, form.stride, form.stride, 1)
    y = form.act(plain(tf.nn.depthwise_conv2d(y, kernel, strides, "SAME")))
    if weights.gate:
        gate = weights.gate
        hidden = form.act(
            tf.reduce_mean(y, (1, 2)) @ tf.gather(gate.reduce_kernel, kept) + gate.reduce_bias
        )
        factor = hidden @ tf.gather(gate.expand_kernel, kept, axis=1)
        y *= tf.sigmoid(factor + tf.gather(gate.expand_bias, kept))[:, None, None]
    return plain(tf.einsum("bhwm,mc->bhwc", y, tf.gather(weights.project, kept)))


def images():
    return tf.constant(np.random.default_rng(1).normal(size=(3, 5, 5, C_IN)))


def with_gradients(function, *sources):
    """The value, and the gradients of a loss that weighs every entry otherwise."""
    with tf.GradientTape() as tape:
        tape.watch(sources)
        y = function(*sources)
        loss = tf.reduce_sum(y * np.cos(np.arange(np.size(y))).reshape(y.shape))
    flat = tf.nest.flatten(sources)
    return [y, *tape.gradient(loss, flat, unconnected_gradients=tf.UnconnectedGradients.ZERO)]


def close(found, expected, tolerance=1e-9):
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=tolerance * (1 + np.abs(other).max()))


@pytest.mark.parametrize(("activation", "stride"), [("relu", 2), ("swish", 1)])
def test_a_sampled_row_is_its_sliced_operation(activation, stride):
    """Forward and all gradients; what the operation does not have gets gradient 0 exactly."""
    form = block(activation, stride)
    stacks, mask = stacked(form)
    for o in range(4):
        rows = [r[o] for r in form.rows]
        row = OperationWeights(
            stacks.expand[rows[0]],
            stacks.depthwise[rows[1]],
            stacks.project[rows[2]],
            Gate(*(stack[rows[3]] for stack in stacks.gate)),
        )

        def sampled(x, *flat, o=o, row=row):
            weights = tf.nest.pack_sequence_as(row, flat)
            units = tf.constant(form.se_channels[o])
            size = tf.constant(form.size_numbers[o])
            return run_sampled(x, weights, mask[o], units, size, form.operation)

        def alone(x, *flat, o=o, row=row):
            one_row = tf.nest.map_structure(lambda w: w[None], tf.nest.pack_sequence_as(row, flat))
            single = BlockForm(
                form.operation, *((v[o],) for v in (form.kernel_sizes, form.middle_channels)),
                (form.se_channels[o],), False,
            )  # fmt: skip
            weights = operation_weights(one_row, single, 0)
            return sliced(x, weights, np.flatnonzero(mask[o]), form.operation)

        flat = tf.nest.flatten(row)
        close(with_gradients(sampled, images(), *flat), with_gradients(alone, images(), *flat))


def test_a_mixture_is_the_literal_sum():
    form = block()
    stacks, mask = stacked(form)
    mix = tf.constant([0.1, 0.4, 0.3, 0.2], tf.float64)

    def literal(x, mix):
        return tf.add_n(
            mix[o]
            * sliced(x, operation_weights(stacks, form, o), np.flatnonzero(mask[o]), form.operation)
            for o in range(4)
        )

    close(
        with_gradients(lambda x, mix: run_mixture(x, mix, stacks, mask, form), images(), mix),
        with_gradients(literal, images(), mix),
    )


def test_the_closed_form_is_the_sum_before_the_projection():
    """Of shared weights: what the common batch norm of the projection sees is the mixture."""
    form = block(share_weights=True)
    stacks, mask = stacked(form)
    mix = tf.constant([0.1, 0.4, 0.3, 0.2], tf.float64)
    common = form.operation

    def literal(x, mix):
        a = common.act(plain(tf.einsum("bhwc,cm->bhwm", x, stacks.expand[0])))
        total = 0.0
        for o in range(4):
            weights = operation_weights(stacks, form, o)
            z = common.act(
                plain(tf.nn.depthwise_conv2d(a, weights.depthwise, (1, 1, 1, 1), "SAME"))
            )
            z *= mask[o]
            if weights.gate:
                z *= common.gate(tf.reduce_mean(z, (1, 2)), weights.gate)[:, None, None]
            total += mix[o] * tf.einsum("bhwm,mc->bhwc", z, stacks.project[0])
        return plain(total)

    close(
        with_gradients(lambda x, m: run_shared_mixture(x, m, stacks, mask, form), images(), mix),
        with_gradients(literal, images(), mix),
    )


@pytest.mark.parametrize("share_weights", [False, True])
def test_a_one_hot_mixture_is_the_sampled_operation(share_weights):
    form = block(share_weights=share_weights)
    stacks, mask = stacked(form)
    run = run_shared_mixture if share_weights else run_mixture
    for o in range(4):
        mixed = run(images(), tf.one_hot(o, 4, dtype=tf.float64), stacks, mask, form)
        weights = operation_weights(stacks, form, o)
        alone = sliced(images(), weights, np.flatnonzero(mask[o]), form.operation)
        close([mixed], [alone])


def test_batch_norm_in_float32_has_the_gradient_of_the_formula():
    x = tf.constant(np.random.default_rng(2).normal(3.0, 2.0, size=(4, 3, 3, 2)), tf.float32)
    close(
        with_gradients(lambda x: normalize(x, 1e-3), x),
        with_gradients(lambda x: plain(x, 1e-3), x),
        1e-5,
    )


@pytest.mark.parametrize("sizes", [(3, 5, 7), (5,)])
@pytest.mark.parametrize(("stride", "side"), [(1, 6), (2, 6), (2, 7), (2, 1)])
def test_a_tpu_selects_kernels_by_zeros(monkeypatch, sizes, stride, side):
    """The same convolution and gradients as of the kernel's own size, which is its centre."""
    form = OperationForm(stride, "relu", ("relu", "sigmoid"), 1e-5, sizes)
    noise = np.random.default_rng(0)
    x, kernel = tf.constant(noise.normal(size=(2, side, side, 3))), noise.normal(size=(7, 7, 3, 1))
    kernel = tf.constant(kernel)
    dy = tf.constant(noise.normal(size=form.depthwise(x, kernel).shape))

    def results(number):
        selection = Selection(tf.constant(number), None)
        dx, of_kernel = form.depthwise_gradient(dy, x, kernel, selection)
        return form.depthwise(x, kernel, selection), dx, of_kernel(x)

    for number, size in enumerate(sizes):
        own = results(number)
        edge = (7 - size) // 2
        outside = np.pad(np.zeros((size, size)), edge, constant_values=1)[:, :, None, None]
        assert np.any(own[2]) and not np.any(outside * own[2])
        with monkeypatch.context() as patch:
            patch.setattr(tf_nas_operation, "is_tpu_program", lambda: True)
            for one, other in zip(own, results(number), strict=True):
                np.testing.assert_allclose(other, one, rtol=1e-12, atol=1e-12)
