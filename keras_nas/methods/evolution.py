"""Evolutionary search with aging (Real et al. 2019, arXiv 1802.01548, Algorithm 1), under limits.

A population of fixed size; each step a child of the best of a random sample joins it, and the
oldest leaves. Added to the paper's algorithm: limits that every individual keeps, and crossover.
"""

from __future__ import annotations

import collections
from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike

from keras_nas.methods.sampled_search import Evaluated, best
from keras_nas.solvers.network_sampling import Choice, keeps, neighbours, uniform_sampler
from keras_nas.solvers.staged_costs import StagedCosts


def evolution(
    fitness: Callable[[Choice], float],
    costs: StagedCosts,
    limits: ArrayLike,
    evaluations: int,
    *,
    population: int,
    tournament: int,
    crossover: float,
    seed: int,
) -> list[Evaluated]:
    """Regularised evolution.

    The first `population` networks are drawn uniformly among those that keep the limits. A child is
    a mutation of the winner of a tournament: one depth or one configuration is changed, uniformly
    among all such changes that keep the limits, so that nothing is drawn in vain. With the
    probability `crossover` it takes every stage, its depth with its configurations, from one of two
    winners instead; where that breaks a limit or is a parent again, it is a mutation after all.

    Args:
      fitness: of depth entries [S] and configurations [B]; to be large.
      costs, limits: the feasible set, R resources and [R].
      evaluations: of networks in all, the first population included.
      population: individuals alive at a time.
      tournament: individuals drawn, with replacement, whose fittest is a parent.
      crossover: share of children with two parents, 0 to 1.
      seed: of everything random.

    Returns:
      All networks in the order they were evaluated.

    Raises:
      InfeasibleError: no network keeps a limit.
      ValueError: a setting is out of its range; see also `uniform_sampler`.
    """
    _check(evaluations, population, tournament, crossover)
    limits = np.atleast_1d(np.asarray(limits, np.float64))
    draw, generator = uniform_sampler(costs, limits), np.random.default_rng(seed)
    alive: collections.deque[Evaluated] = collections.deque(maxlen=population)  # the oldest leaves
    history: list[Evaluated] = []

    def winner() -> Choice:
        drawn = generator.integers(len(alive), size=tournament)
        return best([alive[i] for i in drawn]).choice

    while len(history) < evaluations:
        if len(history) < population:
            choice = draw(generator)
        else:
            choice = winner()
            child = None
            if generator.uniform() < crossover:
                child = _crossed(costs, limits, choice, winner(), generator)
            choice = child or _mutated(costs, limits, choice, generator)
        alive.append(Evaluated(choice, fitness(choice)))
        history.append(alive[-1])
    return history


def _mutated(
    costs: StagedCosts, limits: np.ndarray, choice: Choice, generator: np.random.Generator
) -> Choice:
    options = neighbours(costs, limits, choice)
    return options[generator.integers(len(options))] if options else choice


def _crossed(
    costs: StagedCosts,
    limits: np.ndarray,
    one: Choice,
    other: Choice,
    generator: np.random.Generator,
) -> Choice | None:
    """A child that has each stage of one of its parents; None where that is no new network."""
    takes = generator.integers(2, size=len(one[0])) == 1  # [S]
    child = (
        np.where(takes, other[0], one[0]),
        np.where(takes[costs.stage_of_block], other[1], one[1]),
    )
    new = all(any(np.any(a != b) for a, b in zip(child, p, strict=True)) for p in (one, other))
    return child if new and keeps(costs, limits, child) else None


def _check(evaluations: int, population: int, tournament: int, crossover: float) -> None:
    if not 1 <= population <= evaluations:
        raise ValueError(
            f"population should be between 1 and the {evaluations} evaluations; received "
            f"{population}."
        )
    if tournament < 1:
        raise ValueError(f"tournament should be at least 1; received {tournament}.")
    if not 0 <= crossover <= 1:
        raise ValueError(f"crossover should be between 0 and 1; received {crossover}.")
