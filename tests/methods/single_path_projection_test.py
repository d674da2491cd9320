"""The projection of gates against every network of a small space."""

import dataclasses
import itertools

import numpy as np
import pytest

from keras_nas.methods.single_path_projection import credits_of, found_networks, project_margins
from keras_nas.resources.expected_cost import staged_cost_model
from keras_nas.solvers.polytope import InfeasibleError
from keras_nas.space import ElasticStage, single_path
from keras_nas.space.single_path_gates import (
    SKIP,
    Gates,
    configurations_of_gates,
    gate_shapes,
    gates_of_configurations,
    skippable,
)

SPACE = single_path(
    name="small",
    stages=(
        ElasticStage(8, 2, min_depth=1, max_depth=2),
        ElasticStage(16, 2, min_depth=1, max_depth=1),
    ),
    kernel_sizes=(3, 5),
    expansion_ratios=(2, 3),
    se_ratios=(0, 0.5),
)
NETWORKS = list(itertools.product(range(8), (SKIP, *range(8)), range(8)))


def random_margins(seed):
    generator = np.random.default_rng(seed)
    return Gates(**{f: generator.normal(size=shape) for f, shape in gate_shapes(SPACE).items()})


def model(seed, name="latency_ms"):
    costs = np.random.default_rng(seed).uniform(0.5, 2.0, (3, 8))
    return staged_cost_model(SPACE, costs, name=name, fixed=1.0)


def literal_cost(model, network):
    return model.fixed + sum(model.block_costs[b, c] for b, c in enumerate(network) if c != SKIP)


def literal_credit(margins, network):
    """Minus the sizes of the margins that a network's gates stand against."""
    gates = gates_of_configurations(SPACE, network)
    credit = 0.0
    for field in gate_shapes(SPACE):
        for b, row in enumerate(getattr(gates, field)):
            if field != "expansion" and network[b] == SKIP:
                continue
            for g, state in enumerate(row):
                if field == "expansion" and g == 0 and not skippable(SPACE)[b]:
                    continue
                margin = getattr(margins, field)[b, g]
                credit -= abs(margin) if (margin >= 0) != bool(state) else 0.0
                if not state:
                    break  # gates behind a shut one do not count
    return credit


def decided(margins):
    hard = {f: (getattr(margins, f) >= 0).astype(float) for f in gate_shapes(SPACE)}
    hard["expansion"][~skippable(SPACE), 0] = 1
    return configurations_of_gates(SPACE, Gates(**hard))


@pytest.mark.parametrize("seed", range(4))
def test_credits(seed):
    margins = random_margins(seed)
    found = credits_of(SPACE, margins)
    for network in NETWORKS[::13]:
        rows = [found[b, c] for b, c in enumerate(network)]  # SKIP is the last column
        assert sum(rows) == pytest.approx(literal_credit(margins, network))


@pytest.mark.parametrize("seed", range(6))
def test_the_projection_is_the_best_of_all_networks(seed):
    margins, models = random_margins(seed), [model(seed), model(seed + 100, "macs")]
    costs = np.array([[literal_cost(m, network) for m in models] for network in NETWORKS])
    credits = np.array([literal_credit(margins, network) for network in NETWORKS])
    for share in (0.1, 0.3, 0.6):
        for used in (1, 2):
            limits = np.quantile(costs, share, axis=0)[:used]
            keeps = np.all(costs[:, :used] <= limits, axis=1)
            if not keeps.any():
                continue
            found = tuple(project_margins(SPACE, margins, models[:used], limits).tolist())
            index = NETWORKS.index(found)
            assert keeps[index]
            assert credits[index] == pytest.approx(credits[keeps].max(), abs=1e-5)


def test_without_a_limit_that_binds_nothing_changes():
    for seed in range(20):
        margins = random_margins(seed)
        found = project_margins(SPACE, margins, [model(seed)], [np.inf])
        np.testing.assert_array_equal(found, decided(margins))


def test_both_results():
    margins, latency = random_margins(1), model(1)
    limit = literal_cost(latency, decided(margins)) * 0.8
    found = found_networks(SPACE, margins, [latency], [limit])
    assert list(found) == ["search", "exact"]
    np.testing.assert_array_equal(found["search"].configurations, decided(margins))
    assert not found["search"].keeps_limits
    assert found["exact"].keeps_limits
    for row in found.values():
        expected = literal_cost(latency, row.configurations)
        assert row.costs["latency_ms"] == pytest.approx(expected)
        blocks = sum(map(len, row.architecture.stages[1:-1]))
        assert blocks == np.sum(row.configurations != SKIP)
    assert found["exact"].costs["latency_ms"] <= limit


def test_forbidden_choices_are_left_out():
    """As a limit on peak memory has it: configurations, and depths that none is left for."""
    margins, latency = random_margins(2), model(1)
    allowed = np.ones((3, 8), bool)
    allowed[0, decided(margins)[0]] = False
    depths = latency.allowed_depths.copy()
    depths[0, 1] = False  # stage 1 has a single block
    restricted = dataclasses.replace(latency, allowed=allowed, allowed_depths=depths)
    found = found_networks(SPACE, margins, [restricted], [np.inf])
    np.testing.assert_array_equal(found["search"].configurations, decided(margins))
    assert not found["search"].keeps_limits and found["exact"].keeps_limits
    credits = {
        network: literal_credit(margins, network)
        for network in NETWORKS
        if allowed[0, network[0]] and network[1] == SKIP
    }
    assert tuple(found["exact"].configurations.tolist()) == max(credits, key=credits.get)


def test_bad_margins_and_limits():
    with pytest.raises(InfeasibleError):
        project_margins(SPACE, random_margins(0), [model(0)], [1.0])
    wrong = Gates(np.zeros((2, 1)), np.zeros((3, 2)), np.zeros((3, 1)))
    with pytest.raises(ValueError, match=r"kernel margins of space 'small' .* shape \(3, 1\)"):
        credits_of(SPACE, wrong)
    nan = Gates(np.full((3, 1), np.nan), np.zeros((3, 2)), np.zeros((3, 1)))
    with pytest.raises(ValueError, match="should be finite"):
        credits_of(SPACE, nan)
    with pytest.raises(ValueError, match="one number for each of the 1 resources"):
        project_margins(SPACE, random_margins(0), [model(0)], [1.0, 2.0])
