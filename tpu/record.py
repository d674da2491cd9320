"""What a run leaves behind, and who hears of it while it goes."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

from tpu import checkpoint
from tpu.history import History
from tpu.loop import DivergedError
from tpu.phase import Metrics, Phase
from tpu.storage import AnyPath
from tpu.summaries import Summaries, Trace


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


@dataclasses.dataclass(frozen=True, kw_only=True)
class Watch:
    """Who hears of a phase while it runs.

    Attributes:
        on_progress: Called after every compiled loop.
        on_event: Called as `on_event(name, **fields)` with "restored" and "saved"; the fields are
            "phase", "step" and "checkpoint", of "saved" also "best": the step of the best one.
        summary_directory: Folder for TensorBoard; None writes nothing.
        profile_steps: First and last step of which a trace is written to `summary_directory`.
    """

    on_progress: Callable[[Progress], None] | None = None
    on_event: Callable[..., None] | None = None
    summary_directory: AnyPath | None = None
    profile_steps: tuple[int, int] | None = None

    def event(self, name: str, **fields: Any) -> None:
        """Passes an event on."""
        if self.on_event is not None:
            self.on_event(name, **fields)


NOBODY = Watch()


class Record:
    """What is kept of a run: its history, its checkpoints, and the curves drawn from them.

    Args:
        phase: That runs.
        directory: Of its checkpoints and history.
        step: That it starts from.
        writes: False where another process writes all of it.
        keep: How many of the newest checkpoints stay, next to the best one.
        watch: Hears of saves, and says where curves go.
    """

    def __init__(
        self, phase: Phase, directory: AnyPath, step: int, writes: bool, keep: int, watch: Watch
    ) -> None:
        self._phase = phase
        self._directory = directory
        self._history = History(directory, step, writes)
        self._saved_step = step
        self._writes = writes
        self._keep = keep
        self._watch = watch
        self._summaries: Summaries | None = None
        self.trace = Trace(watch.summary_directory, watch.profile_steps if writes else None)

    @property
    def rows(self) -> list[Metrics]:
        """One for every compiled loop."""
        return self._history.rows

    @contextlib.contextmanager
    def open(self, examples_per_step: int | None) -> Iterator[None]:
        """Draws curves while the run goes."""
        try:
            if self._watch.summary_directory is not None and self._writes:
                self._summaries = Summaries(
                    self._watch.summary_directory, self.rows, examples_per_step
                )
            yield
        finally:
            self.trace.close()
            if self._summaries is not None:
                self._summaries.close()

    def append(self, row: Metrics) -> None:
        """Adds the row of one compiled loop."""
        self._history.append(row)
        if self._summaries is not None:
            self._summaries.append(row)

    def save(self, step: int) -> None:
        """Writes a checkpoint if there is none of this step.

        Raises:
            DivergedError: A variable is not finite; nothing is written.
        """
        if step == self._saved_step:
            return
        self._saved_step = step
        bad = checkpoint.not_finite(self._phase.variables)
        if bad is not None:
            raise DivergedError(
                f"Phase '{self._phase.name}': variable '{bad}' is not finite after step {step - 1}"
            )
        if not self._writes:
            return
        self._history.flush()
        folder = checkpoint.save(self._directory, step, self._phase.variables)
        best = self._history.best(checkpoint.steps(self._directory), self._phase.best_metric)
        checkpoint.prune(self._directory, self._keep, () if best is None else (best,))
        if self._summaries is not None:
            self._summaries.flush()
        self._watch.event(
            "saved", phase=self._phase.name, step=step, checkpoint=str(folder), best=best
        )

    def good_checkpoints(self) -> str:
        """In a sentence: the last sound checkpoint, and the best if that is another."""
        found = checkpoint.steps(self._directory)
        sound = [step for step in found if checkpoint.is_sound(self._directory, step)]
        if not sound:
            return "No checkpoint was saved before."
        sentence = f"The last good checkpoint is {self._directory / f'step-{sound[-1]}'}"
        best = self._history.best(sound, self._phase.best_metric)
        if best is None or best == sound[-1]:
            return f"{sentence}."
        return (
            f"{sentence}; the one with the lowest {self._phase.best_metric} is step-{best}, from "
            "which a run continues when the later ones are deleted."
        )
