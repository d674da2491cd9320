"""Costs of stages of blocks against sums written out, and validation."""

import itertools
import math

import numpy as np
import pytest

from keras_nas.solvers.staged_costs import StagedCosts

BLOCKS = np.random.default_rng(0).random((2, 5, 3))
FIXED = [0.25, 4.0]
STAGE = [0, 0, 0, 1, 1]
DEPTHS = [[1, 2, 3], [2, 0, 1]]
ALLOWED_DEPTHS = [[True, True, True], [True, False, True]]


@pytest.fixture
def costs():
    return StagedCosts(BLOCKS, FIXED, STAGE, DEPTHS, allowed_beta=ALLOWED_DEPTHS)


def written_out(depth, configuration):
    """The cost of one network, block by block."""
    totals = []
    for r in range(2):
        terms = [FIXED[r]]
        for block, stage in enumerate(STAGE):
            if block - STAGE.index(stage) < DEPTHS[stage][depth[stage]]:
                terms.append(BLOCKS[r, block, configuration[block]])
        totals.append(math.fsum(terms))
    return totals


def networks():
    return itertools.product([(d, e) for d in range(3) for e in (0, 2)], np.ndindex(3, 3, 3, 3, 3))


def test_exact_smallest_and_largest_cost(costs):
    totals = []
    for depth, configuration in networks():
        totals.append(written_out(depth, configuration))
        np.testing.assert_array_equal(costs.exact_cost(depth, configuration), totals[-1])
    np.testing.assert_array_equal(costs.smallest_cost(), np.min(totals, axis=0))
    np.testing.assert_array_equal(costs.largest_cost(), np.max(totals, axis=0))


def test_expected_cost_is_the_mean_over_networks(costs):
    generator = np.random.default_rng(1)
    alpha, beta = generator.dirichlet(np.ones(3), 5), np.zeros((2, 3))
    beta[0], beta[1, [0, 2]] = generator.dirichlet(np.ones(3)), generator.dirichlet(np.ones(2))
    mean = np.zeros(2)
    for depth, configuration in networks():
        chance = beta[[0, 1], list(depth)].prod() * alpha[range(5), list(configuration)].prod()
        mean += chance * np.array(written_out(depth, configuration))
    np.testing.assert_allclose(costs.expected_cost(alpha, beta), mean)
    by_beta = costs.fixed + np.sum(costs.beta_costs(alpha) * beta, axis=(1, 2))
    np.testing.assert_allclose(by_beta, mean)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"block_costs": BLOCKS[0]}, "block_costs and fixed must have shapes"),
        ({"fixed": [1.0]}, "block_costs and fixed must have shapes"),
        ({"stage_of_block": [0, 1]}, "stage_of_block and depths must have shapes"),
        ({"stage_of_block": [1, 1, 0, 0, 0]}, "stage_of_block must rise"),
        ({"stage_of_block": [0, 0, 0, 1, 2]}, "stage_of_block must rise from 0 to at most 1"),
        ({"depths": [1, 2]}, "stage_of_block and depths must have shapes"),
        ({"depths": [[1, 2, 4], [2, 0, 1]]}, r"stages' blocks \[3, 2\]"),
        ({"block_costs": BLOCKS * np.nan}, "must be finite"),
        ({"allowed_alpha": np.zeros((5, 3))}, "allowed_alpha must allow an entry in every row"),
        ({"allowed_beta": np.ones((2, 2))}, r"allowed_beta must have shape \(2, 3\)"),
    ],
)
def test_bad_input(change, message):
    arguments = {
        "block_costs": BLOCKS,
        "fixed": FIXED,
        "stage_of_block": STAGE,
        "depths": DEPTHS,
        "allowed_beta": ALLOWED_DEPTHS,
    }
    with pytest.raises(ValueError, match=message):
        StagedCosts(**(arguments | change))
