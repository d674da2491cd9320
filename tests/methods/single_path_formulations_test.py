"""The formulations that Single-Path NAS is compared with: multi-path, and random search."""

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_nas.config.single_path import SinglePathConfig
from keras_nas.methods import multi_path
from keras_nas.methods.classification import accuracy
from keras_nas.methods.superkernel_one_shot import train_one_shot, uniform_gates
from keras_nas.models import reestimate_batch_norm
from keras_nas.models.multi_path_supernet import MultiPathSupernet
from keras_nas.resources import cost_model, piece_macs
from keras_nas.resources.runtime_model import RuntimeModel
from keras_nas.single_path_formulations import search
from keras_nas.solvers.polytope import InfeasibleError
from keras_nas.space import ElasticStage, Head, Stem
from keras_nas.space import single_path as single_path_space
from keras_nas.space.single_path_gates import (
    Gates,
    configurations_of_gates,
    gates_of_configurations,
    skippable,
)
from keras_nas.training.rmsprop import rmsprop

SPACE = single_path_space(
    name="small",
    stem=Stem(8, stride=1),
    first_stages=(),
    stages=(ElasticStage(8, 2, min_depth=1, max_depth=2),),
    final_stages=(),
    head=Head(0),
    expansion_ratios=(2, 3),
    resolution=8,
)
COSTS = cost_model(SPACE, piece_macs, 10, name="macs")
MODEL = RuntimeModel(SPACE, COSTS.fixed / 1e4, COSTS.block_costs / 1e4, "exact")
SETTINGS = SinglePathConfig(
    epochs=0.03, warmup_share=0.5, batch_size=12, weight_average=0.9, runtime_weight=3.0,
    random_networks=6, random_images=40,
)  # fmt: skip
LIMIT = (COSTS.smallest() + COSTS.largest()) / 2


def run(examples, runtime, limit=LIMIT, resources=(COSTS,), **changes):
    return search(
        SPACE, MODEL, examples, dataclasses.replace(SETTINGS, **changes), runtime,
        resources=resources, limits=[limit], evaluation_batch_size=20, batch_norm_images=32,
    )  # fmt: skip


def decoded(margins):
    opened = {
        field.name: (getattr(margins, field.name) >= 0).astype(float)
        for field in dataclasses.fields(Gates)
    }
    opened["expansion"][~skippable(SPACE), 0] = 1
    return configurations_of_gates(SPACE, Gates(**opened))


@pytest.mark.parametrize("relaxation", ["softmax", "sigmoid"])
def test_multi_path(examples, runtime, relaxation):
    supernet, result = run(examples, runtime, formulation="multi_path", relaxation=relaxation)
    np.testing.assert_array_equal(result.configurations, supernet.configurations())
    np.testing.assert_array_equal(result.configurations, decoded(result.margins))
    assert result.runtime_ms == pytest.approx(MODEL.choice_ms(result.configurations))
    assert [row["step"] for row in result.history] == [*range(1, len(result.history) + 1)]
    for index, row in enumerate(result.history):
        runtime_counts = index >= round(0.5 * len(result.history))
        expected = row["cross_entropy"] + 3.0 * runtime_counts * np.log(row["sampled_ms"])
        assert row["loss"] == pytest.approx(expected, rel=1e-5)
        chosen = [int(row[f"block_{b}_configuration"]) for b in range(2)]
        assert row["runtime_ms"] == pytest.approx(MODEL.choice_ms(chosen))
        shares = [row[f"block_1_share_{c}"] for c in (*range(4), "skip")]
        assert sum(shares) == pytest.approx(1.0) and min(shares) > 0
    # The runtime of the mixture, before the logits first move. Block 0 cannot be skipped.
    share = 1 / 5 if relaxation == "softmax" else 1 / 8  # of a configuration of block 1
    first, second = MODEL.configurations_ms.sum(axis=1)
    expected = MODEL.fixed_ms + first / 4 + share * second
    assert result.history[0]["sampled_ms"] == pytest.approx(expected)


@pytest.mark.parametrize("form", ["paper", "exact"])
def test_the_mixtures_runtime_is_that_of_its_gates(form):
    """With sigmoids shares are products of gates, in which the runtime model is multilinear."""
    model = dataclasses.replace(MODEL, form=form)
    supernet = MultiPathSupernet(SPACE, 10, "sigmoid")
    supernet.logits.assign(np.random.default_rng(0).normal(size=(2, 3)))
    opened = 1 / (1 + np.exp(-supernet.logits.numpy().astype(np.float64)))
    opened[~skippable(SPACE), 1] = 1
    gates = Gates(opened[:, :1], opened[:, 1:], np.zeros((2, 0)))
    mixed = model.fixed_ms + np.sum(supernet.shares().numpy()[:, :-1] * model.configurations_ms)
    assert mixed == pytest.approx(model.expected_ms(gates), rel=1e-6)


@pytest.mark.parametrize("relaxation", ["softmax", "sigmoid"])
def test_runtime_moves_shares_only_after_the_warm_up(relaxation):
    """One step of each kind from the same weights, with images that tell no network apart."""
    images, labels = tf.zeros((4, 8, 8, 3)), tf.constant([0, 1, 2, 3])
    settings = SinglePathConfig(weight_decay=0.1)  # which leaves logits alone
    moved = []
    for first_step in (0, 5):
        keras.utils.set_random_seed(0)
        supernet = MultiPathSupernet(SPACE, 4, relaxation)
        optimizer = rmsprop(0.01, supernet.trainable_variables, l2=settings.weight_decay)
        step = multi_path.training_step(
            supernet, optimizer, 5, tf.constant([0, 0]), model=MODEL, settings=settings
        )
        step((images, labels), tf.constant(first_step, tf.int64))
        moved.append(supernet.logits.numpy())
    np.testing.assert_allclose(moved[0], 0, atol=1e-6)
    if relaxation == "sigmoid":  # every gate costs time
        assert np.all(moved[1][:, [0, 2]] < -1e-3) and moved[1][1, 1] < -1e-3
        return
    times = np.concatenate([MODEL.configurations_ms, np.zeros((2, 1))], 1)
    mean = np.array([times[0, :4].mean(), times[1].mean()])
    slower = times > mean[:, None]
    assert np.all((moved[1] < 0)[0, :4] == slower[0, :4])
    assert np.all((moved[1] < 0)[1] == slower[1])


def test_random_search(examples, runtime):
    supernet, result = run(examples, runtime, formulation="random_search")
    assert len(result.evaluated) == 6
    best = max(result.evaluated, key=lambda row: row["accuracy"])
    assert result.runtime_ms == best["runtime_ms"]
    # The model has the limit's times.
    assert all(row["runtime_ms"] <= LIMIT / 1e4 for row in result.evaluated)
    assert len({row["runtime_ms"] for row in result.evaluated}) > 1
    np.testing.assert_array_equal(result.configurations, supernet.configurations())
    np.testing.assert_array_equal(result.configurations, decoded(result.margins))
    for field in ("kernel", "expansion"):
        np.testing.assert_allclose(np.abs(getattr(result.margins, field)), 1, atol=1e-5)
    # The accuracy is that of the network which is derived.
    _, network = supernet.extract()
    few = dataclasses.replace(examples, held_out=examples.held_out[:40])
    assert accuracy(network, few, runtime, 20, held_out=True) == pytest.approx(best["accuracy"])
    before = network(examples.sample(8), training=False)
    reestimate_batch_norm(network, lambda x: network(x, training=True), [examples.sample(32)])
    np.testing.assert_allclose(network(examples.sample(8)), before, rtol=1e-3, atol=1e-4)
    # Once more: nothing is trained or evaluated again.
    accuracies = [row["accuracy"] for row in result.evaluated]
    _, again = run(examples, runtime, formulation="random_search")
    assert [row["accuracy"] for row in again.evaluated] == accuracies
    assert again.history == result.history


def test_one_shot_training_leaves_thresholds_alone(examples, runtime):
    settings = dataclasses.replace(SETTINGS, epochs=0.02, weight_decay=0.1)
    supernet, history = train_one_shot(SPACE, examples, settings, runtime)
    assert {"loss", "accuracy"} <= set(history[0]) and "sampled_ms" not in history[0]
    for layer in supernet.superkernels:
        np.testing.assert_array_equal(layer.thresholds, 0)


def test_uniform_gates():
    draw = tf.function(lambda i: uniform_gates(SPACE, tf.stack([7, i])))
    drawn = [draw(tf.constant(i)) for i in range(1500)]
    counts = np.zeros((2, 5))
    for gates in drawn:
        configurations = configurations_of_gates(
            SPACE, Gates(*(part.numpy().astype(float) for part in gates))
        )
        expected = gates_of_configurations(SPACE, configurations)
        np.testing.assert_array_equal(expected.kernel, gates.kernel)
        counts[[0, 1], configurations] += 1  # skipping is the last
    expected = [[1 / 4] * 4 + [0], [1 / 5] * 5]
    np.testing.assert_allclose(counts / 1500, expected, atol=0.04)


def test_errors(examples, runtime):
    with pytest.raises(ValueError, match="single_path, multi_path, random_search, received 'evo"):
        run(examples, runtime, formulation="evolution")
    with pytest.raises(InfeasibleError):
        run(examples, runtime, limit=1.0, formulation="random_search")
    with pytest.raises(ValueError, match="softmax, sigmoid, received 'straight_through'"):
        run(examples, runtime, formulation="multi_path", relaxation="straight_through")
