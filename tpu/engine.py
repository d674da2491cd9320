"""Runs a phase: compiled loops, and between them host work, progress and checkpoints.

The pattern of TensorFlow's TPUEstimator (`iterations_per_loop`) in the API that still exists:
`tf.function` around `tf.range(length)` around `strategy.run(step)`.
"""

from __future__ import annotations

import dataclasses
import signal
import time
from collections.abc import Callable
from pathlib import Path

import tensorflow as tf

from tpu import checkpoint
from tpu.history import History
from tpu.loop import CompiledLoop
from tpu.phase import RESERVED_METRICS, Metrics, Phase
from tpu.signals import StopRequest, stop_request


@dataclasses.dataclass(frozen=True)
class Progress:
    """Where a phase stands after a compiled loop.

    Attributes:
        phase: Name of the phase.
        step: Finished steps.
        steps: Length of the phase.
        seconds: Time spent on the phase so far, earlier runs included.
        seconds_left: Estimate from the speed of this run.
        metrics: Means over the last loop, and what the host update added.
    """

    phase: str
    step: int
    steps: int
    seconds: float
    seconds_left: float
    metrics: Metrics


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
    checkpoint_directory: str | Path,
    *,
    save_every_seconds: float = 60.0,
    on_progress: Callable[[Progress], None] | None = None,
) -> list[Metrics]:
    """Runs a phase to its end, from its newest checkpoint if there is one.

    Afterwards the phase's variables have their final values and the last checkpoint holds them;
    run again, the phase restores them and returns at once.

    Args:
        phase: What to run.
        strategy: Where to run it.
        checkpoint_directory: Folder of this phase alone; made if it is not there.
        save_every_seconds: Saves after the first loop that ends this long after the last save.
        on_progress: Called after every compiled loop.

    Returns:
        The history: for every compiled loop of the phase, earlier runs included, a row with
        "step" (finished steps), "seconds" (so far) and the metrics.

    Raises:
        DivergedError: The loss is not finite; nothing of that loop was saved.
        Interrupted: SIGTERM or SIGINT came; all was saved. A second one ends the process at once.
        ValueError: The checkpoint is of another program or of a longer phase, the data end too
            early, or the metrics break the contract.
        OSError: The directory or a checkpoint cannot be written.
    """
    directory = Path(checkpoint_directory)
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OSError(
            f"Checkpoint directory {directory} cannot be made ({error.strerror}): choose another."
        ) from error
    step = checkpoint.restore(directory, phase.variables)
    if step > phase.steps:
        raise ValueError(
            f"The checkpoint in {directory} is at step {step}, but phase '{phase.name}' has only "
            f"{phase.steps} steps: use another directory, or delete this one to start over."
        )
    history = History(directory, step)
    if step < phase.steps:
        loop = CompiledLoop(phase, strategy, step)
        save = _Saver(phase, directory, history, step, save_every_seconds)
        with stop_request() as stop:
            step = _run_loops(phase, loop, step, history, save, stop, on_progress)
        if stop.signal is not None:
            raise Interrupted(
                f"Phase '{phase.name}' was stopped by {stop.signal.name} after step {step} of "
                f"{phase.steps} and saved in {directory}: run again to continue.",
                stop.signal,
            )
    return history.rows


def _run_loops(
    phase: Phase,
    loop: CompiledLoop,
    step: int,
    history: History,
    save: _Saver,
    stop: StopRequest,
    on_progress: Callable[[Progress], None] | None,
) -> int:
    """Runs compiled loops to the phase's end or until asked to stop; returns the steps done."""
    clock = _Clock(phase.steps, step, history.rows[-1]["seconds"] if history.rows else 0.0)
    while step < phase.steps and stop.signal is None:
        # Loops end at multiples of steps_per_loop, wherever the run was continued.
        end = min(phase.steps, step - step % phase.steps_per_loop + phase.steps_per_loop)
        metrics = _with_host_update(phase, end, loop(step, end - step))
        step = end
        seconds, seconds_left = clock.read(step)
        history.append({"step": step, "seconds": seconds, **metrics})
        save(step, now=False)
        if on_progress is not None:
            on_progress(Progress(phase.name, step, phase.steps, seconds, seconds_left, metrics))
    save(step, now=True)
    return step


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
    return metrics | {name: float(value) for name, value in added.items()}


class _Saver:
    """Saves a phase at the first call that is `save_every_seconds` after the last save."""

    def __init__(
        self, phase: Phase, directory: Path, history: History, step: int, save_every_seconds: float
    ) -> None:
        self._phase = phase
        self._directory = directory
        self._history = history
        self._every = save_every_seconds
        self._saved_at = time.monotonic()
        self._saved_step = step

    def __call__(self, step: int, now: bool) -> None:
        if step == self._saved_step:
            return
        if now or time.monotonic() - self._saved_at >= self._every:
            self._history.flush()
            checkpoint.save(self._directory, step, self._phase.variables)
            self._saved_at, self._saved_step = time.monotonic(), step


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
