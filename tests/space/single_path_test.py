"""The space of Single-Path NAS: the published network, and gates against a literal reading."""

import dataclasses
import itertools
import json
from pathlib import Path

import numpy as np
import pytest

from keras_nas.resources import macs, parameters
from keras_nas.space import SPACES, ElasticStage, SearchSpace
from keras_nas.space.cover import covering_architectures
from keras_nas.space.published import published
from keras_nas.space.single_path import SINGLE_PATH, SINGLE_PATH_SE, single_path
from keras_nas.space.single_path_gates import (
    SKIP,
    Gates,
    architecture_of_configurations,
    configurations_of_gates,
    decode,
    gates_of,
    gates_of_configurations,
    margins_of_scores,
    skippable,
)

GOLDEN = Path(__file__).parents[2] / "../shared/golden/single_path_facts.json"
IMAGE = (224, 224, 3)


@pytest.fixture(scope="module")
def facts():
    if not GOLDEN.exists():
        pytest.skip("../shared/golden is not there")
    return json.loads(GOLDEN.read_text())


@pytest.fixture(scope="module")
def small():
    """Two stages, three kernel sizes, three expansion ratios, squeeze-and-excitation."""
    return single_path(
        name="small",
        stages=(
            ElasticStage(8, 2, min_depth=1, max_depth=3),
            ElasticStage(16, 1, min_depth=2, max_depth=3),
        ),
        kernel_sizes=(3, 5, 7),
        expansion_ratios=(2, 3, 4),
        se_ratios=(0, 0.25, 0.5),
    )


def uniform_network(kernel_size, expansion_ratio):
    configurations = SINGLE_PATH.configurations
    names = [(c.kernel_size, c.expansion_ratio) for c in configurations]
    return SINGLE_PATH.architecture(
        (4,) * 5, [names.index((kernel_size, expansion_ratio))] * 20, "uniform"
    )


def gates_from_operations(operations):
    """The golden file's words, gate by gate."""
    kernel = [[float(name.startswith("5x5"))] for name in operations]
    expansion = [[float(name != "skip"), float(name.endswith("-6"))] for name in operations]
    return Gates(np.array(kernel), np.array(expansion), np.zeros((20, 0)))


def test_published_network_decodes_from_its_gates(facts):
    golden = facts["v1_network"]
    found = decode(SINGLE_PATH, gates_from_operations(golden["ops"]), "single_path_nas_v1")
    assert found == published("single_path_nas_v1")
    assert parameters(found, IMAGE) == golden["params"] == facts["params"]["spnas_v1"]
    assert round(macs(found, IMAGE) / 1e6, 3) == golden["macs_M"]


def test_uniform_networks_have_the_golden_counts(facts):
    network = uniform_network(3, 6)
    assert parameters(network, IMAGE) == facts["params"]["3x3-6"]
    assert round(macs(network, IMAGE) / 1e6, 3) == facts["macs_M"]["3x3-6"]
    # The supernet is the 5x5-6 network, and three thresholds a block.
    heaviest = parameters(SINGLE_PATH.heaviest(), IMAGE)
    assert heaviest + 3 * 20 == facts["params"]["supernet_trainable"]


def test_macro_architecture():
    assert [(s.channels, s.stride) for s in SINGLE_PATH.stages] == [
        (24, 2), (40, 2), (80, 2), (96, 1), (192, 2),
    ]  # fmt: skip
    assert SINGLE_PATH.size() == (4 + 4**2 + 4**3 + 4**4) ** 5
    assert [c.name for c in SINGLE_PATH.configurations] == ["e3 k3", "e3 k5", "e6 k3", "e6 k5"]
    assert len(SINGLE_PATH_SE.configurations) == 12
    assert SearchSpace.from_json(SINGLE_PATH.to_json()) == SINGLE_PATH
    assert SPACES["single_path"] is SINGLE_PATH
    assert SPACES["single_path_se"] is SINGLE_PATH_SE
    assert single_path(resolution=32).resolution == 32
    # The in-place profile needs one network for each of a block's configurations.
    assert len(covering_architectures(SINGLE_PATH)) == 4


def test_only_what_has_a_residual_can_be_skipped(small):
    assert skippable(SINGLE_PATH).tolist() == [False, True, True, True] * 5
    assert skippable(small).tolist() == [False, True, True, False, False, True]
    for b in np.flatnonzero(skippable(SINGLE_PATH)):
        block = SINGLE_PATH.block(SINGLE_PATH.stage_of_block[b], int(b) % 4, 0)
        assert block.has_residual(SINGLE_PATH.block_input_shapes[b][2])


def read_literally(space, kernel, expansion, se):
    """Configuration of one block, by the words of the module's docstring."""

    def leading(gates):
        return len(list(itertools.takewhile(bool, gates)))

    if not expansion[0]:
        return SKIP
    choice = (
        space.expansion_ratios[leading(expansion) - 1],
        space.kernel_sizes[leading(kernel)],
        space.se_ratios[leading(se)],
    )
    return [dataclasses.astuple(c) for c in space.configurations].index(choice)


def test_every_gate_pattern_of_a_block(small):
    patterns = list(itertools.product((0, 1), repeat=7))  # 2 kernel, 3 expansion, 2 SE
    seen = set()
    for pattern in patterns:
        kernel, expansion, se = np.ones((6, 2)), np.ones((6, 3)), np.ones((6, 2))
        kernel[1], expansion[1], se[1] = pattern[:2], pattern[2:5], pattern[5:]
        found = configurations_of_gates(small, Gates(kernel, expansion, se))
        expected = read_literally(small, pattern[:2], pattern[2:5], pattern[5:])
        assert found.tolist() == [26, expected, 26, 26, 26, 26]
        seen.add(expected)
    assert seen == {SKIP, *range(27)}


def test_a_skipped_block_shortens_its_stage(small):
    network = architecture_of_configurations(small, [5, SKIP, 7, 1, 2, SKIP], "short")
    assert network == small.architecture((2, 2), [5, 7, 0, 1, 2, 0], "short")
    assert (
        decode(small, gates_of_configurations(small, [5, SKIP, 7, 1, 2, SKIP]), "short") == network
    )


def test_gates_and_architectures_both_ways(small):
    for space in (small, SINGLE_PATH, SINGLE_PATH_SE):
        for seed in range(20):
            architecture = space.random(seed)
            gates = gates_of(space, architecture)
            assert decode(space, gates, architecture.name) == architecture
            again = gates_of_configurations(space, configurations_of_gates(space, gates))
            for field in ("kernel", "expansion", "squeeze_excite"):
                np.testing.assert_array_equal(getattr(again, field), getattr(gates, field))


def test_bad_gates(small):
    good = gates_of(small, small.heaviest())
    with pytest.raises(ValueError, match=r"kernel gates .* shape \(6, 2\) .* received \(20, 1\)"):
        decode(small, gates_of(SINGLE_PATH, SINGLE_PATH.heaviest()))
    with pytest.raises(ValueError, match=r"should be 1 \(open\) or 0 \(shut\), received .*0.5"):
        decode(small, dataclasses.replace(good, squeeze_excite=np.full((6, 2), 0.5)))
    skipped = good.expansion.copy()
    skipped[4, 0] = 0
    with pytest.raises(ValueError, match="block 4 of space 'small' cannot be skipped"):
        decode(small, dataclasses.replace(good, expansion=skipped))
    for bad in ([0] * 5, [0] * 5 + [27], [0] * 5 + [-2]):
        with pytest.raises(ValueError, match=r"takes 6 configurations from -1 \(skip\) to 26"):
            gates_of_configurations(small, bad)
    with pytest.raises(ValueError, match="block 0 of space 'small' cannot be skipped"):
        gates_of_configurations(small, [SKIP] + [0] * 5)
    with pytest.raises(ValueError, match="not in space 'small'"):
        gates_of(small, published("single_path_nas_v1"))


def test_margins_of_scores_decode_to_the_best_of_each_block(small):
    generator = np.random.default_rng(0)
    for _ in range(20):
        scores = generator.normal(size=(6, 28))
        scores[:, -1] += 1.5  # skipping, else never the best of 28
        margins = margins_of_scores(small, scores)
        opened = {
            field.name: (getattr(margins, field.name) >= 0).astype(float)
            for field in dataclasses.fields(Gates)
        }
        scores[~skippable(small), -1] = -np.inf
        best = scores.argmax(axis=1)
        expected = np.where(best == 27, SKIP, best)
        np.testing.assert_array_equal(configurations_of_gates(small, Gates(**opened)), expected)
        assert all(np.isfinite(getattr(margins, name)).all() for name in opened)
