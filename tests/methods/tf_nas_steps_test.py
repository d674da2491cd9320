"""Weight and architecture steps of TF-NAS: what moves and what does not, and the latency term."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_nas.layers import tf_nas_candidates, tf_nas_operation
from keras_nas.methods.tf_nas_architecture import (
    ArchitectureState,
    LatencyObjective,
    architecture_gradients,
)
from keras_nas.methods.tf_nas_trajectory import most_probable, scaled_widths
from keras_nas.methods.tf_nas_weights import PathSGD, weight_step
from keras_nas.models.tf_nas_supernet import TFNASSupernet
from keras_nas.resources.width_latency import Curve, WidthLatency
from keras_nas.space import ElasticStage, Head, Stem, TFNASOperation, TFNASSpace
from tpu import replicas

SPACE = TFNASSpace(
    name="tiny",
    stem=Stem(4, 3, 2, "relu"),
    stages=(ElasticStage(4, 1, "relu", 1, 2),),
    operations=(TFNASOperation(3, 2, 4), TFNASOperation(3, 2, 4, 1), TFNASOperation(5, 2, 4, 1)),
    head=Head(0, "swish"),
    resolution=8,
)


def supernet(share_weights=False, depth_space="sink"):
    keras.utils.set_random_seed(0)
    return TFNASSupernet(SPACE, 3, share_weights=share_weights, depth_space=depth_space)


def batch():
    noise = np.random.default_rng(0)
    images = tf.constant(noise.normal(size=(4, 8, 8, 3)), tf.float32)
    return images, tf.constant([0, 1, 2, 0])


def stepped(net, optimizer, alpha, *, second="none", clip_free_rate=0.1):
    """A compiled weight step with these logits of operations."""
    depths = net.depth.probabilities(tf.zeros(net.depth.shape))

    @tf.function(autograph=False)
    def step(seed):
        return weight_step(
            net, optimizer, tf.constant(alpha, tf.float32), depths, batch(),
            second=second, learning_rate=tf.constant(clip_free_rate), seed=seed,
        )  # fmt: skip

    return step


def parts(net, optimizer):
    """Value and velocity of every searched stack of block 0, by name."""
    mixed = net.mixed[0]
    names = ("expand", "depthwise", "project", "se_reduce", "se_reduce_bias", "se_expand")
    variables = (mixed.expand, mixed.depthwise, mixed.project, *mixed.gate[:3])
    position = {id(v): i for i, v in enumerate(net.trainable_variables)}
    return {
        name: (v.numpy().copy(), optimizer.variables[position[id(v)]].numpy().copy())
        for name, v in zip(names, variables, strict=True)
    }


def new_optimizer(net, **settings):
    settings = {"momentum": 0.9, "weight_decay": 0.01, "clip": 1e9} | settings
    return PathSGD(net.trainable_variables, **settings)


ONLY_0 = [[50.0, -50.0, -50.0]] * 2
ONLY_2 = [[-50.0, -50.0, 50.0]] * 2


def test_only_what_was_sampled_moves_and_masked_channels_stay():
    """Operation 2 first, so that it has a velocity; then operation 0, which has no gate."""
    net = supernet()
    net.set_widths(np.array([[9, 10, 11], [8, 12, 16]]))
    optimizer = new_optimizer(net)
    before = parts(net, optimizer)
    stepped(net, optimizer, ONLY_2)(tf.constant([0, 1]))
    between = parts(net, optimizer)
    stepped(net, optimizer, ONLY_0)(tf.constant([0, 2]))
    after = parts(net, optimizer)
    mask = net.mixed[0].mask.numpy().astype(bool)
    for name, (value, velocity) in between.items():
        gate_rows = name.startswith("se_")
        moved = 1 if gate_rows else 2  # row of operation 2
        for other in set(range(len(value))) - {moved}:
            np.testing.assert_array_equal(value[other], before[name][0][other])
            assert not velocity[other].any()
        assert np.abs(velocity[moved]).max() > 0
        channels = {"expand": 1, "depthwise": 2, "project": 0, "se_reduce": 0, "se_expand": 1}
        if name in channels:
            left_out = np.take(velocity[moved], np.flatnonzero(~mask[2]), channels[name])
            assert left_out.size and not left_out.any()
            unmoved = np.take(value[moved] - before[name][0][moved], np.flatnonzero(~mask[2]),
                              channels[name])  # fmt: skip
            assert not unmoved.any()
            kept = np.take(velocity[moved], np.flatnonzero(mask[2]), channels[name])
            assert kept.any()
        # Without a velocity of its own, operation 0 leaves that of operation 2 alone.
        np.testing.assert_array_equal(after[name][0][moved], value[moved])
        np.testing.assert_array_equal(after[name][1][moved], velocity[moved])
        assert gate_rows or np.abs(after[name][1][0]).max() > 0


def test_sgd_is_that_of_pytorch():
    """Two steps on one operation, against the rule written out; the gradient is clipped."""
    net = supernet()
    optimizer = new_optimizer(net, clip=0.5)
    start = net.mixed[0].project.numpy()[0].copy()
    kept = net.mixed[0].mask.numpy()[0].astype(bool)
    step = stepped(net, optimizer, ONLY_0)
    norms = [float(step(tf.constant([0, 1]))["gradient_norm"])]
    w1 = net.mixed[0].project.numpy()[0].copy()
    v1 = (start - w1) / 0.1
    gradient = v1 - 0.01 * start  # the shrunk one
    assert norms[0] > 0.5
    assert np.linalg.norm(gradient[kept]) < 0.5
    norms.append(float(step(tf.constant([0, 2]))["gradient_norm"]))
    w2 = net.mixed[0].project.numpy()[0]
    position = [id(v) for v in net.trainable_variables].index(id(net.mixed[0].project))
    v2 = optimizer.variables[position].numpy()[0]
    np.testing.assert_allclose(w1 - w2, 0.1 * v2, rtol=0, atol=1e-6)
    second = (v2 - 0.9 * v1 - 0.01 * w1)[kept]
    assert 0 < np.linalg.norm(second) <= 0.5 + 1e-4


@pytest.mark.parametrize("share_weights", [False, True])
def test_two_paths_move_their_operations(share_weights):
    """With both paths on the same shared rows, the summed gradient moves them once."""
    net = supernet(share_weights)
    optimizer = new_optimizer(net, weight_decay=0.0)
    before = parts(net, optimizer)
    row = stepped(net, optimizer, [[0.0, 0.0, -50.0]] * 2, second="maximum")(tf.constant([0, 3]))
    assert np.isfinite(float(row["loss"]))
    after = parts(net, optimizer)
    for name in ("expand", "depthwise", "project"):
        value, velocity = after[name]
        rows = 1 if share_weights else 2
        assert all(velocity[r].any() for r in range(rows))
        assert not velocity[rows:].any()
        np.testing.assert_allclose(before[name][0] - value, 0.1 * velocity, rtol=0, atol=1e-6)


def test_the_program_of_a_tpu_computes_the_same(monkeypatch):
    """A TPU takes paths, and operations that are alike, in loops, and sampled kernels at the
    largest size; other devices take them one by one, each at its own size."""

    def results():
        net = supernet()
        optimizer = new_optimizer(net)
        flat = np.zeros((2, 3))
        metrics = stepped(net, optimizer, flat, second="random")(tf.constant([0, 1]))
        weights = [v.numpy() for v in (*net.trainable_variables, *optimizer.variables)]
        gradients = tf.function(architecture_gradients, autograph=False)(
            net, new_state(net), batch(), objective=LatencyObjective("absolute", 2.0, 1.0, 0.6),
            temperature=tf.constant(2.0), seed=tf.constant([0, 1]),
        )  # fmt: skip
        return [*weights, *(n.numpy() for n in tf.nest.flatten((metrics, gradients)))]

    unrolled = results()
    calls = []
    for module in (replicas, tf_nas_candidates, tf_nas_operation):
        monkeypatch.setattr(module, "is_tpu_program", lambda: calls.append(1) or True)
    monkeypatch.setattr(tf_nas_candidates, "replica_count", lambda: 2)  # nothing is traced before
    looped = results()
    assert len(calls) >= 3
    for one, other in zip(unrolled, looped, strict=True):
        np.testing.assert_allclose(other, one, rtol=1e-5, atol=1e-6)


def test_the_first_path_is_the_networks_loss():
    """The loss of a sampled path is that of the extracted network in training mode."""
    net = supernet()
    network = net.extract([2, 2], [True, True])
    images, labels = batch()
    depths = net.depth.probabilities(tf.constant([[-50.0, 50.0]]))
    path = tf.constant([2, 2])
    logits = net.call_path(images, path, net.sampled_weights(path), depths)
    np.testing.assert_allclose(logits, network(images, training=True), rtol=0, atol=1e-4)
    assert labels.shape[0] == logits.shape[0]


def new_state(net):
    state = ArchitectureState(net, learning_rate=0.01, weight_decay=5e-4, clip=5.0)
    state.set_latency(np.array([[1.0, 2.0, 4.0], [3.0, 1.0, 2.0]]), 0.5)
    return state


def test_expected_latency_mixes_cumulative_latencies():
    net = supernet()
    state = new_state(net)
    mix = np.array([[0.5, 0.25, 0.25], [0.2, 0.3, 0.5]])
    blocks = (mix * state.operation_ms.numpy()).sum(axis=1)
    depths = np.array([[0.3, 0.7]])
    expected = 0.5 + 0.3 * blocks[0] + 0.7 * (blocks[0] + blocks[1])
    runs = net.depth.runs(tf.constant(depths, tf.float32))
    assert float(state.expected_latency(tf.constant(mix, tf.float32), runs)) == pytest.approx(
        expected
    )


@pytest.mark.parametrize("depth_space", ["sink", "skip_in", "skip_out"])
def test_gradients_equal_finite_differences(depth_space):
    """Of the whole loss, latency term included, at a weight that makes the latter count."""
    net = supernet(depth_space=depth_space)
    state = new_state(net)
    objective = LatencyObjective("absolute", 2.0, 1.0, 0.6)

    @tf.function(autograph=False)
    def loss_and_gradients():
        metrics, gradients = architecture_gradients(
            net, state, batch(), objective=objective, temperature=tf.constant(2.0),
            seed=tf.constant([0, 1]),
        )  # fmt: skip
        return metrics["architecture_loss"], gradients

    gradients = [g.numpy() for g in loss_and_gradients()[1]]
    noise = np.random.default_rng(0)
    for variable, gradient in zip((state.alpha, state.beta), gradients, strict=True):
        start = variable.numpy().copy()
        direction = noise.normal(size=start.shape).astype(np.float32)
        losses = []
        for sign in (1, -1):
            variable.assign(start + sign * 1e-2 * direction)
            losses.append(float(loss_and_gradients()[0]))
        variable.assign(start)
        slope = (losses[0] - losses[1]) / 2e-2
        assert np.sum(gradient * direction) == pytest.approx(slope, abs=2e-3, rel=1e-2)


def test_adam_keeps_rows_log_probabilities():
    net = supernet(depth_space="skip_in")
    state = new_state(net)
    alpha = np.where(net.allowed, 1.0, 0.0).astype(np.float32)
    state.apply((tf.constant(alpha), tf.zeros(state.beta.shape)))
    found = state.alpha.numpy()
    assert found.shape == (2, 4)
    assert net.allowed.tolist() == [[True] * 3 + [False], [True] * 4]
    np.testing.assert_allclose(np.exp(found[0, :3]).sum(), 1, rtol=1e-6)
    np.testing.assert_allclose(np.exp(found[1]).sum(), 1, rtol=1e-6)
    assert found[0, 3] == 0


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("absolute", 0.1 * abs(3 / 4 - 1)),
        ("hinge", 0.0),
        ("log", 0.1 * np.log(3) ** 0.6),
        ("linear", 0.3),
    ],
)
def test_objectives(kind, expected):
    objective = LatencyObjective(kind, 4.0, 0.1, 0.6)
    assert float(objective(tf.constant(3.0))) == pytest.approx(expected)


def test_an_unknown_objective_is_refused():
    with pytest.raises(ValueError, match="one of absolute, hinge, log, linear"):
        LatencyObjective("square", 1.0, 1.0, 1.0)


def test_the_most_probable_network():
    sink, skip_in, skip_out = (supernet(depth_space=d) for d in ("sink", "skip_in", "skip_out"))
    alpha = np.log([[0.2, 0.5, 0.3], [0.1, 0.2, 0.7]])
    operations, kept = most_probable(sink, alpha, np.array([[1.0, 0.0]]))
    assert operations.tolist() == [1, 2] and kept.tolist() == [True, False]
    skipping = np.log([[0.2, 0.3, 0.4, 0.1], [0.1, 0.1, 0.2, 0.6]])
    operations, kept = most_probable(skip_in, skipping, np.zeros((2, 2)))
    assert operations.tolist() == [2, 2]
    assert kept.tolist() == [True, False]
    _, kept = most_probable(skip_out, alpha, np.array([[0.0, 1.0], [1.0, 0.0]]))
    assert kept.tolist() == [True, False]


def test_scaling_leaves_other_operations_and_warns_where_it_cannot():
    widths = SPACE.initial_widths()
    bounds = np.stack([SPACE.smallest_widths(), SPACE.largest_widths()], 2).astype(float)
    curves = tuple(tuple(Curve(w, 0.1 * w) for w in row) for row in bounds)
    latency = WidthLatency(SPACE, 1.0, curves)
    operations, kept = np.array([1, 0]), np.array([True, True])
    scaled = scaled_widths(latency, operations, kept, widths, 3.0)
    changed = scaled != widths
    assert changed.tolist() == [[False, True, False], [True, False, False]]
    assert 1 + 0.1 * (scaled[0, 1] + scaled[1, 0]) <= 3.0
    with pytest.warns(UserWarning, match=r"2 ms: with the smallest widths it takes 2\.6 ms"):
        assert scaled_widths(latency, operations, kept, widths, 2.0)[0, 1] == 8
