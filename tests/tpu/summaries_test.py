"""Curves for TensorBoard read back, and traces of chosen steps."""

import numpy as np
import tensorflow as tf

from tpu.engine import run_phase
from tpu.record import Watch
from tpu.strategy import strategy_for
from tpu.summaries import Summaries

CPU = strategy_for("cpu")
ROWS = [
    {"step": 4, "seconds": 10.0, "loss": 2.0},
    {"step": 8, "seconds": 12.0, "loss": 1.0, "accuracy": 0.5},
]


def scalars(folder):
    """(step, tag) -> value, of all files of events."""
    found = {}
    for path in folder.iterdir():
        if "tfevents" in path.name:
            for event in tf.compat.v1.train.summary_iterator(str(path)):
                for value in event.summary.value:
                    assert (event.step, value.tag) not in found  # no step twice
                    found[event.step, value.tag] = value.simple_value
    return found


def times(folder):
    (path,) = (path for path in folder.iterdir() if "tfevents" in path.name)
    events = list(tf.compat.v1.train.summary_iterator(str(path)))
    assert events[0].file_version == "brain.Event:2"
    return [event.wall_time - events[0].wall_time for event in events]


def test_metrics_and_speed(tmp_path):
    summaries = Summaries(tmp_path, ROWS[:1], 96)
    summaries.append(ROWS[1])
    summaries.close()
    found = scalars(tmp_path)
    expected = {
        (4, "loss"): 2.0,
        (4, "step_milliseconds"): 2500.0,
        (4, "examples_per_second"): 96 * 4 / 10,
        (8, "loss"): 1.0,
        (8, "accuracy"): 0.5,
        (8, "step_milliseconds"): 500.0,
        (8, "examples_per_second"): 96 * 4 / 2,
    }
    assert found.keys() == expected.keys()
    np.testing.assert_allclose([found[key] for key in expected], list(expected.values()), rtol=1e-6)
    np.testing.assert_allclose(times(tmp_path), [0, 10, 12], atol=1e-3)


def test_a_batch_of_unknown_size_has_no_rate_of_examples(tmp_path):
    Summaries(tmp_path / "new" / "folder", ROWS, None).close()
    assert (4, "examples_per_second") not in scalars(tmp_path / "new" / "folder")


def test_a_continued_run_has_every_step_once(counting, tmp_path):
    def fail(progress):
        if progress.step == 6:
            raise RuntimeError("stop here")

    def run(on_progress=None):
        watch = Watch(on_progress=on_progress, summary_directory=tmp_path / "curves")
        return run_phase(counting(), CPU, tmp_path, save_every_seconds=1e9, watch=watch)

    try:
        run(fail)
    except RuntimeError:
        assert {step for step, _ in scalars(tmp_path / "curves")} == {3, 6}
    rows = run()
    found = scalars(tmp_path / "curves")
    losses = {row["step"]: row["loss"] for row in rows}
    assert {step for step, _ in found} == set(losses) == {3, 6, 7}
    for step, loss in losses.items():
        np.testing.assert_allclose(found[step, "loss"], loss, rtol=1e-6)


def test_chosen_steps_are_traced(counting, tmp_path):
    watch = Watch(summary_directory=tmp_path / "curves", profile_steps=(4, 5))
    run_phase(counting(), CPU, tmp_path, watch=watch)
    traces = list((tmp_path / "curves").glob("plugins/profile/*/*.xplane.pb"))
    assert len(traces) == 1
    assert traces[0].stat().st_size > 1000


def test_a_trace_ends_with_a_run_that_fails(counting, tmp_path):
    def fail(_):
        raise RuntimeError("stop here")

    for attempt in ("first", "second"):  # a profiler left running would refuse the second
        watch = Watch(
            on_progress=fail, summary_directory=tmp_path / attempt, profile_steps=(0, 10**6)
        )
        try:
            run_phase(counting(), CPU, tmp_path / "run", watch=watch)
        except RuntimeError as error:
            assert str(error) == "stop here"
        assert list((tmp_path / attempt).glob("plugins/profile/*/*.xplane.pb"))
