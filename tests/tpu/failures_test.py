"""Numbers that go wrong, memory that ends, workers that die, and the checkpoints left then."""

import numpy as np
import pytest
import tensorflow as tf

from tpu.engine import run_phase
from tpu.failures import OutOfMemoryError, WorkerLostError
from tpu.loop import DivergedError
from tpu.record import Watch
from tpu.strategy import strategy_for

CPU = strategy_for("cpu")
LOSSES = [4 / 3, 31 / 3, 21.0]


def losses_of(rows):
    return [row["loss"] for row in rows]


@pytest.mark.parametrize(("name", "value"), [("loss", np.nan), ("loss", np.inf), ("norm", np.nan)])
def test_a_metric_that_is_not_finite_names_the_step_and_saves_nothing(
    counting, tmp_path, name, value
):
    def diverge(phase):
        def step(inputs, step_index):
            metrics = phase.step(inputs, step_index)
            spoiled = tf.where(step_index == 4, value, metrics["loss"])
            return metrics | {name: spoiled}

        return counting(phase.variables[0], step=step)

    with pytest.raises(DivergedError) as raised:
        run_phase(diverge(counting()), CPU, tmp_path, save_every_seconds=0)
    assert str(raised.value) == (
        f"Phase 'counting': the {name} is {value} at step 4; nothing of it was saved. The last "
        f"good checkpoint is {tmp_path / 'step-3'}. Lower the learning rate or check the data."
    )
    assert [path.name for path in tmp_path.glob("step-*")] == ["step-3"]
    assert losses_of(run_phase(counting(), CPU, tmp_path)) == LOSSES


def bad_host_update(step, metrics):
    return {"cost": np.nan if step == 6 else 1.0}


def test_a_host_update_that_is_not_finite_stops_the_run_too(counting, tmp_path):
    with pytest.raises(DivergedError, match="the cost is nan after step 5; nothing of it was"):
        run_phase(counting(host_update=bad_host_update), CPU, tmp_path, save_every_seconds=0)
    assert [path.name for path in tmp_path.glob("step-*")] == ["step-3"]


def test_a_variable_that_is_not_finite_is_not_saved(counting, tmp_path):
    """Though every loss was finite: the next one will not be."""
    weight = tf.Variable(1.0, name="weight")

    def spoil(step, _):
        if step == 3:
            weight.assign(np.inf)

    phase = counting(host_update=spoil)
    phase = counting(phase.variables[0], host_update=spoil, variables=[phase.variables[0], weight])
    with pytest.raises(DivergedError, match=r"'weight:0' is not finite after step 2; .* No check"):
        run_phase(phase, CPU, tmp_path, save_every_seconds=0)
    assert not list(tmp_path.glob("step-*"))


def loss_at(values):
    """A step whose loss is read from a list."""
    return lambda inputs, i: {"loss": tf.gather(tf.constant(values, tf.float32), i)}


def test_the_best_checkpoint_is_kept_and_named(counting, tmp_path):
    losses = [5.0, 1.0, 2.0, 4.0, 3.0, 3.5, np.nan]
    phase = counting(step=loss_at(losses), steps_per_loop=1)
    with pytest.raises(DivergedError) as raised:
        run_phase(phase, CPU, tmp_path, save_every_seconds=0, keep_checkpoints=3)
    assert (
        f"good checkpoint is {tmp_path / 'step-6'}; the one with the lowest loss is step-2, "
        in (str(raised.value))
    )
    names = {path.name for path in tmp_path.glob("step-*")}
    assert names == {"step-2", "step-4", "step-5", "step-6"}
    index = tmp_path / "step-2" / "variables.index"
    index.write_bytes(index.read_bytes()[:-10])
    with pytest.raises(DivergedError, match=r"checkpoint is .*/step-6; .* lowest loss is step-5"):
        run_phase(phase, CPU, tmp_path, save_every_seconds=0, keep_checkpoints=3)


def test_the_best_is_that_of_the_metric_which_the_phase_names(counting, tmp_path):
    def build():
        phase = counting()
        step = lambda x, i: phase.step(x, i) | {"error": -tf.cast(i % 4, tf.float32)}  # noqa: E731
        return counting(phase.variables[0], step=step, best_metric="error", steps_per_loop=1)

    run_phase(build(), CPU, tmp_path, save_every_seconds=0)
    # Step index 3 has the lowest error, so four steps are done then.
    assert {path.name for path in tmp_path.glob("step-*")} == {"step-4", "step-6", "step-7"}


def test_memory_that_ends_names_the_batch_size_and_where_it_is_set(counting, tmp_path):
    def step(inputs, step_index):
        huge = tf.zeros(tf.cast([2**23, 2**23], tf.int64) + step_index)  # 280 TB
        return {"loss": tf.reduce_sum(tf.math.sin(huge))}

    data = tf.data.Dataset.range(10**6).batch(24, drop_remainder=True)
    phase = counting(step=step, dataset=lambda _: data, batch_size_setting="config.toy.batch_size")
    with pytest.raises(OutOfMemoryError) as raised:
        run_phase(phase, CPU, tmp_path)
    assert str(raised.value) == (
        "Phase 'counting' does not fit into memory at batch size 24: lower config.toy.batch_size."
    )
    plain = counting(step=step)
    with pytest.raises(OutOfMemoryError, match="at this batch size: lower the batch size of its"):
        run_phase(plain, CPU, tmp_path)


def test_a_lost_worker_is_an_error_that_says_where_a_restart_continues(counting, tmp_path):
    """What the runtime raises then; benchmarks/lost_worker.py kills a real one."""

    def fail(progress):
        if progress.step == 6:
            raise tf.errors.UnavailableError(None, None, "Connection reset by peer\ntrace")

    with pytest.raises(WorkerLostError) as raised:
        run_phase(counting(), CPU, tmp_path, save_every_seconds=0, watch=Watch(on_progress=fail))
    assert str(raised.value) == (
        "Phase 'counting': another worker or a device is gone (UnavailableError). The last "
        f"good checkpoint is {tmp_path / 'step-6'}; the one with the lowest loss is step-3, from "
        "which a run continues when the later ones are deleted. Start all workers again with the "
        "same command: they continue from there."
    )
    assert losses_of(run_phase(counting(), CPU, tmp_path)) == LOSSES
