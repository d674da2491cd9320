import itertools

import numpy as np
import pytest

from keras_nas.resources import (
    cost_model,
    macs,
    parameters,
    piece_macs,
    piece_parameters,
)
from keras_nas.space import HARDCORE_NAS, Block, ElasticStage, Head, SearchSpace

SPACE = SearchSpace(
    name="tiny",
    first_stages=((Block("ds", 3, 1, 8),),),
    stages=(ElasticStage(8, 2, "relu", 1, 3), ElasticStage(16, 2, "swish", 2, 2)),
    kernel_sizes=(3, 5),
    expansion_ratios=(2,),
    se_ratios=(0.25,),
    head=Head(16),
    resolution=20,
)
CLASSES = 3


def every_choice(space):
    """All (depth entries [S], configurations [B]) of a space, with repeats beyond the depth."""
    entries = [range(sum(depth > 0 for depth in row)) for row in space.depths]
    configurations = [range(len(space.configurations))] * len(space.stage_of_block)
    return itertools.product(itertools.product(*entries), itertools.product(*configurations))


def to_architecture(space, depth_entries, configurations):
    depths = [space.depths[s][d] for s, d in enumerate(depth_entries)]
    return space.architecture(depths, configurations)


def random_distributions(space, seed):
    generator = np.random.default_rng(seed)
    alpha = generator.dirichlet(np.ones(len(space.configurations)), size=len(space.stage_of_block))
    beta = generator.uniform(size=(len(space.stages), len(space.depths[0])))
    beta *= np.array(space.depths) > 0
    return alpha, beta / beta.sum(1, keepdims=True)


@pytest.fixture(scope="module")
def model():
    return cost_model(SPACE, piece_macs, CLASSES, name="macs", overhead=1000.0)


@pytest.fixture(scope="module")
def costs():
    """Cost of every choice, from the networks themselves."""
    return {
        choice: 1000.0 + macs(to_architecture(SPACE, *choice), SPACE.input_shape, CLASSES)
        for choice in every_choice(SPACE)
    }


def test_expected_is_the_mean_over_all_architectures(model, costs):
    for seed in range(3):
        alpha, beta = random_distributions(SPACE, seed)
        blocks, stages = np.arange(len(alpha)), np.arange(len(beta))
        mean = sum(
            np.prod(beta[stages, depths]) * np.prod(alpha[blocks, configurations]) * cost
            for (depths, configurations), cost in costs.items()
        )
        assert model.expected(alpha, beta) == pytest.approx(mean, rel=1e-12)
        bilinear = alpha.reshape(-1) @ model.theta() @ beta.reshape(-1)
        assert model.fixed + bilinear == pytest.approx(mean, rel=1e-12)


def test_exact_is_the_cost_of_the_network(model, costs):
    for (depths, configurations), cost in costs.items():
        assert model.exact(depths, configurations) == cost


def test_smallest_and_largest(model, costs):
    assert model.smallest() == min(costs.values())
    assert model.largest() == max(costs.values())


def test_extremes_of_costs_in_no_order():
    """Nothing says that a table grows with the configuration."""
    generator = np.random.default_rng(5)
    table = {}
    model = cost_model(
        SPACE,
        lambda piece: table.setdefault(piece.key, generator.uniform(0.1, 1.0)),
        CLASSES,
        name="latency_ms",
    )
    exact = [model.exact(*choice) for choice in every_choice(SPACE)]
    assert model.smallest() == pytest.approx(min(exact), rel=1e-14)
    assert model.largest() == pytest.approx(max(exact), rel=1e-14)


def test_gradients_equal_finite_differences(model):
    alpha, beta = random_distributions(SPACE, 7)
    step = 1e-3
    for gradient, array, place in (
        (model.alpha_costs(beta), alpha, 0),
        (model.beta_costs(alpha), beta, 1),
    ):
        assert gradient.shape == array.shape
        for index in np.ndindex(array.shape):
            up, down = array.copy(), array.copy()
            up[index] += step
            down[index] -= step
            points = [(up, beta), (down, beta)] if place == 0 else [(alpha, up), (alpha, down)]
            difference = (model.expected(*points[0]) - model.expected(*points[1])) / (2 * step)
            assert gradient[index] == pytest.approx(difference, rel=1e-8, abs=1e-6)


def test_padded_depths_cost_nothing_and_are_not_allowed(model):
    np.testing.assert_array_equal(model.allowed_depths, [[True] * 3, [True, False, False]])
    alpha, _ = random_distributions(SPACE, 1)
    np.testing.assert_array_equal(model.beta_costs(alpha)[1, 1:], [0.0, 0.0])
    assert model.reach.shape == (5, 2, 3)
    np.testing.assert_array_equal(model.reach[:3, 0], [[1, 1, 1], [0, 1, 1], [0, 0, 1]])
    np.testing.assert_array_equal(model.reach[3:, 1], [[1, 0, 0], [1, 0, 0]])


@pytest.mark.parametrize(
    ("piece_cost", "count"), [(piece_macs, macs), (piece_parameters, parameters)]
)
def test_paper_space(piece_cost, count):
    model = cost_model(HARDCORE_NAS, piece_cost, 1000, name="count")
    assert model.block_costs.shape == (20, 12) and model.theta().shape == (240, 15)
    for seed in range(10):
        network = HARDCORE_NAS.random(seed)
        depths, configurations = HARDCORE_NAS.encode(network)
        entries = [depth - 2 for depth in depths]
        assert model.exact(entries, configurations) == count(network, (224, 224, 3), 1000)
    for extreme, network in (
        (model.smallest(), HARDCORE_NAS.lightest()),
        (model.largest(), HARDCORE_NAS.heaviest()),
    ):
        assert extreme == count(network, (224, 224, 3), 1000)
