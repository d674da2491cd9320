"""Complete, crash-safe checkpoints of a list of variables.

A checkpoint is the folder `step-N`: one TensorFlow tensor bundle (public format, read by
`tf.train.load_checkpoint`) that holds every variable under `POSITION/NAME`. Positions make it
complete by construction: nothing depends on which attributes an object tracks. The bundle is
written to `step-N.partial`, flushed to the disk, and renamed, so a folder with the final name is
whole. On an object store, which cannot rename, the bundle is written to the folder itself and an
object `complete` comes last. No other file says which checkpoint counts: the newest one that reads
back without a checksum error does.
"""

from __future__ import annotations

import itertools
import logging
import re
import shutil
from collections.abc import Collection, Sequence
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from tpu.phase import AnyVariable
from tpu.storage import AnyPath, StoredPath, flush_to_disk

_BUNDLE = "variables"
_STEP_KEY = "step"
_FOLDER = re.compile(r"step-(\d+)")
_PARTIAL = ".partial"
_DAMAGED = ".damaged"
_COMPLETE = "complete"

# All that TensorFlow's reader raises on files that are cut, garbled or missing.
_READ_ERRORS = (tf.errors.OpError, ValueError, IndexError, RuntimeError)

_log = logging.getLogger(__name__)


def save(directory: AnyPath, step: int, variables: Sequence[AnyVariable]) -> AnyPath:
    """Writes a checkpoint.

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
    partial = folder if isinstance(folder, StoredPath) else folder.with_name(folder.name + _PARTIAL)
    try:
        if isinstance(folder, StoredPath):
            folder.rmtree()  # a damaged one of this step
        partial.mkdir()
        with tf.device("CPU:0"):
            tf.raw_ops.SaveV2(
                prefix=str(partial / _BUNDLE),
                tensor_names=[*keyed, _STEP_KEY],
                shape_and_slices=[""] * (len(keyed) + 1),
                tensors=[*(v.read_value() for v in keyed.values()), tf.constant(step, tf.int64)],
            )
        _complete(partial, folder)
    except (OSError, tf.errors.OpError) as error:
        if isinstance(partial, Path):
            shutil.rmtree(partial, ignore_errors=True)
        reason = getattr(error, "message", None) or error
        raise OSError(
            f"Checkpoint {folder} cannot be written ({reason}): free disk space or choose another "
            "directory, then run again; earlier checkpoints are kept."
        ) from error
    return folder


def _complete(partial: AnyPath, folder: AnyPath) -> None:
    """Makes a checkpoint count, all at once."""
    if isinstance(partial, StoredPath):
        (partial / _COMPLETE).write_bytes(b"")
        return
    for path in (*partial.iterdir(), partial):
        flush_to_disk(path)
    partial.rename(folder)
    flush_to_disk(partial.parent)


def prune(directory: AnyPath, keep: int, spare: Collection[int] = ()) -> None:
    """Removes all checkpoints but the newest `keep` and those of the steps in `spare`."""
    for step in steps(directory)[:-keep]:
        if step not in spare:
            _remove(directory / f"step-{step}")


def restore(directory: AnyPath, variables: Sequence[AnyVariable], tidies: bool = True) -> int:
    """Assigns the newest sound checkpoint to the variables; removes what killed writers left.

    Every damaged checkpoint is logged and set aside: renamed to `step-N.damaged`, or on an object
    store marked by an object `.damaged` in place of `complete`.

    Args:
        directory: Folder that holds the checkpoints of one run.
        variables: The variables that were saved, in the same order.
        tidies: False where another process writes the folder; nothing is removed or renamed then.

    Returns:
        The checkpoint's step, or 0 if there is none (the variables keep their values).

    Raises:
        ValueError: A variable is listed twice, or the checkpoint holds other variables than
            these. Nothing is deleted or assigned then.
    """
    keyed = _keyed(variables)
    if tidies:
        _remove_unfinished(directory)
    restored = 0
    for step in reversed(steps(directory)):
        folder = directory / f"step-{step}"
        try:
            found, values = _read(folder, step)
        except _READ_ERRORS as error:
            if tidies:
                _set_aside(folder)
                _log.warning(
                    "Checkpoint %s is damaged (%s: %s) and set aside%s.",
                    folder, type(error).__name__, error,
                    "" if restored else "; the one before it is used",
                )  # fmt: skip
            continue
        if restored:  # older ones are read only to find damage while there is another
            continue
        _check_same_program(
            folder, [_description(key, v.shape, v.dtype) for key, v in keyed.items()], found
        )
        for variable, value in zip(keyed.values(), values, strict=True):
            variable.assign(value)
        restored = step
    return restored


def _remove_unfinished(directory: AnyPath) -> None:
    """Removes what killed writers left."""
    finished = steps(directory)
    folders: list[AnyPath] = list(directory.iterdir())
    for folder in folders:
        match = _FOLDER.fullmatch(folder.name.removesuffix(_PARTIAL))
        counts = match and not folder.name.endswith(_PARTIAL) and int(match[1]) in finished
        if match and not counts and not (folder / _DAMAGED).exists():
            _remove(folder)


def not_finite(variables: Sequence[AnyVariable]) -> str | None:
    """The name of the first variable with a NaN or an infinity in it, None where there is none."""
    with tf.device("CPU:0"):
        for key, variable in _keyed(variables).items():
            if variable.dtype.is_floating and not tf.reduce_all(
                tf.math.is_finite(variable.read_value())
            ):
                return key.partition("/")[2]
    return None


def is_sound(directory: AnyPath, step: int) -> bool:
    """Whether the checkpoint of a step reads back without an error."""
    try:
        _read(directory / f"step-{step}", step)
    except _READ_ERRORS:
        return False
    return True


def steps(directory: AnyPath) -> list[int]:
    """Steps of the finished checkpoints, sorted."""
    matches = (
        _FOLDER.fullmatch(path.name)
        for path in directory.iterdir()
        if isinstance(path, Path) or (path / _COMPLETE).exists()
    )
    return sorted(int(match[1]) for match in matches if match)


def _remove(folder: AnyPath) -> None:
    """Removes a checkpoint so that it counts no longer from the first moment on."""
    if isinstance(folder, StoredPath):
        (folder / _COMPLETE).unlink(missing_ok=True)
        folder.rmtree()
        return
    partial = folder.with_name(folder.name.removesuffix(_PARTIAL) + _PARTIAL)
    if partial != folder:
        folder.rename(partial)
    shutil.rmtree(partial)


def _set_aside(folder: AnyPath) -> None:
    """Keeps a damaged checkpoint for whoever wants to look at it, out of the way."""
    if isinstance(folder, StoredPath):
        (folder / _DAMAGED).write_bytes(b"")
        (folder / _COMPLETE).unlink()
        return
    aside = folder.with_name(folder.name + _DAMAGED)
    shutil.rmtree(aside, ignore_errors=True)
    folder.rename(aside)


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


def _read(folder: AnyPath, step: int) -> tuple[list[str], list[np.ndarray]]:
    """Descriptions and values by position; reading a tensor checks its CRC."""
    reader = tf.compat.v1.train.NewCheckpointReader(str(folder / _BUNDLE))
    shapes, dtypes = reader.get_variable_to_shape_map(), reader.get_variable_to_dtype_map()
    keys = sorted(shapes.keys() - {_STEP_KEY})
    if int(reader.get_tensor(_STEP_KEY)) != step:
        raise ValueError(f"it holds step {reader.get_tensor(_STEP_KEY)}")
    found = [_description(key, shapes[key], dtypes[key]) for key in keys]
    return found, [reader.get_tensor(key) for key in keys]


def _check_same_program(folder: AnyPath, expected: list[str], found: list[str]) -> None:
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
