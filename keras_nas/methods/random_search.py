"""Random search: the best of networks drawn uniformly among those that keep the limits."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike

from keras_nas.methods.sampled_search import Evaluated
from keras_nas.solvers.network_sampling import Choice, uniform_sampler
from keras_nas.solvers.staged_costs import StagedCosts


def random_search(
    fitness: Callable[[Choice], float],
    costs: StagedCosts,
    limits: ArrayLike,
    evaluations: int,
    *,
    seed: int,
) -> list[Evaluated]:
    """Evaluates so many networks, each drawn uniformly, whatever came before.

    Every network that keeps the limits is drawn with the same probability (see
    `solvers.network_sampling`): the projection of random credits would prefer some.

    Args:
      fitness: of depth entries [S] and configurations [B]; to be large.
      costs, limits: the feasible set, R resources and [R].
      evaluations: at least 1.
      seed: the same seed draws the same networks.

    Returns:
      The networks in the order they were evaluated.

    Raises:
      InfeasibleError: no network keeps a limit.
      ValueError: see `uniform_sampler`.
    """
    draw, generator = uniform_sampler(costs, limits), np.random.default_rng(seed)
    choices = [draw(generator) for _ in range(evaluations)]
    return [Evaluated(choice, fitness(choice)) for choice in choices]
