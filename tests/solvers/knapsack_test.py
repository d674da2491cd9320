"""The knapsack against the integer program on networks too large for brute force."""

import numpy as np
import pytest

from keras_nas.solvers import integer_program as highs
from keras_nas.solvers.integer_program import best_network_highs
from keras_nas.solvers.knapsack import best_network
from keras_nas.solvers.polytope import SolverError
from keras_nas.solvers.projection import project
from keras_nas.solvers.staged_costs import StagedCosts

STAGE = np.repeat(np.arange(5), 4)
DEPTHS = np.tile([2, 3, 4], (5, 1))


def gain_of(costs, gain_alpha, gain_beta, depth, configuration):
    reached = np.flatnonzero(costs.reached(depth))
    return gain_alpha[reached, configuration[reached]].sum() + gain_beta[range(5), depth].sum()


def random_problem(seed):
    """HardCoRe-NAS' space of 20 blocks with 12 configurations; credits favour what is dear."""
    generator = np.random.default_rng(seed)
    block_costs = generator.random((1, 20, 12)) * np.linspace(0.5, 1.5, 12)
    if seed % 3 == 1:
        block_costs = np.round(block_costs, 1)  # many networks of equal cost
    alpha = block_costs[0] ** 2 * generator.dirichlet(np.full(12, 0.5), 20)
    if seed % 3 == 2:  # gains of either sign
        alpha -= alpha.mean(axis=1, keepdims=True)
    costs = StagedCosts(block_costs, [1.0], STAGE, DEPTHS)
    low, high = costs.smallest_cost()[0], costs.largest_cost()[0]
    return costs, alpha, generator.dirichlet(np.ones(3), 5), low + (high - low) * 0.03 * (seed + 1)


@pytest.mark.parametrize("seed", range(9))
def test_equals_the_integer_program(seed):
    costs, alpha, beta, limit = random_problem(seed)
    choice = best_network(alpha, beta, costs, limit)
    reference = best_network_highs(alpha, beta, costs, np.array([limit]))
    assert costs.exact_cost(*choice) <= limit
    assert costs.exact_cost(*reference) <= limit
    expected = gain_of(costs, alpha, beta, *reference)
    assert gain_of(costs, alpha, beta, *choice) == pytest.approx(expected, abs=2e-6)


def test_gains_in_proportion_to_costs_end_with_a_proven_gap():
    """Every network is as good as its cost: billions compete, and the limit bounds them all."""
    costs, _, _, limit = random_problem(3)
    gain = 0.1 * costs.block_costs[0]
    with pytest.warns(UserWarning, match="proven to be within") as caught:
        depth, configuration = best_network(gain, np.zeros((5, 3)), costs, limit)
    gap = float(str(caught[0].message).split("within ")[1].split()[0])
    assert costs.exact_cost(depth, configuration) <= limit
    found = gain_of(costs, gain, np.zeros((5, 3)), depth, configuration)
    assert 0.1 * (limit - costs.fixed[0]) - found <= gap < 0.01


def test_gains_without_cost_or_difference():
    costs = StagedCosts(np.ones((1, 20, 12)), [0.0], STAGE, DEPTHS)
    depth, _ = best_network(np.zeros((20, 12)), np.zeros((5, 3)), costs, 11.0)
    assert costs.exact_cost(depth, np.zeros(20, np.intp)) <= 11.0


def test_a_solver_that_breaks_a_limit_is_found_out(monkeypatch):
    """project() computes the cost itself, whatever HiGHS says."""
    costs = StagedCosts(np.arange(4.0).reshape(2, 1, 2), [0.0, 0.0], [0], [[1]])

    def over(*_):
        return np.array([0]), np.array([1])

    monkeypatch.setattr("keras_nas.solvers.projection.best_network_highs", over)
    with pytest.raises(SolverError, match="over the limits"):
        project(
            [[0.1, 0.9]],
            [[1.0]],
            block_costs=costs.block_costs,
            fixed=costs.fixed,
            limits=[0.5, 2.5],
            stage_of_block=[0],
            depths=[[1]],
        )


def test_highs_solves_again_where_it_oversteps(monkeypatch):
    """The first answer is over the limit by HiGHS' tolerance; the second, below, is taken."""
    costs = StagedCosts([[[0.5, 1.0 + 1e-12]]], [0.0], [0], [[1]])
    limits_seen = []
    original = highs._integer_program

    def recorded(gain_alpha, gain_beta, costs, limits):
        limits_seen.append(limits[0])
        return original(gain_alpha, gain_beta, costs, limits)

    monkeypatch.setattr(highs, "_integer_program", recorded)
    choice = best_network_highs(np.array([[0.1, 0.9]]), np.ones((1, 1)), costs, np.array([1.0]))
    assert choice[1].tolist() == [0]
    assert len(limits_seen) > 1 and limits_seen[-1] < 1.0
