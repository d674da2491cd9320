"""The feasible set: validation, reachable costs, membership."""

import itertools

import numpy as np
import pytest

from keras_nas.solvers.polytope import InfeasibleError, Polytope

COSTS = np.array([[3.0, 1.0, 1.0], [2.0, 5.0, 0.5]])
ALLOWED = np.array([[True, True, True], [True, True, False]])


def test_reachable_costs_equal_enumeration():
    generator = np.random.default_rng(0)
    for _ in range(20):
        costs = generator.normal(size=(2, 3, 4))
        allowed = generator.random((3, 4)) < 0.6
        allowed[:, 0] |= ~allowed.any(axis=1)
        polytope = Polytope(costs, [np.inf, np.inf], allowed)
        choices = itertools.product(*(np.flatnonzero(row) for row in allowed))
        totals = np.array([costs[:, range(3), list(choice)].sum(axis=1) for choice in choices])
        np.testing.assert_allclose(polytope.smallest_cost(), totals.min(axis=0))
        np.testing.assert_allclose(polytope.largest_cost(), totals.max(axis=0))


def test_lightest_ties_to_the_lower_index_and_skips_padding():
    polytope = Polytope(COSTS, 10.0, ALLOWED)
    np.testing.assert_array_equal(polytope.lightest(), [[0, 1, 0], [1, 0, 0]])
    assert polytope.expected_cost(polytope.lightest()) == polytope.smallest_cost() == 3.0


def test_lightest_of_several_resources_is_refused():
    with pytest.raises(ValueError, match="exactly one resource; this polytope has 2"):
        Polytope([COSTS, COSTS], [9.0, 9.0]).lightest()


@pytest.mark.parametrize(
    ("x", "inside"),
    [
        ([[0.0, 1.0, 0.0], [1.0, 0.0, 0.0]], True),
        ([[0.5, 0.5, 0.0], [1.0, 0.0, 0.0]], True),  # costs exactly the limit
        ([[0.6, 0.4, 0.0], [1.0, 0.0, 0.0]], False),  # over the limit
        ([[0.0, 0.9, 0.0], [1.0, 0.0, 0.0]], False),  # does not sum to 1
        ([[0.0, 1.5, -0.5], [1.0, 0.0, 0.0]], False),  # negative
        ([[0.0, 1.0, 0.0], [0.0, 0.0, 1.0]], False),  # padding
        ([[0.0, np.nan, 0.0], [1.0, 0.0, 0.0]], False),
    ],
)
def test_contains(x, inside):
    assert Polytope(COSTS, 4.0, ALLOWED).contains(x) is inside


def test_contains_tolerance_is_relative_to_the_limit():
    polytope = Polytope(COSTS * 1000, 4000.0, ALLOWED)
    x = [[0.5005, 0.4995, 0.0], [1.0, 0.0, 0.0]]  # costs 4001
    assert polytope.contains(x, 1e-3)
    assert not polytope.contains(x, 1e-4)


def test_padding_may_hold_anything():
    costs = np.where(ALLOWED, COSTS, np.nan)
    assert Polytope(costs, 4.0, ALLOWED).smallest_cost() == 3.0


def test_infeasible_error_gives_the_numbers():
    error = Polytope(COSTS, 2.5, ALLOWED).infeasible()
    assert isinstance(error, InfeasibleError)
    assert isinstance(error, ValueError)
    assert (error.limits, error.smallest, error.largest) == (2.5, 3.0, 8.0)
    assert "limit 2.5, smallest reachable 3, largest 8" in str(error)
    assert "below the smallest" in str(error)


def test_infeasible_error_tells_limits_that_conflict():
    error = InfeasibleError([2.0, 2.0], [1.0, 1.0], [3.0, 3.0])
    assert "not all of them together" in str(error)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((np.zeros(3), 1.0), r"costs must have shape \[R, G, K\].*received \(3,\)"),
        ((np.zeros((2, 0)), 1.0), "costs must have shape"),
        ((COSTS, [1.0, 2.0]), "one number for each of the 1 resources"),
        ((COSTS, np.nan), "limits must be numbers"),
        ((COSTS, -np.inf), "limits must be numbers"),
        ((COSTS, 1.0, np.ones((3, 3))), r"allowed must have shape \(2, 3\)"),
        ((COSTS, 1.0, ALLOWED & [[True], [False]]), r"none in rows \[1\]"),
        ((COSTS * np.inf, 1.0), "costs must be finite"),
    ],
)
def test_bad_input(arguments, message):
    with pytest.raises(ValueError, match=message):
        Polytope(*arguments)


def test_contains_and_x_of_another_shape():
    with pytest.raises(ValueError, match=r"x must have shape \(2, 3\); received \(3, 2\)"):
        Polytope(COSTS, 4.0).contains(COSTS.T)
