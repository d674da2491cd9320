"""Decisions: golden norms, the indicator, gradients by finite differences, extra gates."""

import json
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from keras_nas.layers.superkernel import (
    LITERAL,
    BlockGates,
    Formulation,
    gated,
    gated_projection,
    indicator,
    moved_where,
    nested,
    range_masks,
    ring_masks,
)
from keras_nas.layers.superkernel_mbconv import SuperMBConv

GOLDEN = Path(__file__).parents[2] / "../shared/golden/single_path_facts.json"


def read_golden():
    if not GOLDEN.exists():
        pytest.skip("../shared/golden is not there")
    return json.loads(GOLDEN.read_text())


def small_layer(formulation, middle=(2, 4), dtype="float64", **kwargs):
    options = {"residual": True, "skippable": True, "se_channels": [[0]] * len(middle)} | kwargs
    layer = SuperMBConv(
        middle_channels=middle,
        kernel_sizes=(3, 5),
        channels=2,
        stride=1,
        activation_name="relu",
        momentum=0.9,
        epsilon=1e-3,
        formulation=formulation,
        dtype=dtype,
        **options,
    )
    layer.build((None, 4, 4, 2))
    return layer


def test_golden_indicator():
    golden = read_golden()["indicator"]
    x = tf.constant(golden["x"], tf.float32)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(x)
        sigmoid, straight = indicator(x), indicator(x, "straight_through")
    np.testing.assert_array_equal(sigmoid, golden["value"])
    np.testing.assert_array_equal(straight, golden["value"])
    np.testing.assert_allclose(tape.gradient(sigmoid, x), golden["gradient"], atol=1e-6)
    np.testing.assert_array_equal(tape.gradient(straight, x), np.ones(4))


def test_golden_norms():
    golden = read_golden()["superkernel"]
    layer = small_layer(LITERAL)
    i, j, c = np.ogrid[:5, :5, :4]
    layer.depthwise_kernel.assign(((5 * i + j + 1) * (c + 1) / 100)[..., None])
    norms = layer.decide().norms
    np.testing.assert_allclose(norms.kernel, [golden["norm_ring"]], rtol=0, atol=1e-9)
    expected = [golden["norm_first_half_all_on"], golden["norm_second_half_all_on"]]
    np.testing.assert_allclose(norms.expansion, expected, rtol=0, atol=1e-9)
    layer.thresholds.assign([4.0, 0, 0])  # drops the ring: channels are judged without it
    decision = layer.decide()
    expected = [golden["norm_first_half_3x3"], golden["norm_second_half_3x3"]]
    np.testing.assert_allclose(decision.norms.expansion, expected, rtol=0, atol=1e-9)
    np.testing.assert_array_equal(decision.gates.kernel, [0])


def test_normalised_norms_do_not_depend_on_the_size_of_a_group():
    kernel = np.random.default_rng(0).normal(0, 0.3, (5, 5, 400, 1))
    layer = small_layer(Formulation(temperature=0.5), middle=(100, 400))
    layer.depthwise_kernel.assign(kernel)
    first, second = (np.sqrt(np.mean(part**2)) for part in np.split(kernel, [100], axis=2))
    np.testing.assert_allclose(layer.decide().norms.expansion, [2 * first, 2 * second])
    layer.thresholds.assign([9.0, 0, 0])
    inner = np.sqrt(np.mean(kernel[1:4, 1:4, :100] ** 2))
    np.testing.assert_allclose(layer.decide().norms.expansion[0], 2 * inner)


def relaxed_margins(form, kernel, thresholds):
    """Margins of a layer's three gates in NumPy, the ring's decision being open."""
    ring = kernel.copy()
    ring[1:4, 1:4] = 0
    groups = (ring, kernel[:, :, :2], kernel[:, :, 2:])
    sizes = (16 * 4, 50, 50) if form.norm == "rms" else (1, 1, 1)
    norms = [np.sqrt(np.sum(g**2) / size) for g, size in zip(groups, sizes, strict=True)]
    return np.array(norms) / form.temperature - thresholds


@pytest.mark.parametrize("form", [Formulation(), LITERAL])
def test_gradients_of_decisions(form):
    """Of a weighted sum of the gates, by finite differences of sigmoid(margins)."""
    generator = np.random.default_rng(0)
    kernel, thresholds = generator.normal(0, 0.05, (5, 5, 4, 1)), np.array([0.1, -0.2, 0.3])
    layer = small_layer(form)
    layer.depthwise_kernel.assign(kernel)
    layer.thresholds.assign(thresholds)
    weights = np.array([0.5, -2.0, 3.0])
    with tf.GradientTape() as tape:
        gates = layer.decide().gates
        total = tf.reduce_sum(tf.concat([gates.kernel, gates.expansion], 0) * weights)
    variables = [layer.depthwise_kernel.value, layer.thresholds.value]
    found, to_thresholds = tape.gradient(total, variables)

    def slope(x):
        return np.exp(-x) / (1 + np.exp(-x)) ** 2

    margins = relaxed_margins(form, kernel, thresholds)
    # Channels are judged by the kernel that the ring's gate has passed, so that gate moves them
    # too: with the ring scaled by 1 + h, by finite differences.
    step = 1e-6
    ends = []
    for h in (step, -step):
        scaled = kernel.copy()
        scaled[1:4, 1:4] /= 1 + h
        ends.append(relaxed_margins(form, scaled * (1 + h), thresholds)[1:])
    through = np.sum(weights[1:] * slope(margins[1:]) * (ends[0] - ends[1]) / (2 * step))
    factors = np.array([weights[0] + through, *weights[1:]]) * slope(margins)
    np.testing.assert_allclose(to_thresholds, -factors, rtol=1e-5)
    for index in [(0, 0, 0, 0), (2, 2, 1, 0), (4, 1, 3, 0), (1, 1, 2, 0)]:
        ends = []
        for h in (step, -step):
            moved = kernel.copy()
            moved[index] += h
            ends.append(relaxed_margins(form, moved, thresholds))
        expected = np.sum(factors * (ends[0] - ends[1]) / (2 * step))
        np.testing.assert_allclose(found.numpy()[index], expected, rtol=1e-5, atol=1e-9)


def test_the_gradient_of_a_norm_at_zero_is_finite():
    layer = small_layer(Formulation())
    layer.depthwise_kernel.assign(np.zeros((5, 5, 4, 1)))
    with tf.GradientTape() as tape:
        total = tf.add_n([tf.reduce_sum(part) for part in layer.decide().norms])
    np.testing.assert_array_equal(tape.gradient(total, layer.depthwise_kernel.value), 0)


def test_soft_decisions():
    form = Formulation("softmax", temperature=1.0)
    margin = tf.constant([-1.0, 0.0, 3.0])
    expected = np.exp(margin) / (np.exp(margin) + 1)  # softmax over x and 0
    np.testing.assert_allclose(form.gate(margin, training=True), expected, rtol=1e-6)
    np.testing.assert_array_equal(form.gate(margin, training=False), [0, 1, 1])
    hard = Formulation()
    np.testing.assert_array_equal(hard.gate(margin, training=True), [0, 1, 1])


def test_masks():
    rings = ring_masks((1, 3, 5))
    np.testing.assert_array_equal(rings.sum(0), np.ones((5, 5)))
    assert [mask.sum() for mask in rings] == [1, 8, 16]
    assert rings[1, 1, 1] == 1
    assert rings[0, 2, 2] == 1
    np.testing.assert_array_equal(range_masks((2, 5)), [[1, 1, 0, 0, 0], [0, 0, 1, 1, 1]])
    ones = [tf.constant(v) for v in (1.0, 0.0, 1.0)]
    assert [float(v) for v in nested(ones)] == [1, 0, 0]
    assert [float(v) for v in nested(ones, tf.constant(2.0))] == [2, 2, 0, 0]


@pytest.mark.parametrize("soft", [False, True])
def test_extra_gates(soft):
    generator = np.random.default_rng(0)
    x = tf.constant(generator.normal(size=(2, 3, 3, 4)))
    kernel = tf.constant(generator.normal(size=(1, 1, 4, 2)))
    gate = tf.constant([1.0, 0.0, 0.5, 1.0], tf.float64)
    upstream = generator.normal(size=(2, 3, 3, 2))
    with tf.GradientTape() as tape:
        tape.watch([x, kernel, gate])
        y = gated_projection(x, kernel, gate, soft)
    to_x, to_kernel, to_gate = tape.gradient(y, (x, kernel, gate), upstream)
    with tf.GradientTape() as tape:
        tape.watch([x, kernel, gate])
        gated_x = gated(x, gate, soft)
        expected = tf.nn.conv2d(gated_x, kernel, 1, "SAME")
    like_x, like_kernel, like_gate = tape.gradient(expected, (x, kernel, gate), upstream)
    np.testing.assert_allclose(y, expected)
    np.testing.assert_allclose(to_kernel, like_kernel)
    np.testing.assert_allclose(to_x, like_x)
    # By hand: the input's gradient is that of an open gate, and the gate has none.
    open_x = np.einsum("bhwc,mc->bhwm", upstream, kernel[0, 0])
    np.testing.assert_allclose(to_x, open_x * gate if soft else open_x)
    if soft:
        np.testing.assert_allclose(to_gate, like_gate)
        np.testing.assert_allclose(to_gate, np.sum(open_x * x, (0, 1, 2)))
    else:
        assert to_gate is like_gate is None


def test_what_is_shut_stands_still():
    value, gate = tf.constant([3.0, 4.0]), tf.constant([1.0, 0.0])
    with tf.GradientTape() as tape:
        tape.watch([value, gate])
        y = moved_where(value, gate)
    np.testing.assert_array_equal(y, value)
    to_value, to_gate = tape.gradient(y, (value, gate), tf.constant([5.0, 7.0]))
    np.testing.assert_array_equal(to_value, [5, 0])
    assert to_gate is None


def test_bad_formulations():
    for field, message in (
        ({"relaxation": "hard"}, "one of sigmoid, straight_through, softmax, received 'hard'"),
        ({"norm": "l1"}, "one of rms, frobenius, received 'l1'"),
        ({"temperature": 0.0}, "should be above 0, received 0.0"),
    ):
        with pytest.raises(ValueError, match=message):
            Formulation(**field)


def test_gates_of_a_configuration():
    layer = small_layer(Formulation(), middle=(2, 3, 4), se_channels=[[0, 1], [0, 1], [0, 2]])
    gates = layer.gates_of(1, 0, 1)
    assert isinstance(gates, BlockGates)
    assert [part.numpy().tolist() for part in gates] == [[0], [1, 1, 0], [1]]
    assert [part.numpy().tolist() for part in layer.gates_of(-1, 1, 0)] == [[1], [0, 0, 0], [0]]
