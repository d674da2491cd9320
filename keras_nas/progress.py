"""What a person sees while a stage runs: what, how far, how long."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from collections.abc import Callable, Iterator

from tqdm import tqdm

LINE_SECONDS = 10.0
"""Where output is not a terminal, a line at most this often."""


class Bar:
    """A progress bar that follows `update(done, total, text)`.

    On a terminal it is redrawn in place; in a log a line appears every few seconds.
    """

    def __init__(self, name: str, unit: str):
        interactive = sys.stderr.isatty()
        self._bar = tqdm(
            desc=f"  {name}",
            unit=unit,
            mininterval=0.2 if interactive else LINE_SECONDS,
            dynamic_ncols=interactive,
            ncols=None if interactive else 110,
            leave=True,
            bar_format="{desc}: {percentage:3.0f}%|{bar:20}| {n_fmt}/{total_fmt} {unit} "
            "[{elapsed}<{remaining}] {postfix}",
        )

    def update(self, done: int, total: int, text: str = "") -> None:
        """Moves to `done` of `total`, with a few words or numbers behind."""
        self._bar.total = total
        self._bar.set_postfix_str(text, refresh=False)
        self._bar.update(done - self._bar.n)

    def close(self) -> None:
        """Ends the line."""
        self._bar.close()


def follow_phase(bar: Bar) -> Callable:
    """Feeds the engine's progress to a bar, with the loss and accuracy of the last loop."""
    shown = ("loss", "accuracy", "expected_cost")

    def on_progress(progress) -> None:
        numbers = [f"{k} {progress.metrics[k]:.3f}" for k in shown if k in progress.metrics]
        bar.update(progress.step, progress.steps, " ".join(numbers))

    return on_progress


@contextlib.contextmanager
def quiet_native_code() -> Iterator[None]:
    """Keeps what C++ code writes past Python's logging out of the terminal: TensorFlow while it is
    imported, before any level can be set, and its int8 quantiser. Shows it where that fails."""
    sys.stderr.flush()
    terminal = os.dup(2)
    with tempfile.TemporaryFile() as log:
        os.dup2(log.fileno(), 2)
        try:
            yield
        except BaseException:
            log.seek(0)
            os.write(terminal, log.read())
            raise
        finally:
            os.dup2(terminal, 2)
            os.close(terminal)
