"""The search of TF-NAS from end to end on a tiny space: schedule, limit, resume, no retracing."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from keras_nas.config import TFNASConfig
from keras_nas.methods import tf_nas
from keras_nas.methods.tf_nas_schedule import Schedule
from keras_nas.resources.width_latency import Curve, WidthLatency
from keras_nas.space import ElasticStage, Head, Stem, TFNASOperation, TFNASSpace

SETTINGS = TFNASConfig(
    epochs=3, warmup_epochs=1, batch_size=360, architecture_learning_rate=0.3, temperature=1.0
)
"""Digits have 1150 fitted images: epochs of 4 weight steps, then of 2 steps of three batches."""


@pytest.fixture(scope="module")
def space():
    """One block that may be skipped, and one that may not."""
    return TFNASSpace(
        name="tiny",
        stem=Stem(4, 3, 2, "relu"),
        stages=(ElasticStage(4, 1, "relu", 1, 2),),
        operations=(TFNASOperation(3, 2, 4, 1), TFNASOperation(5, 2, 4)),
        head=Head(8, "swish", before_pooling=True),
        resolution=8,
    )


@pytest.fixture(scope="module")
def latency(space):
    """1 ms for a network, and 0.1 ms a channel of an operation, a tenth more with kernel 5."""
    bounds = np.stack([space.smallest_widths(), space.largest_widths()], 2).astype(float)
    curves = tuple(
        tuple(Curve(widths, (0.1 + 0.01 * o) * widths) for o, widths in enumerate(row))
        for row in bounds
    )
    return WidthLatency(space, 1.0, curves)


@pytest.fixture(scope="module")
def whole(space, latency, examples, tmp_path_factory):
    """A search that nothing interrupted, how often its steps were traced, and what ran it."""
    runtime = tf_nas.Runtime(tmp_path_factory.mktemp("whole"), steps_per_loop=3)
    traced = []
    step = tf_nas.weight_step

    def counted(*arguments, **settings):
        traced.append(settings["second"])
        return step(*arguments, **settings)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tf_nas, "weight_step", counted)
        search = tf_nas.TFNASSearch(space, latency, 2.0, SETTINGS, examples, runtime)
        return search.run(runtime), traced, search


def test_the_found_network_keeps_the_target(whole, space, latency):
    result, *_ = whole
    depths = [result.kept.sum()]
    widths = result.supernet.widths()
    assert result.latency_ms == pytest.approx(latency.network_ms(result.operations, depths, widths))
    assert result.latency_ms <= 2.0
    # One more channel anywhere would break the target, or there is none.
    chosen = np.flatnonzero(result.kept)
    room = space.largest_widths()[chosen, result.operations[chosen]]
    full = np.all(widths[chosen, result.operations[chosen]] == room)
    assert full or result.latency_ms > 2.0 - 0.11 * len(chosen)
    assert result.architecture == space.architecture(result.operations, depths, widths, "tf_nas")


def test_history_and_epochs(whole, space):
    result, *_ = whole
    warmup, search = result.history[:2], result.history[2:]
    assert [row["step"] for row in warmup] == [2, 4]
    assert [row["step"] for row in search] == [2, 4]
    assert [row["epoch"] for row in result.history] == [0, 0, 1, 2]
    assert all(np.isfinite(list(row.values())).all() for row in result.history)
    assert {"alpha_entropy", "beta_entropy", "derived_ms", "expected_ms"} <= set(search[0])
    assert search[-1]["alpha_entropy"] < np.log(2) - 1e-4
    assert [record.epoch for record in result.epochs] == [1, 2]
    last = result.epochs[-1]
    np.testing.assert_array_equal(last.widths, result.supernet.widths())
    np.testing.assert_array_equal(last.operations, result.operations)
    assert last.latency_ms == result.latency_ms == search[-1]["derived_ms"]
    np.testing.assert_allclose(last.alpha.sum(axis=1), 1)
    np.testing.assert_allclose(last.beta.sum(axis=1), 1)
    assert np.any(last.widths != space.initial_widths())


def test_widths_change_without_tracing_again(whole):
    _, traced, _ = whole
    assert traced == ["none", "random"]


def test_a_second_run_repeats_the_first_without_tracing_again(
    whole, examples, tmp_path, monkeypatch
):
    result, _, search = whole
    variables = [variable.numpy() for variable in result.supernet.variables]
    monkeypatch.setattr(tf_nas, "weight_step", None)
    other = dataclasses.replace(examples, seed=examples.seed + 1)
    first, second = (tf_nas.Runtime(tmp_path / name, steps_per_loop=3) for name in "ab")
    search.restart(other, first, elasticity_scaling=False)
    unlike = search.run(first)
    assert np.any(unlike.epochs[-1].alpha != result.epochs[-1].alpha)
    np.testing.assert_array_equal(unlike.epochs[-1].widths, unlike.epochs[0].widths)
    search.restart(examples, second, elasticity_scaling=True)
    again = search.run(second)
    for before, variable in zip(variables, again.supernet.variables, strict=True):
        np.testing.assert_array_equal(before, variable.numpy())
    np.testing.assert_array_equal(again.epochs[-1].alpha, result.epochs[-1].alpha)


def test_an_interrupted_search_ends_in_the_same(
    whole, space, latency, examples, tmp_path, monkeypatch
):
    """Cut in the middle of the second phase: weights, momenta, widths and history are equal."""
    result, *_ = whole
    runtime = tf_nas.Runtime(tmp_path, steps_per_loop=3, save_every_seconds=0)
    update = tf_nas.TFNASSearch._after_loop

    class PowerCut(Exception):
        pass

    def cut(self, step, metrics):
        if step == 4:
            raise PowerCut
        return update(self, step, metrics)

    with monkeypatch.context() as patch:
        patch.setattr(tf_nas.TFNASSearch, "_after_loop", cut)
        with pytest.raises(PowerCut):
            tf_nas.search_tf_nas(space, latency, 2.0, SETTINGS, examples, runtime)
    again = tf_nas.search_tf_nas(space, latency, 2.0, SETTINGS, examples, runtime)
    for one, other in zip(result.supernet.variables, again.supernet.variables, strict=True):
        np.testing.assert_array_equal(one.numpy(), other.numpy())
    for row, twin in zip(result.history, again.history, strict=True):
        assert {k: v for k, v in row.items() if k != "seconds"} == {
            k: v for k, v in twin.items() if k != "seconds"
        }
    for record, twin in zip(result.epochs, again.epochs, strict=True):
        for field in dataclasses.fields(record):
            np.testing.assert_array_equal(getattr(record, field.name), getattr(twin, field.name))


def test_the_schedule_of_the_paper():
    schedule = Schedule.of(TFNASConfig(), batches=100, longest_loop=10)
    assert float(schedule.learning_rate(tf.constant(43))) == pytest.approx(0.013372, abs=5e-7)
    assert float(schedule.learning_rate(tf.constant(0))) == pytest.approx(0.025)
    assert float(schedule.temperature(tf.constant(43))) == pytest.approx(1.299932, rel=1e-5)
    assert float(schedule.temperature(tf.constant(10))) == pytest.approx(5.0)
    assert (schedule.warmup_steps, schedule.epoch_steps, schedule.steps) == (1000, 50, 4000)


def test_an_epoch_is_whole_loops():
    schedule = Schedule.of(TFNASConfig(), batches=21, longest_loop=10)
    assert (schedule.warmup_loop, schedule.warmup_loops) == (7, 3)
    assert (schedule.loop, schedule.loops) == (6, 2)  # 11 steps, rounded up


@pytest.mark.parametrize("epochs", [(3, 3), (3, -1)])
def test_no_epoch_for_the_architecture_is_refused(epochs):
    settings = TFNASConfig(epochs=epochs[0], warmup_epochs=epochs[1])
    with pytest.raises(ValueError, match="epochs above warmup_epochs"):
        Schedule.of(settings, 10, 10)


def test_a_target_below_the_space_is_refused_before_any_step(space, latency, examples, tmp_path):
    with pytest.raises(ValueError, match=r"latency_ms <= 1.2"):
        tf_nas.search_tf_nas(
            space, latency, 1.2, SETTINGS, examples, tf_nas.Runtime(tmp_path / "none")
        )
    assert not (tmp_path / "none").exists()


def test_a_negative_logarithm_of_latency_is_refused(space, latency, examples, tmp_path):
    fast = WidthLatency(space, 0.0, latency.curves)
    settings = dataclasses.replace(SETTINGS, objective="log")
    with pytest.raises(ValueError, match=r"as little as 0\.8 ms, .*choose another objective"):
        tf_nas.search_tf_nas(space, fast, 2.0, settings, examples, tf_nas.Runtime(tmp_path))
