"""What searches that evaluate one network after the other have in common: their record."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np

from keras_nas import files
from keras_nas.solvers.network_sampling import Choice
from tpu.storage import AnyPath


@dataclasses.dataclass(frozen=True, eq=False)
class Evaluated:
    """A network and how good it is: depth entries [S], configurations [B], accuracy."""

    choice: Choice
    fitness: float


def best(networks: Sequence[Evaluated]) -> Evaluated:
    """The fittest; of equals the earliest."""
    return max(networks, key=lambda network: network.fitness)


def remembered(
    fitness: Callable[[Choice], float], path: AnyPath, *, writes: bool = True
) -> Callable[[Choice], float]:
    """`fitness` that keeps its values in a file: a search that is run again repeats at no cost.

    Args:
      fitness: of a network.
      path: of the file, read if it is there.
      writes: False on all but one of several hosts.

    Raises:
      ValueError: the file is damaged.
    """
    known = files.read_json(path, "evaluated networks") if path.exists() else {}

    def from_memory(choice: Choice) -> float:
        key = " ".join(str(int(number)) for number in np.concatenate(choice))
        if key not in known:
            known[key] = fitness(choice)
            if writes:
                files.write_json(path, known)
        return float(known[key])

    return from_memory
