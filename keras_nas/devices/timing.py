"""Samples of several fresh processes: gathering them, and what they say.

A process's value of a model is the median over rounds of model time / reference network's time
next to it; the model's value is the median over processes. Where weights lie in memory differs
from process to process, so the spread between processes is the error that counts.
"""

from __future__ import annotations

import dataclasses
import hashlib
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from keras_nas import files
from keras_nas.devices.device import (
    Device,
    Profile,
    ProfilingDevice,
    Progress,
    Run,
    no_progress,
)
from keras_nas.space.blocks import positive_integer

Samples = TypeVar("Samples", Run, Profile)

MEDIAN_ERROR = math.sqrt(math.pi / 2)
"""Standard error of a median / that of a mean, for normal samples."""


@dataclasses.dataclass(frozen=True)
class Effort:
    """How long to measure: fresh processes are started until the typical error is small enough.

    Attributes:
      target_error: relative standard error that the typical model should reach.
      rounds: in each process.
      min_processes, max_processes: at least 2, and at most.

    Raises:
      ValueError: a value is out of its range.
    """

    target_error: float = 0.01
    rounds: int = 5
    min_processes: int = 3
    max_processes: int = 8

    def __post_init__(self) -> None:
        positive_integer(self.rounds, "rounds")
        if not self.target_error > 0:
            raise ValueError(f"target error should be above 0, received {self.target_error}.")
        if not 2 <= self.min_processes <= self.max_processes:
            raise ValueError(
                "an error is seen between at least 2 processes: needs 2 <= min_processes <= "
                f"max_processes, received {self.min_processes} and {self.max_processes}."
            )


def ratios(runs: Sequence[Run], name: str) -> NDArray[np.float64]:
    """[processes] median over rounds of a model's time / the reference network's."""
    return np.array([np.median(np.divide(r.ms[name], r.reference_ms[name])) for r in runs])


def ratio(runs: Sequence[Run], name: str) -> float:
    """A model's time / the reference network's: median over processes."""
    return float(np.median(ratios(runs, name)))


def reference_ms(runs: Sequence[Run]) -> float:
    """The reference network's time: median over processes of the median in each."""
    medians = [np.median(np.concatenate(list(run.reference_ms.values()))) for run in runs]
    return float(np.median(medians))


def reference_samples(run: Run) -> NDArray[np.float64]:
    """The reference network's times in one process, without repeats, ascending."""
    return np.unique(np.concatenate(list(run.reference_ms.values())))


def raw_ms(runs: Sequence[Run], name: str) -> float:
    """A model's time itself: median over processes of the median over rounds."""
    return float(np.median([np.median(run.ms[name]) for run in runs]))


def spread(runs: Sequence[Run], name: str) -> float:
    """Standard deviation between processes of a model's ratio, relative."""
    values = ratios(runs, name)
    return float(np.std(values, ddof=1) / np.median(values))


def typical_error(runs: Sequence[Run]) -> float:
    """Relative standard error of `ratio`, median over all models."""
    if len(runs) < 2:
        return math.inf
    spreads = [spread(runs, name) for name in runs[0].ms]
    return float(np.median(spreads)) * MEDIAN_ERROR / math.sqrt(len(runs))


def measure(
    device: Device,
    models: Mapping[str, Path],
    reference: Path,
    effort: Effort,
    *,
    samples_directory: Path | None = None,
    on_progress: Progress = no_progress,
) -> list[Run]:
    """Starts fresh processes until `effort` is satisfied.

    Args:
      device: where.
      models: name -> `.tflite` file.
      reference: file of the network that all are divided by.
      effort: how long.
      samples_directory: where the samples of every finished process are kept; those that are there
        already count, so that a measurement that was cut off goes on. It must belong to this device
        and to models that are the same where their names are.
      on_progress: called after each round.

    Raises:
      DeviceError: the device failed.
      ValueError: samples on disk are damaged.
    """

    def run(number: int, on_round: Callable[[int], None]) -> Run:
        return device.run(models, reference, rounds=effort.rounds, seed=number, on_round=on_round)

    what = f"timing {len(models)} models"
    place = samples_directory and samples_directory / f"run_{_digest(models)}"
    return _gather(run, Run, typical_error, effort, place, what, on_progress)


def profile(
    device: ProfilingDevice,
    models: Mapping[str, Path],
    reference: Path,
    effort: Effort,
    *,
    samples_directory: Path | None = None,
    on_progress: Progress = no_progress,
) -> list[Profile]:
    """Like `measure`, for the operations inside the models.

    Raises:
      DeviceError: the device failed.
      ValueError: samples on disk are damaged.
    """

    def run(number: int, on_round: Callable[[int], None]) -> Profile:
        return device.profile(
            models, reference, rounds=effort.rounds, seed=number, on_round=on_round
        )

    def error(profiles: Sequence[Profile]) -> float:
        return typical_error([whole(samples) for samples in profiles])

    what = f"profiling {len(models)} networks"
    place = samples_directory and samples_directory / f"profile_{_digest(models)}"
    return _gather(run, Profile, error, effort, place, what, on_progress)


def _digest(names: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(names).encode()).hexdigest()[:8]


def whole(profile: Profile) -> Run:
    """The models as a whole: the sums over their operations."""
    ms = {name: [math.fsum(row) for row in rounds] for name, rounds in profile.ms.items()}
    return Run(ms, profile.reference_ms)


def _gather(
    run: Callable[[int, Callable[[int], None]], Samples],
    kind: type[Samples],
    error: Callable[[list[Samples]], float],
    effort: Effort,
    place: Path | None,
    what: str,
    on_progress: Progress,
) -> list[Samples]:
    """Starts processes 0, 1, ... that left no samples yet, until the error is small enough.

    Args:
      run: starts one, given its number.
      kind: what it returns.
      error: relative, of several of them.
      effort, what, on_progress: as in `measure`; `what` names it.
      place: beginning of the samples' file names.
    """
    found: list[Samples] = []
    total = effort.max_processes * effort.rounds
    for number in range(effort.max_processes):
        if number >= effort.min_processes and error(found) <= effort.target_error:
            break

        text = f"{what}, process {number + 1}"
        on_round = _on_round(on_progress, number * effort.rounds, total, text)
        path = place and place.with_name(f"{place.name}_{number}.json")
        if path and path.exists():
            found.append(_read(path, kind))
            on_round(effort.rounds)
            continue
        samples = run(number, on_round)
        if path:
            files.write_json(path, dataclasses.asdict(samples))
        found.append(samples)
    return found


def _on_round(on_progress: Progress, before: int, total: int, what: str) -> Callable[[int], None]:
    return lambda done: on_progress(before + done, total, what)


def _read(path: Path, kind: type[Samples]) -> Samples:
    value = files.read_json(path, "timing samples")
    try:
        return kind(**value)
    except (TypeError, AttributeError, ValueError) as error:
        raise ValueError(
            f"timing samples {path} are damaged: {error} Delete the file; it is measured again."
        ) from None
