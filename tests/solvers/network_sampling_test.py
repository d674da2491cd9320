"""Drawing networks under limits, against all networks of a tiny space; and their neighbours."""

import itertools

import numpy as np
import pytest

from keras_nas.solvers import network_sampling
from keras_nas.solvers.network_sampling import keeps, neighbours, uniform_sampler
from keras_nas.solvers.polytope import InfeasibleError
from keras_nas.solvers.staged_costs import StagedCosts


@pytest.fixture
def costs():
    """Stages of one to three blocks and of none or one; one configuration is not allowed."""
    generator = np.random.default_rng(3)
    allowed = np.ones((4, 3), bool)
    allowed[1, 2] = allowed[2, 0] = False
    return StagedCosts(
        block_costs=generator.uniform(0.5, 2.0, (2, 4, 3)),
        fixed=[1.0, 0.3],
        stage_of_block=[0, 0, 0, 1],
        depths=[[1, 2, 3], [0, 1, 0]],
        allowed_alpha=allowed,
        allowed_beta=[[True] * 3, [True, True, False]],
    )


def name(costs, choice):
    """A network: depths, and configurations of the blocks that run."""
    depth, configuration = choice
    reached = np.flatnonzero(costs.reached(depth))
    return tuple(map(int, depth)), tuple((int(b), int(configuration[b])) for b in reached)


def all_networks(costs):
    """Every network once, with its costs."""
    found = {}
    for depth in itertools.product(range(3), range(2)):
        for configuration in itertools.product(range(3), repeat=4):
            reached = costs.reached(depth)
            if all(costs.allowed_alpha[b, c] for b, c in enumerate(configuration) if reached[b]):
                choice = np.array(depth), np.array(configuration)
                found[name(costs, choice)] = costs.exact_cost(*choice)
    return found


@pytest.mark.parametrize("quantile", [0.03, 0.3])
def test_every_network_within_the_limit_is_drawn_equally_often(costs, quantile):
    values = all_networks(costs)
    limit = np.quantile([cost[0] for cost in values.values()], quantile)
    limits = np.array([limit, np.inf])
    expected = {key for key, cost in values.items() if cost[0] <= limit}
    draw, generator = uniform_sampler(costs, limits), np.random.default_rng(0)
    draws = 25 * len(expected)
    counts = dict.fromkeys(expected, 0)
    for _ in range(draws):
        counts[name(costs, draw(generator))] += 1  # KeyError where it is over the limit
    chi_square = sum((count - 25) ** 2 / 25 for count in counts.values())
    freedom = len(expected) - 1
    assert abs(chi_square - freedom) <= 4 * np.sqrt(2 * max(freedom, 1))


def test_a_second_limit_is_kept_uniformly_too(costs):
    values = all_networks(costs)
    limits = np.quantile(list(values.values()), 0.4, axis=0)
    expected = {key for key, cost in values.items() if np.all(cost <= limits)}
    draw, generator = uniform_sampler(costs, limits), np.random.default_rng(1)
    drawn = [name(costs, draw(generator)) for _ in range(25 * len(expected))]
    assert set(drawn) == expected
    counts = np.array([drawn.count(key) for key in expected])
    assert np.sum((counts - 25) ** 2 / 25) <= len(expected) + 4 * np.sqrt(2 * len(expected))


def test_the_lightest_network_alone(costs):
    smallest = costs.smallest_cost()[0]
    draw = uniform_sampler(costs, [smallest, np.inf])
    generator = np.random.default_rng(0)
    assert {name(costs, draw(generator)) for _ in range(20)} == {name(costs, costs.lightest())}


def test_a_generator_repeats(costs):
    draw = uniform_sampler(costs, [4.0, np.inf])
    one, other = ([draw(g) for _ in range(5)] for g in map(np.random.default_rng, (7, 7)))
    for a, b in zip(one, other, strict=True):
        np.testing.assert_array_equal(np.concatenate(a), np.concatenate(b))


def test_neighbours_are_all_networks_one_choice_away(costs):
    values = all_networks(costs)
    limits = np.quantile(list(values.values()), 0.7, axis=0)
    choice = np.array([1, 1]), np.array([0, 1, 1, 0])
    found = [name(costs, other) for other in neighbours(costs, limits, choice)]
    expected = set()
    for depth in itertools.product(range(3), range(2)):
        for configuration in itertools.product(range(3), repeat=4):
            changes = (np.array(depth) != choice[0]).sum()
            changes += (np.array(configuration) != choice[1]).sum()
            key = name(costs, (np.array(depth), np.array(configuration)))
            if changes == 1 and key in values and np.all(values[key] <= limits):
                expected.add(key)
    expected.discard(name(costs, choice))
    assert set(found) == expected
    assert len(found) == len(expected)
    assert len(found) > 2


def test_what_cannot_be_drawn_is_refused(costs, monkeypatch):
    with pytest.raises(InfeasibleError):
        uniform_sampler(costs, [0.9 * costs.smallest_cost()[0], np.inf])
    negative = StagedCosts(-costs.block_costs, costs.fixed, costs.stage_of_block, costs.depths)
    with pytest.raises(ValueError, match="costs of at least 0, received -"):
        uniform_sampler(negative, [10.0, 10.0])
    monkeypatch.setattr(network_sampling, "DRAWS", 50)
    # Each limit can be kept by itself, but not both together.
    opposite = StagedCosts(
        [[[1.0, 2.0]], [[2.0, 1.0]]], [0.0, 0.0], [0], [[1]], [[True, True]], [[True]]
    )
    draw = uniform_sampler(opposite, [1.0, 1.0])
    with pytest.raises(ValueError, match="none keeps the limits"):
        draw(np.random.default_rng(0))
    assert not keeps(opposite, np.array([1.0, 1.0]), (np.array([0]), np.array([0])))
