"""Feasible starts: exactly feasible, as balanced as the limits allow."""

import numpy as np
import pytest
import scipy.optimize

from keras_nas.solvers import feasible_start as module
from keras_nas.solvers.feasible_start import balanced_start, lightest_start, most_balanced
from keras_nas.solvers.polytope import InfeasibleError, Polytope, SolverError
from keras_nas.solvers.staged_costs import StagedCosts


def random_costs(seed, resources=1):
    """Stages of 3, 2 and 3 blocks; the second stage has one depth fewer."""
    generator = np.random.default_rng(seed)
    return StagedCosts(
        generator.random((resources, 8, 5)) + 0.1,
        generator.random(resources),
        [0, 0, 0, 1, 1, 2, 2, 2],
        [[1, 2, 3], [1, 2, 0], [1, 2, 3]],
        allowed_beta=[[True] * 3, [True, True, False], [True] * 3],
    )


def start(function, costs, limits, **keywords):
    return function(
        costs.alpha_costs,
        costs.beta_costs,
        costs.fixed,
        limits,
        costs.allowed_alpha,
        costs.allowed_beta,
        **keywords,
    )


def between(costs, fraction):
    low, high = costs.smallest_cost(), costs.largest_cost()
    return low + fraction * (high - low)


def assert_feasible(costs, limits, alpha, beta):
    assert np.all(alpha >= 0) and np.all(beta >= 0)
    np.testing.assert_allclose(alpha.sum(axis=1), 1.0, rtol=0, atol=1e-12)
    np.testing.assert_allclose(beta.sum(axis=1), 1.0, rtol=0, atol=1e-12)
    assert np.all(beta[~costs.allowed_beta] == 0)
    assert np.all(costs.expected_cost(alpha, beta) <= limits)  # no tolerance


@pytest.mark.parametrize("function", [lightest_start, balanced_start])
@pytest.mark.parametrize("resources", [1, 2, 3])
def test_exactly_feasible(function, resources):
    for seed in range(12):
        costs = random_costs(seed, resources)
        limits = between(costs, [0.02, 0.1, 0.5, 2.0][seed % 4] + 0.2 * (resources > 1))
        assert_feasible(costs, limits, *start(function, costs, limits))


def test_lightest_is_the_lightest_network():
    costs = random_costs(0)
    alpha, beta = start(lightest_start, costs, between(costs, 0.5))
    assert set(np.unique(alpha)) | set(np.unique(beta)) == {0.0, 1.0}
    assert costs.expected_cost(alpha, beta) == pytest.approx(costs.smallest_cost())


def test_a_limit_at_the_smallest_cost_leaves_the_lightest():
    costs = random_costs(1)
    limits = costs.smallest_cost()
    alpha, beta = start(balanced_start, costs, limits)
    assert costs.expected_cost(alpha, beta) == pytest.approx(limits, rel=1e-12)


def test_without_a_binding_limit_every_row_is_uniform():
    costs = random_costs(2)
    for limits in (between(costs, 1.5), [np.inf]):
        alpha, beta = start(balanced_start, costs, limits)
        np.testing.assert_allclose(alpha, 1 / 5, atol=1e-9)
        rows = costs.allowed_beta.sum(axis=1, keepdims=True)
        np.testing.assert_allclose(beta, costs.allowed_beta / rows, atol=1e-9)


def test_several_limits_that_only_a_mixture_keeps():
    """Either configuration breaks a limit; half of each keeps both."""
    costs = StagedCosts([[[1.0, 3.0]], [[3.0, 1.0]]], [0.0, 0.0], [0], [[1]])
    alpha, _ = start(lightest_start, costs, [2.0, 2.0])
    np.testing.assert_allclose(alpha, [[0.5, 0.5]], atol=1e-9)
    with pytest.raises(InfeasibleError, match="not all of them together") as caught:
        start(lightest_start, costs, [1.9, 1.9])
    np.testing.assert_allclose(caught.value.smallest, [1, 1])
    np.testing.assert_allclose(caught.value.largest, [3, 3])


@pytest.mark.parametrize("function", [lightest_start, balanced_start])
def test_infeasible_gives_smallest_and_largest(function):
    costs = random_costs(3)
    with pytest.raises(InfeasibleError) as caught:
        start(function, costs, costs.smallest_cost() * 0.999)
    np.testing.assert_allclose(caught.value.smallest, costs.smallest_cost())
    np.testing.assert_allclose(caught.value.largest, costs.largest_cost())


def test_shapes_must_agree():
    costs = random_costs(3)
    with pytest.raises(ValueError, match=r"fixed and limits must both have shape \[R\]"):
        start(lightest_start, costs, [1.0, 2.0])


@pytest.mark.parametrize("seed", range(4))
def test_quadratic_program_against_scipy(seed):
    """The same objective minimised by an unrelated general solver, SLSQP."""
    generator = np.random.default_rng(seed)
    costs = generator.random((1, 3, 4))
    reachable = Polytope(costs, np.inf)
    low, high = reachable.smallest_cost(), reachable.largest_cost()
    polytope = Polytope(costs, low + 0.3 * (high - low))
    order = np.argsort(costs[0], axis=1)

    def unevenness(x):
        return np.sum(np.diff(np.take_along_axis(x.reshape(3, 4), order, axis=1)) ** 2)

    feasible = Polytope(costs[0], polytope.limits).lightest()
    reference = scipy.optimize.minimize(
        unevenness,
        np.full(12, 0.25),
        bounds=[(0, 1)] * 12,
        constraints=[
            {"type": "eq", "fun": lambda x: x.reshape(3, 4).sum(axis=1) - 1},
            {"type": "ineq", "fun": lambda x: polytope.limits[0] - costs.ravel() @ x},
        ],
        options={"ftol": 1e-14, "maxiter": 500},
    )
    x = most_balanced(polytope, order, feasible)
    assert polytope.contains(x)
    np.testing.assert_allclose(x.ravel(), reference.x, atol=1e-4)
    assert unevenness(x) <= reference.fun + 1e-9


def test_rounds_converge_to_a_point_that_neither_program_moves():
    costs = random_costs(4)
    limits = between(costs, 0.2)
    alpha, beta = start(balanced_start, costs, limits)
    again = most_balanced(
        Polytope(costs.alpha_costs(beta), limits - costs.fixed),
        np.argsort(costs.block_costs[0], axis=1),
        alpha,
    )
    np.testing.assert_allclose(again, alpha, atol=1e-3)
    lightest = start(lightest_start, costs, limits)[1]
    assert np.max(beta) < 1.0 <= np.max(lightest)  # more even than the lightest


def test_failure_of_quadprog_is_an_error(monkeypatch):
    def refuse(*_, **__):
        raise ValueError("matrix G is not positive definite")

    monkeypatch.setattr(module.quadprog, "solve_qp", refuse)
    costs = random_costs(5)
    with pytest.raises(SolverError, match="matrix G is not positive definite"):
        start(balanced_start, costs, between(costs, 0.5))
