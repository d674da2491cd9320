import json
import os
import signal
import threading

import numpy as np
import pytest
import tensorflow as tf

from tpu.engine import Interrupted, run_phase
from tpu.record import Watch
from tpu.strategy import strategy_for

CPU = strategy_for("cpu")


def without_seconds(rows):
    return [{name: value for name, value in row.items() if name != "seconds"} for row in rows]


# The totals are 0 1 3, 6 10 15, 21.
HISTORY = [
    {"step": 3, "loss": 4 / 3, "index": 1.0},
    {"step": 6, "loss": 31 / 3, "index": 4.0},
    {"step": 7, "loss": 21.0, "index": 6.0},
]


def test_metrics_are_the_means_over_each_loop(counting, tmp_path):
    assert without_seconds(run_phase(counting(), CPU, tmp_path)) == HISTORY
    lines = (tmp_path / "history.jsonl").read_text().splitlines()
    assert without_seconds(map(json.loads, lines)) == HISTORY


def test_compiled_loop_equals_a_python_loop_bit_for_bit(program, tmp_path):
    compiled = program.build()
    rows = run_phase(compiled, CPU, tmp_path)
    plain = program.build()
    # Compiled by itself: op by op, the graph optimizer's fusions are missing (last bits differ).
    step, losses = tf.function(plain.step), []
    for index, inputs in enumerate(plain.dataset(0)):
        losses.append(float(step(inputs, tf.constant(index, tf.int64))["loss"]))
        if (index + 1) % program.STEPS_PER_LOOP == 0 or index + 1 == program.STEPS:
            first = index // program.STEPS_PER_LOOP * program.STEPS_PER_LOOP
            plain.host_update(index + 1, {"loss": np.mean(losses[first:])})
    for expected, found in zip(program.values(plain), program.values(compiled), strict=True):
        np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal([row["loss"] for row in rows[:-1]],
                                  np.reshape(losses[:20], [5, 4]).mean(1))  # fmt: skip
    assert rows[-1]["loss"] == np.mean(losses[20:])


@pytest.mark.parametrize("jit_compile", [False, True])
def test_one_trace_with_a_shorter_last_loop(counting, tmp_path, jit_compile):
    traces = []
    phase = counting(jit_compile=jit_compile)

    def step(inputs, step_index):
        traces.append(step_index.dtype)
        return phase.step(inputs, step_index)

    rows = run_phase(
        counting(phase.variables[0], step=step, jit_compile=jit_compile), CPU, tmp_path
    )
    assert traces == [tf.int64]
    assert without_seconds(rows) == HISTORY


def test_a_finished_phase_is_restored_without_running(counting, tmp_path):
    run_phase(counting(), CPU, tmp_path)

    def refuse(*_):
        raise RuntimeError("a finished phase must not touch this")

    again = counting(step=refuse, dataset=refuse, host_update=refuse)
    assert (
        without_seconds(run_phase(again, CPU, tmp_path, watch=Watch(on_progress=refuse))) == HISTORY
    )
    assert again.variables[0].numpy() == 21


def test_continues_after_an_error_with_loops_at_the_same_steps(counting, tmp_path):
    def fail(progress):
        if progress.step == 6:
            raise RuntimeError("stop here")

    with pytest.raises(RuntimeError, match="stop here"):
        run_phase(counting(), CPU, tmp_path, save_every_seconds=0, watch=Watch(on_progress=fail))
    starts = []

    def dataset(start):
        starts.append(start)
        return tf.data.Dataset.range(start, 100)

    # From step 6 with 4 steps a loop: the next loops end at 8, 12, 14.
    phase = counting(dataset=dataset, steps=14, steps_per_loop=4)
    rows = run_phase(phase, CPU, tmp_path)
    assert starts == [6]
    assert [row["step"] for row in rows] == [3, 6, 8, 12, 14]
    assert phase.variables[0].numpy() == sum(range(14))
    assert rows[-1]["seconds"] >= rows[0]["seconds"] > 0


def test_saves_by_time_and_at_the_end(counting, tmp_path):
    def saved_at_each_loop(seconds, directory):
        seen = []
        run_phase(
            counting(),
            CPU,
            directory,
            save_every_seconds=seconds,
            watch=Watch(
                on_progress=lambda _: seen.append(sorted(p.name for p in directory.glob("step-*")))
            ),
        )
        return seen, sorted(p.name for p in directory.glob("step-*"))

    always = saved_at_each_loop(0, tmp_path / "always")
    # The loss grows: the first is the best one.
    assert always[0] == [["step-3"], ["step-3", "step-6"], ["step-3", "step-6", "step-7"]]
    seldom = saved_at_each_loop(1000, tmp_path / "seldom")
    assert seldom == ([[], [], []], ["step-7"])


def test_host_update_runs_between_loops_and_its_variables_survive(counting, tmp_path):
    calls = []

    def build():
        host = tf.Variable(0.0, name="host")
        phase = counting()

        def host_update(step, metrics):
            calls.append((step, metrics))
            host.assign_add(metrics["loss"])
            return {"host": host.numpy()}

        return counting(
            phase.variables[0],
            variables=[phase.variables[0], host],
            step=lambda x, i: phase.step(x, i) | {"host_seen": host.read_value()},
            host_update=host_update,
        )

    def fail(progress):
        assert progress.metrics["host"] > 0
        if progress.step == 6:
            raise RuntimeError("stop here")

    whole = run_phase(build(), CPU, tmp_path / "whole")
    assert [step for step, _ in calls] == [3, 6, 7]
    np.testing.assert_allclose([row["host"] for row in whole], [4 / 3, 35 / 3, 98 / 3], rtol=1e-6)
    np.testing.assert_allclose([row["host_seen"] for row in whole], [0, 4 / 3, 35 / 3], rtol=1e-6)
    assert calls[1][1] == {"loss": 31 / 3, "index": 4.0, "host_seen": whole[0]["host"]}

    with pytest.raises(RuntimeError, match="stop here"):
        run_phase(
            build(), CPU, tmp_path / "cut", save_every_seconds=0, watch=Watch(on_progress=fail)
        )
    rows = run_phase(build(), CPU, tmp_path / "cut")
    assert without_seconds(rows) == without_seconds(whole)


def test_progress_tells_step_time_and_metrics(counting, tmp_path):
    seen = []
    rows = run_phase(counting(), CPU, tmp_path, watch=Watch(on_progress=seen.append))
    assert [(p.phase, p.step, p.steps) for p in seen] == [("counting", n, 7) for n in (3, 6, 7)]
    assert [{"step": p.step, "seconds": p.seconds, **p.metrics} for p in seen] == rows
    assert 0 < seen[0].seconds < seen[1].seconds < seen[2].seconds
    # The first estimate is all there is to go by; the second leaves the first loop's tracing out.
    np.testing.assert_allclose(seen[0].seconds_left, seen[0].seconds / 3 * 4, rtol=0.1)
    np.testing.assert_allclose(
        seen[1].seconds_left, (seen[1].seconds - seen[0].seconds) / 3, rtol=0.1
    )
    assert seen[2].seconds_left == 0


def test_saves_and_restores_are_events(counting, tmp_path):
    events = []
    watch = Watch(on_event=lambda name, **fields: events.append({"event": name, **fields}))
    run_phase(counting(), CPU, tmp_path, save_every_seconds=0, watch=watch)
    run_phase(counting(), CPU, tmp_path, watch=watch)
    saved = [
        {"event": "saved", "phase": "counting", "step": step, "best": 3,
         "checkpoint": str(tmp_path / f"step-{step}")}
        for step in (3, 6, 7)
    ]  # fmt: skip
    assert events == [
        *saved,
        {"event": "restored", "phase": "counting", "step": 7, "checkpoint": str(tmp_path)},
    ]


def test_a_run_on_an_object_store_is_cut_off_and_continued(counting, object_store):
    def fail(progress):
        if progress.step == 6:
            raise RuntimeError("stop here")

    with pytest.raises(RuntimeError, match="stop here"):
        run_phase(
            counting(), CPU, object_store, save_every_seconds=0, watch=Watch(on_progress=fail)
        )
    assert sorted(p.name for p in object_store.iterdir()) == ["history.jsonl", "step-3", "step-6"]
    phase = counting()
    assert without_seconds(run_phase(phase, CPU, str(object_store))) == HISTORY
    assert phase.variables[0].numpy() == 21


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_saves_and_interrupts_and_the_next_run_continues(counting, tmp_path, number):
    def mine(*_):
        raise RuntimeError("the engine handles signals while it runs")

    earlier = {n: signal.signal(n, mine) for n in (signal.SIGTERM, signal.SIGINT)}
    try:
        with pytest.raises(Interrupted) as raised:
            run_phase(
                counting(),
                CPU,
                tmp_path,
                watch=Watch(on_progress=lambda _: os.kill(os.getpid(), number)),
            )
        assert signal.getsignal(signal.SIGTERM) is mine
        assert signal.getsignal(signal.SIGINT) is mine
    finally:
        for n, handler in earlier.items():
            signal.signal(n, handler)
    assert raised.value.signal == number
    assert str(raised.value) == (
        f"Phase 'counting' was stopped by {number.name} after step 3 of 7 and saved in {tmp_path}: "
        "run again to continue."
    )
    assert isinstance(raised.value, KeyboardInterrupt)
    assert without_seconds(run_phase(counting(), CPU, tmp_path)) == HISTORY


def test_a_signal_in_the_last_loop_interrupts_after_the_last_save(counting, tmp_path):
    def stop(progress):
        if progress.step == 7:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(Interrupted, match="after step 7 of 7"):
        run_phase(counting(), CPU, tmp_path, watch=Watch(on_progress=stop))
    assert without_seconds(run_phase(counting(), CPU, tmp_path)) == HISTORY


def test_runs_outside_the_main_thread(counting, tmp_path):
    rows = []
    thread = threading.Thread(target=lambda: rows.extend(run_phase(counting(), CPU, tmp_path)))
    thread.start()
    thread.join()
    assert without_seconds(rows) == HISTORY


def test_a_damaged_checkpoint_costs_time_and_changes_nothing(counting, tmp_path):
    run_phase(counting(), CPU, tmp_path, save_every_seconds=0)
    (tmp_path / "step-7" / "variables.index").unlink()
    phase = counting()
    seen = []
    rows = run_phase(phase, CPU, tmp_path, watch=Watch(on_progress=lambda p: seen.append(p.step)))
    assert seen == [7]
    assert without_seconds(rows) == HISTORY
    assert phase.variables[0].numpy() == 21


def test_a_checkpoint_of_another_program_is_refused_and_kept(counting, program, tmp_path):
    run_phase(counting(), CPU, tmp_path)
    with pytest.raises(ValueError, match=r"step-7 was written by another program: variable 0"):
        run_phase(program.build(), CPU, tmp_path)
    assert without_seconds(run_phase(counting(), CPU, tmp_path)) == HISTORY


def test_a_checkpoint_of_a_longer_phase_is_refused(counting, tmp_path):
    run_phase(counting(), CPU, tmp_path)
    with pytest.raises(ValueError, match=r"is at step 7, but phase 'counting' has only 5 steps"):
        run_phase(counting(steps=5), CPU, tmp_path)


@pytest.mark.parametrize("name", ["step", "seconds", "loss"])
def test_a_host_update_must_not_take_names_in_use(counting, tmp_path, name):
    phase = counting(host_update=lambda step, metrics: {name: 1.0})
    with pytest.raises(ValueError, match=rf"the host update returned \['{name}'\]"):
        run_phase(phase, CPU, tmp_path)


def test_a_file_in_place_of_the_directory_is_an_error(counting, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match=r"directory .*/file cannot be made \(File exists\): choose"):
        run_phase(counting(), CPU, tmp_path / "file")
