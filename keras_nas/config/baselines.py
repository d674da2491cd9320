"""The settings of the searches that the front of several limits is compared with."""

import dataclasses

# No `from __future__ import annotations`: config_flags needs the fields' types, not their names.


@dataclasses.dataclass
class BaselinesConfig:
    """Random search and evolution (arXiv 1802.01548) on the one-shot weights, under each limit.

    Attributes:
      evaluations: networks that each search evaluates under a limit; 0 leaves both out.
      images: held-out images, at most, that a network is evaluated on.
      population, tournament, crossover: of evolution; individuals alive, individuals that compete
        to be a parent, and share of children with two parents.
    """

    evaluations: int = 32
    images: int = 1000
    population: int = 8
    tournament: int = 3
    crossover: float = 0.3
