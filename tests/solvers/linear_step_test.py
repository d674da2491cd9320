"""The linear step: two independent solvers, brute force, and HC Theorem 3.1."""

import itertools

import numpy as np
import pytest
from scipy.optimize import OptimizeResult

from keras_nas.solvers import linear_step as module
from keras_nas.solvers.linear_step import (
    idle_rows,
    linear_step,
    linear_step_dual,
    linear_step_highs,
)
from keras_nas.solvers.polytope import InfeasibleError, Polytope, SolverError

SOLVERS = [linear_step_dual, linear_step_highs]


def random_program(seed, rows=None, entries=None):
    """A polytope with one limit and a gradient; kinds of degeneracy rotate with the seed."""
    generator = np.random.default_rng(seed)
    rows = rows or generator.integers(1, 15)
    entries = entries or generator.integers(1, 13)
    allowed = generator.random((rows, entries)) < 0.8
    allowed[np.arange(rows), generator.integers(entries, size=rows)] = True
    costs, gradient = generator.random((rows, entries)), generator.normal(size=(rows, entries))
    if seed % 4 == 1:  # equal costs and equal gradients, many corners on one line
        costs, gradient = np.floor(4 * costs), np.round(gradient)
    if seed % 4 == 2:
        costs[:] = costs[0, 0]
    if seed % 4 == 3:
        gradient = -costs + 1e-3 * np.round(gradient)
    reachable = Polytope(costs, np.inf, allowed)
    low, high = reachable.smallest_cost()[0], reachable.largest_cost()[0]
    limit = [low + generator.random() * (high - low), low, high, 3 * high + 1][(seed // 4) % 4]
    return Polytope(costs, limit, allowed), gradient


def fractional_entries(x):
    """Number of entries strictly between 0 and 1 in each row that has any."""
    inside = (x > 1e-9) & (x < 1 - 1e-9)
    return inside.sum(axis=1)[inside.any(axis=1)]


@pytest.mark.parametrize("start", range(0, 400, 50))
def test_solvers_agree_and_theorem_3_1_holds(start):
    for seed in range(start, start + 50):
        polytope, gradient = random_program(seed)
        objectives = []
        for solve in SOLVERS:
            x = solve(polytope, gradient)
            assert polytope.contains(x, 1e-9), (solve, seed)
            fractional = fractional_entries(x)
            assert fractional.size <= 1 and np.all(fractional == 2), (solve, seed)
            objectives.append(np.sum(np.where(polytope.allowed, gradient, 0) * x))
        assert objectives[0] == pytest.approx(objectives[1], abs=1e-9), seed


@pytest.mark.parametrize("solve", SOLVERS)
def test_no_better_vertex_exists(solve):
    """Brute force: all vertices are choices of entries, with a mixture in at most one row."""
    for seed in range(40):
        polytope, gradient = random_program(seed, rows=3, entries=3)
        costs, limit = polytope.costs[0], polytope.limits[0]
        points = [
            (costs[range(3), list(choice)].sum(), gradient[range(3), list(choice)].sum(), choice)
            for choice in itertools.product(*(np.flatnonzero(row) for row in polytope.allowed))
        ]
        best = min(value for cost, value, _ in points if cost <= limit + 1e-12)
        for (cost, value, choice), (cost_2, value_2, choice_2) in itertools.permutations(points, 2):
            one_row = sum(a != b for a, b in zip(choice, choice_2, strict=True)) == 1
            if one_row and cost < limit < cost_2:
                best = min(best, value + (value_2 - value) * (limit - cost) / (cost_2 - cost))
        x = solve(polytope, gradient)
        assert np.sum(np.where(polytope.allowed, gradient, 0) * x) == pytest.approx(best, abs=1e-9)


def test_ties_to_the_lower_cost_then_the_lower_index():
    gradient = np.array([[1.0, 1.0, 1.0], [0.0, 0.0, 5.0]])
    costs = np.array([[2.0, 1.0, 1.0], [4.0, 4.0, 0.0]])
    x = linear_step_dual(Polytope(costs, 10.0), gradient)
    np.testing.assert_array_equal(x, [[0, 1, 0], [1, 0, 0]])


def test_equally_steep_rows_are_bought_in_their_order():
    costs, gradient = np.array([[0.0, 1.0]] * 3), np.array([[0.0, -1.0]] * 3)
    x = linear_step_dual(Polytope(costs, 1.5), gradient)
    np.testing.assert_array_equal(x, [[0, 1], [0.5, 0.5], [1, 0]])


@pytest.mark.parametrize("solve", SOLVERS)
def test_idle_rows_keep_their_value(solve):
    costs = np.array([[1.0, 2.0], [0.0, 0.0], [1.0, 3.0]])
    gradient = np.array([[0.0, -1.0], [0.0, 0.0], [0.0, -1.0]])
    current = np.array([[1.0, 0.0], [0.3, 0.7], [1.0, 0.0]])
    polytope = Polytope(costs, 4.0)
    idle = idle_rows(polytope, gradient)
    np.testing.assert_array_equal(idle, [False, True, False])
    x = solve(polytope, gradient, idle, current)
    np.testing.assert_allclose(x, [[0, 1], [0.3, 0.7], [0.5, 0.5]], atol=1e-9)


@pytest.mark.parametrize("solve", SOLVERS)
def test_kept_rows_use_up_their_cost(solve):
    costs, gradient = np.array([[0.0, 1.0]] * 2), np.array([[0.0, -1.0]] * 2)
    current = np.array([[0.25, 0.75], [1.0, 0.0]])
    x = solve(Polytope(costs, 1.0), gradient, [True, False], current)
    np.testing.assert_allclose(x, [[0.25, 0.75], [0.75, 0.25]], atol=1e-9)
    everything = solve(Polytope(costs, 1.0), gradient, [True, True], current)
    np.testing.assert_array_equal(everything, current)
    with pytest.raises(InfeasibleError):
        solve(Polytope(costs, 0.5), gradient, [True, True], current)


def test_idle_rows_ignore_padding():
    polytope = Polytope([[0.0, 9.0], [0.0, 0.0]], 1.0, [[True, False], [True, True]])
    np.testing.assert_array_equal(idle_rows(polytope, [[0.0, 5.0], [0.0, 1.0]]), [True, False])


def test_highs_keeps_several_limits():
    """Two limits: the optimum equals the best bound from the dual solver, as duality demands."""
    generator = np.random.default_rng(0)
    for _ in range(15):
        costs, gradient = generator.random((2, 6, 5)), generator.normal(size=(6, 5))
        low = Polytope(costs, [np.inf, np.inf]).smallest_cost()
        both = Polytope(costs, low + 2.0)
        x = linear_step(both, gradient)
        assert both.contains(x, 1e-9)
        # Weak duality: a price on the second limit bounds the optimum from below, and at the
        # best price, meets it.
        bounds = []
        for price in np.linspace(0, 20, 201):
            relaxed = Polytope(costs[0], both.limits[0])
            priced = gradient + price * costs[1]
            y = linear_step_dual(relaxed, priced)
            bounds.append(np.sum(priced * y) - price * both.limits[1])
        assert max(bounds) <= np.sum(gradient * x) + 1e-9
        assert max(bounds) == pytest.approx(np.sum(gradient * x), abs=0.1)
        inside = (x > 1e-9) & (x < 1 - 1e-9)
        assert inside.sum() <= 4  # two limits: at most two entries too many


@pytest.mark.parametrize("scale", [1e-9, 1e9])
@pytest.mark.parametrize("solve", SOLVERS)
def test_units_do_not_matter(solve, scale):
    polytope, gradient = random_program(0, rows=8, entries=5)
    scaled = Polytope(polytope.costs * scale, polytope.limits * scale, polytope.allowed)
    expected = linear_step_dual(polytope, gradient)
    np.testing.assert_allclose(solve(scaled, gradient / scale), expected, atol=1e-6)


@pytest.mark.parametrize("solver", ["auto", "dual", "highs"])
def test_infeasible_gives_smallest_and_largest(solver):
    polytope = Polytope([[1.0, 2.0], [3.0, 4.0]], 3.9)
    with pytest.raises(InfeasibleError, match=r"limit 3\.9, smallest reachable 4, largest 6"):
        linear_step(polytope, np.zeros((2, 2)), solver)


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"gradient": np.zeros((2, 3))}, r"gradient must have shape \(2, 2\)"),
        ({"gradient": np.full((2, 2), np.nan)}, "gradient must be finite"),
        ({"solver": "simplex"}, "solver must be auto, dual or highs; received 'simplex'"),
        ({"idle": [True]}, r"idle must have shape \(2,\)"),
        ({"idle": [True, False]}, "current, which must have shape"),
        ({"idle": [True, False], "current": np.zeros((1, 2))}, r"received \(1, 2\)"),
    ],
)
def test_bad_input(keywords, message):
    arguments = {"polytope": Polytope(np.ones((2, 2)), 3.0), "gradient": np.zeros((2, 2))}
    with pytest.raises(ValueError, match=message):
        linear_step(**(arguments | keywords))


def test_dual_refuses_several_resources():
    with pytest.raises(ValueError, match="takes one resource, received 2"):
        linear_step_dual(Polytope(np.ones((2, 1, 1)), [2.0, 2.0]), np.zeros((1, 1)))


def test_failure_of_highs_is_an_error(monkeypatch):
    failed = OptimizeResult(status=4, success=False, message="numerical trouble")
    monkeypatch.setattr(module.scipy.optimize, "linprog", lambda *_, **__: failed)
    with pytest.raises(SolverError, match="numerical trouble"):
        linear_step_highs(Polytope(np.ones((2, 2)), 3.0), np.zeros((2, 2)))
