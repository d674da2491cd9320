"""The projection against brute force over all networks."""

import itertools

import numpy as np
import pytest
from scipy.optimize import OptimizeResult

from keras_nas.solvers import integer_program as module
from keras_nas.solvers.polytope import InfeasibleError, SolverError
from keras_nas.solvers.projection import project
from keras_nas.solvers.staged_costs import StagedCosts

STAGE = [0, 0, 1, 1, 1]
DEPTHS = [[1, 2, 0], [1, 2, 3]]
ALLOWED_BETA = np.array([[True, True, False], [True, True, True]])


def random_space(seed, resources=1):
    """Keywords of `project` without limits, its costs, and credits alpha and beta."""
    generator = np.random.default_rng(seed)
    block_costs = generator.random((resources, 5, 3))
    if seed % 2:  # many networks of equal cost
        block_costs = np.floor(4 * block_costs)
    allowed_alpha = generator.random((5, 3)) < 0.85
    allowed_alpha[:, 1] = True
    space = {
        "block_costs": block_costs,
        "fixed": generator.random(resources),
        "stage_of_block": STAGE,
        "depths": DEPTHS,
        "allowed_alpha": allowed_alpha,
        "allowed_beta": ALLOWED_BETA,
    }
    alpha = np.where(allowed_alpha, generator.random((5, 3)) + 0.3 * block_costs[0], 0)
    beta = np.where(ALLOWED_BETA, generator.random((2, 3)), 0)
    return space, StagedCosts(**space), alpha, beta


def all_networks(costs):
    """Depths, configurations and exact costs of every network."""
    for depth in itertools.product(*(np.flatnonzero(row) for row in costs.allowed_beta)):
        for choice in itertools.product(*(np.flatnonzero(row) for row in costs.allowed_alpha)):
            yield np.array(depth), np.array(choice), costs.exact_cost(depth, choice)


def credit(costs, alpha, beta, depth, configuration):
    """The objective: a block that the depth does not reach counts with its largest credit."""
    total = 0.0
    for block, stage in enumerate(STAGE):
        reached = block - STAGE.index(stage) < DEPTHS[stage][depth[stage]]
        row = alpha[block]
        total += row[configuration[block]] if reached else row[costs.allowed_alpha[block]].max()
    return total + sum(beta[stage, entry] for stage, entry in enumerate(depth))


@pytest.mark.parametrize("resources", [1, 2])
@pytest.mark.parametrize("seed", range(6))
def test_exact_equals_brute_force(seed, resources):
    space, costs, alpha, beta = random_space(seed, resources)
    networks = list(all_networks(costs))
    # Networks' own costs as limits too, where the limit holds with equality.
    own = [networks[i][2] for i in np.random.default_rng(seed).integers(len(networks), size=2)]
    low, high = costs.smallest_cost(), costs.largest_cost()
    for limits in (*own, low + 0.2 * (high - low), low + 0.4 * (high - low)):
        inside = [network for network in networks if np.all(network[2] <= limits)]
        if not inside:
            with pytest.raises(InfeasibleError):
                project(alpha, beta, limits=limits, **space)
            continue
        best = max(credit(costs, alpha, beta, depth, choice) for depth, choice, _ in inside)
        depth, configuration = project(alpha, beta, limits=limits, **space)
        assert np.all(costs.exact_cost(depth, configuration) <= limits)
        found = credit(costs, alpha, beta, depth, configuration)
        assert found == pytest.approx(best, abs=1e-9)
        assert costs.allowed_beta[[0, 1], depth].all()
        assert costs.allowed_alpha[range(5), configuration].all()


@pytest.mark.parametrize("limit", [np.inf, 1e6])
@pytest.mark.parametrize("method", ["exact", "lp"])
def test_without_a_binding_limit_it_is_the_argmax(method, limit):
    for seed in range(4):
        space, _, alpha, beta = random_space(seed)
        depth, configuration = project(alpha, beta, limits=limit, method=method, **space)
        plain = project(alpha, beta, limits=0.0, method="argmax", **space)
        np.testing.assert_array_equal(depth, plain[0])
        np.testing.assert_array_equal(configuration, plain[1])
        np.testing.assert_array_equal(plain[0], np.where(ALLOWED_BETA, beta, -1).argmax(axis=1))


def test_argmax_of_what_a_depth_does_not_reach():
    """The limit leaves one block of two; the other has its argmax, though it is dear."""
    space = {
        "block_costs": [[[1.0, 5.0], [1.0, 5.0]]],
        "fixed": [0.0],
        "stage_of_block": [0, 0],
        "depths": [[1, 2]],
    }
    alpha = [[0.5, 0.5], [0.1, 0.9]]
    for method, beta in (("exact", [[0.4, 0.6]]), ("lp", [[0.9, 0.1]])):
        depth, configuration = project(alpha, beta, limits=1.4, method=method, **space)
        assert (depth.tolist(), configuration.tolist()) == ([0], [0, 1])


def test_exact_at_the_smallest_cost_itself():
    for seed in range(8):
        space, costs, alpha, beta = random_space(seed)
        choice = project(alpha, beta, limits=costs.smallest_cost(), **space)
        assert costs.exact_cost(*choice) == costs.smallest_cost()


def test_costs_that_differ_by_less_than_the_solver_sees():
    """The better credit costs 1e-15 too much: a tolerance would take it."""
    space = {
        "block_costs": [[[1.0, 1.0 + 1e-15]]],
        "fixed": [0.0],
        "stage_of_block": [0],
        "depths": [[1]],
    }
    _, configuration = project([[0.1, 0.9]], [[1.0]], limits=1.0, **space)
    assert configuration.tolist() == [0]
    space["block_costs"] = [[[0.5, 1.0 + 1e-15]]]
    _, configuration = project([[0.1, 0.9]], [[1.0]], limits=1.0, **space)
    assert configuration.tolist() == [0]


def test_argmax_and_lp_may_break_the_limit_and_exact_never():
    broken = {"argmax": 0, "lp": 0, "exact": 0}
    for seed in range(0, 30, 2):
        space, costs, alpha, beta = random_space(seed)
        alpha /= alpha.sum(axis=1, keepdims=True)
        beta /= beta.sum(axis=1, keepdims=True)
        limits = costs.expected_cost(alpha, beta)
        for method in broken:
            choice = project(alpha, beta, limits=limits, method=method, **space)
            broken[method] += bool(np.any(costs.exact_cost(*choice) > limits))
    assert broken["exact"] == 0 < broken["lp"] <= broken["argmax"]


def test_infeasible_gives_smallest_and_largest():
    space, costs, alpha, beta = random_space(0)
    for method in ("exact", "lp"):
        with pytest.raises(InfeasibleError, match="below the smallest") as caught:
            project(alpha, beta, limits=costs.smallest_cost() - 0.01, method=method, **space)
        assert caught.value.limits.size == 1
    np.testing.assert_array_less(caught.value.smallest, caught.value.largest)


def test_limits_that_conflict():
    space = {
        "block_costs": [[[1.0, 3.0]], [[3.0, 1.0]]],
        "fixed": [0.0, 0.0],
        "stage_of_block": [0],
        "depths": [[1]],
    }
    with pytest.raises(InfeasibleError, match="not all of them together"):
        project([[0.5, 0.5]], [[1.0]], limits=[2.0, 2.0], **space)


def test_deterministic():
    space, costs, alpha, beta = random_space(1)
    limits = (costs.smallest_cost() + costs.largest_cost()) / 3
    first = project(alpha, beta, limits=limits, **space)
    second = project(alpha, beta, limits=limits, **space)
    np.testing.assert_array_equal(np.concatenate(first), np.concatenate(second))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"method": "round"}, "method must be one of exact, lp, argmax; received 'round'"),
        ({"alpha": np.ones((2, 3))}, r"alpha must be finite and of shape \(5, 3\)"),
        ({"beta": np.full((2, 3), np.nan)}, "beta must be finite"),
        ({"limits": [1.0, 2.0]}, "one number for each of the 1 resources"),
        ({"limits": np.nan}, "limits must hold one number"),
    ],
)
def test_bad_input(change, message):
    space, _, alpha, beta = random_space(0)
    arguments = {"alpha": alpha, "beta": beta, "limits": 9.0, **space}
    with pytest.raises(ValueError, match=message):
        project(**(arguments | change))


def test_failure_of_highs_is_an_error(monkeypatch):
    failed = OptimizeResult(status=4, success=False, message="numerical trouble", x=None)
    monkeypatch.setattr(module.scipy.optimize, "milp", lambda *_, **__: failed)
    space, costs, alpha, beta = random_space(0, resources=2)
    with pytest.raises(SolverError, match="numerical trouble"):
        project(alpha, beta, limits=costs.smallest_cost() + 0.1, **space)
