"""What ends a run that nobody asked to end: errors that say what to do."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import tensorflow as tf

from tpu.loop import DivergedError
from tpu.phase import Phase

_LOST = (tf.errors.UnavailableError, tf.errors.AbortedError, tf.errors.DeadlineExceededError)


class OutOfMemoryError(RuntimeError):
    """A batch does not fit into the memory of its devices."""


class WorkerLostError(RuntimeError):
    """Another worker, or the connection to a device, is gone."""


@contextlib.contextmanager
def clear_memory_errors(
    what: str, batch_size: int | None, batch_size_setting: str
) -> Iterator[None]:
    """Turns the end of memory into an error of one line that names the remedy.

    Args:
        what: Takes the memory.
        batch_size: Of it; None if it is not known.
        batch_size_setting: Where a person sets it.

    Raises:
        OutOfMemoryError: Memory ended. Disks that are full are left as they are.
    """
    try:
        yield
    except tf.errors.ResourceExhaustedError as error:
        if "No space left" in error.message:
            raise
        size = "this batch size" if batch_size is None else f"batch size {batch_size}"
        raise OutOfMemoryError(
            f"{what} does not fit into memory at {size}: lower {batch_size_setting}."
        ) from error


@contextlib.contextmanager
def clear_errors(
    phase: Phase, batch_size: int | None, good_checkpoints: Callable[[], str]
) -> Iterator[None]:
    """Turns failures of a step into errors of one line that name the remedy.

    Args:
        phase: That runs.
        batch_size: Images in a step, over all replicas; None if it is not known.
        good_checkpoints: Says from where a restart would continue.

    Raises:
        OutOfMemoryError, WorkerLostError: See there.
        DivergedError: With the checkpoints that are left.
    """
    try:
        with clear_memory_errors(f"Phase '{phase.name}'", batch_size, phase.batch_size_setting):
            yield
    except DivergedError as error:
        raise DivergedError(
            f"{error}; nothing of it was saved. {good_checkpoints()} Lower the learning rate or "
            "check the data."
        ) from error
    except _LOST as error:
        raise WorkerLostError(
            f"Phase '{phase.name}': another worker or a device is gone ({type(error).__name__}). "
            f"{good_checkpoints()} Start all workers again with the same command: they continue "
            "from there."
        ) from error
