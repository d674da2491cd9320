"""Frank-Wolfe: feasible at every iterate, and convergent to a known optimum."""

import numpy as np
import pytest

from keras_nas.solvers.feasible_start import balanced_start
from keras_nas.solvers.frank_wolfe import (
    STEP_RULES,
    averaged_gradient,
    block_frank_wolfe,
    duality_gap,
    frank_wolfe_update,
)
from keras_nas.solvers.linear_step import linear_step
from keras_nas.solvers.polytope import Polytope
from keras_nas.solvers.staged_costs import StagedCosts


def problem(seed, resources=1, fraction=0.3):
    """Costs of 2 stages of 3 blocks, polytopes, and a feasible start."""
    generator = np.random.default_rng(seed)
    costs = StagedCosts(
        generator.random((resources, 6, 4)),
        np.zeros(resources),
        [0, 0, 0, 1, 1, 1],
        [[1, 2, 3], [1, 2, 3]],
    )
    low, high = costs.smallest_cost(), costs.largest_cost()
    limits = low + fraction * (high - low)
    alpha_polytope = lambda beta: Polytope(costs.alpha_costs(beta), limits)  # noqa: E731
    beta_polytope = lambda alpha: Polytope(costs.beta_costs(alpha), limits)  # noqa: E731
    point = balanced_start(
        costs.alpha_costs,
        costs.beta_costs,
        costs.fixed,
        limits,
        costs.allowed_alpha,
        costs.allowed_beta,
    )
    return costs, limits, alpha_polytope, beta_polytope, point


def test_presets():
    paper, constant = STEP_RULES["paper"], STEP_RULES["constant"]
    assert [paper.step_size(t) for t in (0, 1, 4)] == [1.0, 0.8, 0.5]
    assert (constant.step_size(0), constant.step_size(999)) == (0.002, 0.002)
    assert (paper.gradient_average, constant.gradient_average) == (0.0, 0.9)


def test_averaged_gradient():
    assert averaged_gradient(None, np.array(2.0), 0.9) == 2.0
    assert averaged_gradient(np.array(1.0), np.array(2.0), 0.9) == pytest.approx(1.1)


def test_update():
    x, vertex = np.array([[0.5, 0.5]]), np.array([[1.0, 0.0]])
    np.testing.assert_allclose(frank_wolfe_update(x, vertex, 0.2), [[0.6, 0.4]])
    np.testing.assert_array_equal(frank_wolfe_update(x, vertex, 1.0), vertex)
    with pytest.raises(ValueError, match=r"gamma must be in \[0, 1\]; received 1.1"):
        frank_wolfe_update(x, vertex, 1.1)


@pytest.mark.parametrize("rule", STEP_RULES)
@pytest.mark.parametrize("resources", [1, 2])
def test_every_iterate_is_feasible(rule, resources):
    for seed in range(4):
        costs, limits, alpha_polytope, beta_polytope, (alpha, beta) = problem(seed, resources, 0.5)
        generator = np.random.default_rng(seed)

        def noise(alpha, beta, generator=generator):
            return generator.normal(size=alpha.shape), generator.normal(size=beta.shape)

        moved = set()
        for iterate in block_frank_wolfe(
            noise, alpha_polytope, beta_polytope, alpha, beta, 60, seed, rule
        ):
            assert alpha_polytope(iterate.beta).contains(iterate.alpha, 1e-12 * 60)
            assert beta_polytope(iterate.alpha).contains(iterate.beta, 1e-12 * 60)
            cost = costs.expected_cost(iterate.alpha, iterate.beta)
            assert np.all(cost <= limits * (1 + 1e-9))
            moved.add(iterate.block)
        assert moved == {"alpha", "beta"}
        assert iterate.step == 59


def test_converges_to_the_optimum_of_a_quadratic():
    """Projection of a target onto the alpha polytope; the gap bounds the distance in value."""
    _, _, alpha_polytope, beta_polytope, (alpha, beta) = problem(0)
    target = np.random.default_rng(5).normal(size=alpha.shape)

    def gradients(alpha, beta):
        return alpha - target, np.zeros_like(beta)

    *_, last = block_frank_wolfe(gradients, alpha_polytope, beta_polytope, alpha, beta, 3000, 0)
    polytope = alpha_polytope(last.beta)
    gradient = last.alpha - target
    gap = duality_gap(gradient, last.alpha, linear_step(polytope, gradient))
    start_gap = duality_gap(alpha - target, alpha, linear_step(polytope, alpha - target))
    assert 0 <= gap < 0.01 * start_gap


def test_a_linear_objective_is_solved_by_the_first_alpha_step():
    _, _, alpha_polytope, beta_polytope, (alpha, beta) = problem(1)
    gradient = np.random.default_rng(1).normal(size=alpha.shape)
    expected = linear_step(alpha_polytope(beta), gradient)
    for iterate in block_frank_wolfe(
        lambda a, b: (gradient, np.zeros_like(b)), alpha_polytope, beta_polytope, alpha, beta, 1, 0
    ):
        assert iterate.gamma == 1.0
        if iterate.block == "alpha":
            np.testing.assert_array_equal(iterate.alpha, expected)
            assert iterate.gap == pytest.approx(np.sum(gradient * (alpha - expected)))
        else:  # no gradient: every beta is optimal, the cheapest is taken
            np.testing.assert_array_equal(iterate.alpha, alpha)


def test_the_seed_decides_the_blocks():
    _, _, alpha_polytope, beta_polytope, (alpha, beta) = problem(2)

    def blocks(seed):
        return [
            iterate.block
            for iterate in block_frank_wolfe(
                lambda a, b: (a, b), alpha_polytope, beta_polytope, alpha, beta, 20, seed
            )
        ]

    assert blocks(0) == blocks(0) != blocks(1)


def test_bad_input():
    _, _, alpha_polytope, beta_polytope, (alpha, beta) = problem(3)
    arguments = (lambda a, b: (a, b), alpha_polytope, beta_polytope)
    with pytest.raises(ValueError, match="rule must be one of paper, constant; received 'fast'"):
        next(block_frank_wolfe(*arguments, alpha, beta, 1, 0, rule="fast"))
    with pytest.raises(ValueError, match="must be a feasible start"):
        next(block_frank_wolfe(*arguments, np.eye(4)[np.full(6, 3)] * 2, beta, 1, 0))
