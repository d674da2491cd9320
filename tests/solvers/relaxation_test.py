"""Relaxations of limits against enumeration."""

import itertools

import numpy as np
import pytest

from keras_nas.solvers.relaxation import (
    TOLERANCE,
    common_relaxation,
    feasible,
    smallest_within,
)
from keras_nas.solvers.staged_costs import StagedCosts


def random_costs(seed):
    """Two resources, two stages of two blocks, depth 1 or 2, three configurations."""
    generator = np.random.default_rng(seed)
    return StagedCosts(
        generator.uniform(0.5, 2.0, (2, 4, 3)), [0.3, 0.2], [0, 0, 1, 1], [[1, 2], [1, 2]]
    )


def all_costs(costs):
    """[networks, R] by enumeration."""
    choices = itertools.product(
        itertools.product(range(2), repeat=2), itertools.product(range(3), repeat=4)
    )
    return np.array([costs.exact_cost(np.array(d), np.array(c)) for d, c in choices])


@pytest.mark.parametrize("seed", range(20))
def test_against_every_network(seed):
    costs = random_costs(seed)
    every = all_costs(costs)
    smallest = every.min(axis=0)
    limits = smallest * np.random.default_rng(seed).uniform(1.0, 1.3, 2)
    keeps = (every <= limits).all(axis=1)
    assert feasible(costs, limits) == keeps.any()
    exact = max(0.0, (every / limits).max(axis=1).min() - 1)
    assert exact <= common_relaxation(costs, limits) + 1e-12 <= exact + 1.01 * TOLERANCE
    for r in (0, 1):
        within = every[every[:, 1 - r] <= limits[1 - r]][:, r]
        assert smallest_within(costs, limits, r) == pytest.approx(within.min(), rel=1e-9)


def test_no_network_keeps_the_others():
    costs = random_costs(0)
    assert smallest_within(costs, np.array([0.01, 9.0]), 1) is None
    assert smallest_within(costs, np.array([0.01, 9.0]), 0) is not None


def test_some_seeds_are_infeasible_together():
    found = set()
    for seed in range(20):
        costs = random_costs(seed)
        scale = np.random.default_rng(seed).uniform(1.0, 1.3, 2)
        found.add(feasible(costs, costs.smallest_cost() * scale))
    assert found == {True, False}
