"""Runs a phase: compiled loops, and between them host work, progress and checkpoints.

The pattern of TensorFlow's TPUEstimator (`iterations_per_loop`) in the API that still exists:
`tf.function` around `tf.range(length)` around `strategy.run(step)`.
"""

from __future__ import annotations

import functools
import math
import os
import signal
import time
from collections.abc import Callable

import tensorflow as tf

from tpu import checkpoint
from tpu.failures import clear_errors
from tpu.hosts import on_any_host
from tpu.loop import CompiledLoop, DivergedError
from tpu.phase import RESERVED_METRICS, Metrics, Phase
from tpu.record import NOBODY, Progress, Record, Watch
from tpu.signals import StopRequest, stop_request
from tpu.storage import AnyPath, to_path


class Interrupted(KeyboardInterrupt):
    """SIGTERM or SIGINT ended the run; all its work is saved.

    Attributes:
        signal: The signal. By convention a program then exits with 128 + its number.
    """

    def __init__(self, message: str, signal: signal.Signals) -> None:
        super().__init__(message)
        self.signal = signal


def run_phase(
    phase: Phase,
    strategy: tf.distribute.Strategy,
    checkpoint_directory: str | os.PathLike[str],
    *,
    save_every_seconds: float = 60.0,
    keep_checkpoints: int = 2,
    watch: Watch = NOBODY,
) -> list[Metrics]:
    """Runs a phase to its end, from its newest checkpoint if there is one.

    Afterwards the phase's variables have their final values and the last checkpoint holds them;
    run again, the phase restores them and returns at once.

    Args:
        phase: What to run.
        strategy: Where to run it.
        checkpoint_directory: Folder of this phase alone, local or on cloud storage; made if it is
            not there. Several workers share one, and the first of them writes it.
        save_every_seconds: Saves after the first loop that ends this long after the last save.
        keep_checkpoints: How many of the newest stay, next to the best one.
        watch: Who hears of it.

    Returns:
        The history: for every compiled loop of the phase, earlier runs included, a row with
        "step" (finished steps), "seconds" (so far) and the metrics.

    Raises:
        DivergedError: A metric or a variable is not finite; nothing of that loop was saved.
        OutOfMemoryError: A step does not fit into memory.
        WorkerLostError: Another worker or a device is gone.
        Interrupted: SIGTERM or SIGINT came; all was saved. A second one ends the process at once.
        ValueError: The checkpoint is of another program or of a longer phase, the data end too
            early, or the metrics break the contract.
        OSError: The directory or a checkpoint cannot be written.
    """
    directory = to_path(checkpoint_directory)
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OSError(
            f"Checkpoint directory {directory} cannot be made ({error.strerror or error}): choose "
            "another."
        ) from error
    writes = strategy.extended.should_checkpoint
    step = checkpoint.restore(directory, phase.variables, tidies=writes)
    _check_start(phase, strategy, directory, step)
    if step:
        watch.event("restored", phase=phase.name, step=step, checkpoint=str(directory))
    record = Record(phase, directory, step, writes, keep_checkpoints, watch)
    if step < phase.steps:
        loop = CompiledLoop(phase, strategy, step)
        with (
            stop_request() as stop,
            clear_errors(phase, loop.batch_size, record.good_checkpoints),
            record.open(loop.batch_size),
        ):
            stopped = functools.partial(_stops_all_hosts, strategy, stop)
            step = _run_loops(phase, loop, step, record, save_every_seconds, stopped, watch)
        if stop.signal is not None:
            raise Interrupted(
                f"Phase '{phase.name}' was stopped by {stop.signal.name} after step {step} of "
                f"{phase.steps} and saved in {directory}: run again to continue.",
                stop.signal,
            )
    return record.rows


def _check_start(
    phase: Phase, strategy: tf.distribute.Strategy, directory: AnyPath, step: int
) -> None:
    if step > phase.steps:
        raise ValueError(
            f"The checkpoint in {directory} is at step {step}, but phase '{phase.name}' has only "
            f"{phase.steps} steps: use another directory, or delete this one to start over."
        )
    if isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy):
        steps = strategy.run(lambda: tf.constant(step, tf.float32))
        mean = float(strategy.reduce("MEAN", steps, axis=None))
        if mean != step:
            raise ValueError(
                f"Phase '{phase.name}': this worker found step {step} in {directory}, others did "
                "not; give all workers the same work directory, on storage that they share."
            )


def _run_loops(
    phase: Phase,
    loop: CompiledLoop,
    step: int,
    record: Record,
    save_every_seconds: float,
    stopped: Callable[[], bool],
    watch: Watch,
) -> int:
    """Runs compiled loops to the phase's end or until asked to stop; returns the steps done."""
    clock = _Clock(phase.steps, step, record.rows[-1]["seconds"] if record.rows else 0.0)
    saved_at = time.monotonic()
    while step < phase.steps and not stopped():
        # Loops end at multiples of steps_per_loop, wherever the run was continued.
        end = min(phase.steps, step - step % phase.steps_per_loop + phase.steps_per_loop)
        record.trace.before(step, end)
        metrics = _with_host_update(phase, end, loop(step, end - step))
        record.trace.after(end)
        step = end
        seconds, seconds_left = clock.read(step)
        record.append({"step": step, "seconds": seconds, **metrics})
        if time.monotonic() - saved_at >= save_every_seconds:
            record.save(step)
            saved_at = time.monotonic()
        if watch.on_progress is not None:
            watch.on_progress(
                Progress(phase.name, step, phase.steps, seconds, seconds_left, metrics)
            )
    record.save(step)
    return step


def _stops_all_hosts(strategy: tf.distribute.Strategy, stop: StopRequest) -> bool:
    """Whether a host was asked to stop: all then stop after the same loop."""
    asked = on_any_host(strategy, stop.signal is not None)
    if asked and stop.signal is None:
        stop.signal = signal.SIGTERM
    return asked


def _with_host_update(phase: Phase, step: int, metrics: Metrics) -> Metrics:
    if phase.host_update is None:
        return metrics
    added = phase.host_update(step, dict(metrics)) or {}
    taken = added.keys() & (metrics.keys() | RESERVED_METRICS)
    if taken:
        raise ValueError(
            f"Phase '{phase.name}': the host update returned {sorted(taken)}, names that the step "
            "or the history uses; give them others."
        )
    for name, value in added.items():
        if not math.isfinite(value):
            raise DivergedError(
                f"Phase '{phase.name}': the {name} is {value} after step {step - 1}"
            )
    return metrics | {name: float(value) for name, value in added.items()}


class _Clock:
    """Time spent on a phase, and an estimate of the time left."""

    def __init__(self, steps: int, step: int, earlier_seconds: float) -> None:
        self._steps = steps
        self._start = time.monotonic() - earlier_seconds
        self._mark = (time.monotonic(), step)
        self._is_first = True

    def read(self, step: int) -> tuple[float, float]:
        """Seconds so far and seconds left."""
        now = time.monotonic()
        seconds_per_step = (now - self._mark[0]) / (step - self._mark[1])
        if self._is_first:
            # The first loop was traced and compiled too: later estimates leave it out.
            self._mark, self._is_first = (now, step), False
        return now - self._start, seconds_per_step * (self._steps - step)
