"""Curves for TensorBoard, and traces of chosen steps.

TensorBoard reads record files of `Event` messages, which TensorFlow can write by itself;
`tf.summary.scalar` is part of the package tensorboard, which training does not need.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Sequence

import tensorflow as tf

from tpu.phase import RESERVED_METRICS, Metrics
from tpu.storage import AnyPath


class Summaries:
    """Writes the rows of a history as scalars: every metric, and the speed between two rows.

    Opening it writes all earlier rows anew, in place of what runs before this one wrote: so a
    continued run has each step once, those of a killed run that are done again included.

    Args:
        directory: Folder of one phase's files; made if it is not there.
        rows: Of the history so far.
        examples_per_step: For the rate of examples; None leaves it out.
    """

    def __init__(
        self, directory: AnyPath, rows: Sequence[Metrics], examples_per_step: int | None
    ) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        earlier = [path for path in directory.iterdir() if "tfevents" in path.name]
        self._examples = examples_per_step
        self._previous: Metrics = {"step": 0, "seconds": 0.0}
        self._began = time.time() - (rows[-1]["seconds"] if rows else 0.0)
        name = f"events.out.tfevents.{time.time_ns()}.{socket.gethostname()}"
        self._writer = tf.io.TFRecordWriter(str(directory / name))
        self._write(tf.compat.v1.Event(wall_time=self._began, file_version="brain.Event:2"))
        for row in rows:
            self.append(row)
        self.flush()
        for path in earlier:
            path.unlink()

    def append(self, row: Metrics) -> None:
        """Adds the row of one compiled loop."""
        scalars = {name: row[name] for name in row if name not in RESERVED_METRICS}
        steps = row["step"] - self._previous["step"]
        seconds = row["seconds"] - self._previous["seconds"]
        self._previous = row
        if seconds > 0:
            scalars["step_milliseconds"] = 1000 * seconds / steps
            if self._examples is not None:
                scalars["examples_per_second"] = self._examples * steps / seconds
        values = [tf.compat.v1.Summary.Value(tag=t, simple_value=v) for t, v in scalars.items()]
        self._write(
            tf.compat.v1.Event(
                wall_time=self._began + row["seconds"],
                step=int(row["step"]),
                summary=tf.compat.v1.Summary(value=values),
            )
        )

    def flush(self) -> None:
        """Puts what was added into the file."""
        self._writer.flush()

    def close(self) -> None:
        """Ends the file."""
        self._writer.close()

    def _write(self, event: tf.compat.v1.Event) -> None:
        self._writer.write(event.SerializeToString())


class Trace:
    """Traces the compiled loops that hold the steps `first` to `last`, for TensorBoard's profiler.

    Loops are traced whole, since cutting them would move the host's updates.

    Args:
        directory: Receives `plugins/profile/DATE/`; None only where `steps` is.
        steps: The first and the last step, or None to trace nothing.
    """

    def __init__(self, directory: AnyPath | None, steps: tuple[int, int] | None) -> None:
        self._directory = directory
        self._steps = steps
        self._runs = False

    def before(self, first_step: int, end: int) -> None:
        """Starts if the loop from `first_step` up to `end` (not included) has a step to trace."""
        if self._steps and not self._runs:
            first, last = self._steps
            if first < end and first_step <= last:
                tf.profiler.experimental.start(str(self._directory))
                self._runs = True

    def after(self, end: int) -> None:
        """Ends after the loop with the last step to trace."""
        if self._runs and self._steps and end > self._steps[1]:
            self.close()

    def close(self) -> None:
        """Ends and writes what was traced."""
        if self._runs:
            self._runs = False
            tf.profiler.experimental.stop()
