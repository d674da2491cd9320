"""Complete, crash-safe checkpoints of a list of variables.

A checkpoint is the folder `step-N`: one TensorFlow tensor bundle (public format, read by
`tf.train.load_checkpoint`) that holds every variable under `POSITION/NAME`. Positions make it
complete by construction: nothing depends on which attributes an object tracks. The bundle is
written to `step-N.partial`, flushed to the disk, and renamed, so a folder with the final name is
whole. No other file says which checkpoint counts: the newest one that reads back without a
checksum error does.
"""

from __future__ import annotations

import itertools
import logging
import os
import re
import shutil
from collections.abc import Sequence
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from tpu.phase import AnyVariable

_BUNDLE = "variables"
_STEP_KEY = "step"
_FOLDER = re.compile(r"step-(\d+)")
_PARTIAL = ".partial"
_DAMAGED = ".damaged"
_KEEP = 2

# All that TensorFlow's reader raises on files that are cut, garbled or missing.
_READ_ERRORS = (tf.errors.OpError, ValueError, IndexError, RuntimeError)

_log = logging.getLogger(__name__)


def save(directory: Path, step: int, variables: Sequence[AnyVariable]) -> Path:
    """Writes a checkpoint and removes all but the newest two.

    Args:
        directory: Existing folder that holds the checkpoints of one run.
        step: Finished steps, the checkpoint's number; greater than that of any checkpoint there.
        variables: Every variable to save, each once, in an order that repeats.

    Returns:
        The checkpoint's folder.

    Raises:
        ValueError: A variable is listed twice.
        OSError: The checkpoint cannot be written; those before it are untouched.
    """
    keyed = _keyed(variables)
    folder = directory / f"step-{step}"
    partial = directory / f"{folder.name}{_PARTIAL}"
    try:
        partial.mkdir()
        with tf.device("CPU:0"):
            tf.raw_ops.SaveV2(
                prefix=str(partial / _BUNDLE),
                tensor_names=[*keyed, _STEP_KEY],
                shape_and_slices=[""] * (len(keyed) + 1),
                tensors=[*(v.read_value() for v in keyed.values()), tf.constant(step, tf.int64)],
            )
        for path in (*partial.iterdir(), partial):
            flush_to_disk(path)
        partial.rename(folder)
        flush_to_disk(directory)
    except (OSError, tf.errors.OpError) as error:
        shutil.rmtree(partial, ignore_errors=True)
        reason = getattr(error, "message", None) or error
        raise OSError(
            f"Checkpoint {folder} cannot be written ({reason}): free disk space or choose another "
            "directory, then run again; earlier checkpoints are kept."
        ) from error
    for old in _steps(directory)[:-_KEEP]:
        shutil.rmtree(directory / f"step-{old}")
    return folder


def restore(directory: Path, variables: Sequence[AnyVariable]) -> int:
    """Assigns the newest sound checkpoint to the variables; removes what killed writers left.

    A damaged checkpoint is renamed to `step-N.damaged`, logged, and the one before it is taken.

    Args:
        directory: Folder that holds the checkpoints of one run.
        variables: The variables that were saved, in the same order.

    Returns:
        The checkpoint's step, or 0 if there is none (the variables keep their values).

    Raises:
        ValueError: A variable is listed twice, or the checkpoint holds other variables than
            these. Nothing is deleted or assigned then.
    """
    keyed = _keyed(variables)
    for left_over in directory.glob(f"step-*{_PARTIAL}"):
        shutil.rmtree(left_over)
    for step in reversed(_steps(directory)):
        folder = directory / f"step-{step}"
        try:
            found, values = _read(folder, step)
        except _READ_ERRORS as error:
            aside = directory / f"{folder.name}{_DAMAGED}"
            shutil.rmtree(aside, ignore_errors=True)
            folder.rename(aside)
            _log.warning(
                "Checkpoint %s is damaged (%s: %s); it is now %s, and the one before it is used.",
                folder, type(error).__name__, error, aside.name,
            )  # fmt: skip
            continue
        _check_same_program(
            folder, [_description(key, v.shape, v.dtype) for key, v in keyed.items()], found
        )
        for variable, value in zip(keyed.values(), values, strict=True):
            variable.assign(value)
        return step
    return 0


def flush_to_disk(path: Path) -> None:
    """Waits until a file's content, or a folder's list of names, is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _steps(directory: Path) -> list[int]:
    matches = (_FOLDER.fullmatch(path.name) for path in directory.iterdir())
    return sorted(int(match[1]) for match in matches if match)


def _keyed(variables: Sequence[AnyVariable]) -> dict[str, tf.Variable]:
    keyed: dict[str, tf.Variable] = {}
    seen: dict[int, int] = {}
    for position, variable in enumerate(variables):
        is_keras = isinstance(variable, keras.Variable)
        inner = variable.value if is_keras else variable
        name = variable.path if is_keras else variable.name
        if id(inner) in seen:
            raise ValueError(
                f"Variable '{name}' is listed twice, at positions {seen[id(inner)]} and "
                f"{position}: list each variable of the phase once."
            )
        seen[id(inner)] = position
        keyed[f"{position:05d}/{name}"] = inner
    return keyed


def _read(folder: Path, step: int) -> tuple[list[str], list[np.ndarray]]:
    """Descriptions and values by position; reading a tensor checks its CRC."""
    reader = tf.train.load_checkpoint(str(folder / _BUNDLE))
    shapes, dtypes = reader.get_variable_to_shape_map(), reader.get_variable_to_dtype_map()
    keys = sorted(shapes.keys() - {_STEP_KEY})
    if int(reader.get_tensor(_STEP_KEY)) != step:
        raise ValueError(f"it holds step {reader.get_tensor(_STEP_KEY)}")
    found = [_description(key, shapes[key], dtypes[key]) for key in keys]
    return found, [reader.get_tensor(key) for key in keys]


def _check_same_program(folder: Path, expected: list[str], found: list[str]) -> None:
    for position, (here, there) in enumerate(itertools.zip_longest(expected, found)):
        if _without_counters(here) != _without_counters(there):
            raise ValueError(
                f"Checkpoint {folder} was written by another program: variable {position} is "
                f"{here or 'missing'} in this program and {there or 'missing'} in the checkpoint "
                f"(of {len(expected)} and {len(found)} variables). Use another directory, or "
                f"delete {folder.parent} to start over; nothing was deleted."
            )


def _description(key: str, shape: Sequence[int], dtype: tf.DType) -> str:
    return f"'{key.partition('/')[2]}' {dtype.name} {list(shape)}"


def _without_counters(description: str | None) -> str | None:
    """Drops the `_7` that Keras appends to a name already used in this process.

    The same model gets `dense` in one process and `dense_7` in another that built more before it.
    """
    return description and re.sub(r"_\d+(?=[_/:'])", "", description)
