"""The runtime model against the golden values, the equations word for word, and its table."""

import dataclasses
import itertools
import json
from pathlib import Path

import numpy as np
import pytest

from keras_nas import files
from keras_nas.resources import LatencyTable
from keras_nas.resources.runtime_model import PIXEL1_FIXED_MS, RuntimeModel, pixel1_runtime
from keras_nas.space import SINGLE_PATH, SINGLE_PATH_SE, ElasticStage, single_path
from keras_nas.space.published import published
from keras_nas.space.single_path_gates import SKIP, Gates, gates_of, gates_of_configurations

GOLDEN = Path(__file__).parents[2] / "../shared/golden"


@pytest.fixture(scope="module")
def facts():
    return read("single_path_facts.json")


@pytest.fixture(scope="module")
def entries():
    return read("single_path_runtime_pixel1.json")


def read(name):
    if not GOLDEN.exists():
        pytest.skip("../shared/golden is not there")
    return json.loads((GOLDEN / name).read_text())


def gates_everywhere(kernel, half, whole):
    ones = np.ones((20, 1))
    return Gates(kernel * ones, np.concatenate([half * ones, whole * ones], 1), np.zeros((20, 0)))


def test_published_network(facts, entries):
    gates = gates_of(SINGLE_PATH, published("single_path_nas_v1"))
    golden = facts["v1_network"]
    # The published network skips the last block of stage 1, as gates made of an architecture do.
    paper = pixel1_runtime(entries).expected_ms(gates)
    assert round(paper, 4) == golden["runtime_formula_ms"] == facts["totals_ms"]["spnas_v1"]
    exact = pixel1_runtime(entries, form="exact").expected_ms(gates)
    assert round(exact, 4) == golden["runtime_table_ms"]
    network = published("single_path_nas_v1")
    assert pixel1_runtime(entries).network_ms(network) == pytest.approx(paper, abs=1e-12)


def test_golden_runtimes(facts, entries):
    model = pixel1_runtime(entries)
    totals = facts["totals_ms"]
    assert model.expected_ms(gates_everywhere(1, 1, 1)) == pytest.approx(totals["5x5-6"], abs=1e-9)
    assert round(model.expected_ms(gates_everywhere(0, 1, 0)), 4) == totals["3x3-3"]
    assert model.expected_ms(gates_everywhere(0, 0, 0)) == PIXEL1_FIXED_MS
    for key, value in facts["layer1_runtime_ms (d50,d100,d5x5)"].items():
        # The numbers are in the order kernel, first half, second half: 9.2015 is 3x3-6.
        kernel, half, whole = json.loads(key.replace("(", "[").replace(")", "]"))
        found = model.blocks_ms(gates_everywhere(kernel, half, whole))[0]
        assert found == pytest.approx(value, abs=1e-9)
    slope = model.blocks_ms(gates_everywhere(1, 1, 1)) - model.blocks_ms(gates_everywhere(0, 1, 1))
    assert slope[0] == pytest.approx(facts["d_runtime_d_d5x5_layer1_allon"], abs=1e-9)


def test_the_exact_form_is_the_published_table(entries):
    model = pixel1_runtime(entries, form="exact")
    for operation, (kernel, whole) in {"0": (0, 0), "1": (0, 1), "2": (1, 0), "3": (1, 1)}.items():
        times = [entries[str(b)][operation] for b in range(1, 21)]
        np.testing.assert_allclose(model.blocks_ms(gates_everywhere(kernel, 1, whole)), times)


@pytest.fixture(scope="module")
def small():
    return single_path(
        name="small",
        stages=(ElasticStage(8, 2, min_depth=1, max_depth=3),),
        kernel_sizes=(3, 5, 7),
        expansion_ratios=(2, 3, 4),
        se_ratios=(0, 0.25, 0.5),
    )


@pytest.fixture(scope="module")
def times(small):
    return np.random.default_rng(0).uniform(0.5, 2.0, (3, 27))


def test_every_decision_has_its_entry_in_the_exact_form(small, times):
    model = RuntimeModel(small, 2.5, times, "exact")
    np.testing.assert_allclose(model.configurations_ms, times)
    assert model.choice_ms([3, 5, SKIP]) == pytest.approx(2.5 + times[0, 3] + times[1, 5])
    for c in range(27):
        gates = gates_of_configurations(small, [c, c, SKIP])
        np.testing.assert_allclose(model.blocks_ms(gates), [times[0, c], times[1, c], 0])
        assert model.expected_ms(gates) == pytest.approx(2.5 + times[0, c] + times[1, c])


def literal_block(t, kernel, expansion, se):
    """Eqs. 12, 13 and 17 of one block with the table t [E, K, S], nested as they are printed."""
    channels = 0.0
    for e in reversed(range(3)):  # d_0 (R_0 + d_1 (R_1 - R_0 + d_2 (...)))
        step = t[e, -1, 0] - (t[e - 1, -1, 0] if e else 0)
        channels = expansion[e] * (step + channels)
    ratios = t[-1, :, 0] / t[-1, -1, 0]
    share = kernel[0] * (ratios[1] - ratios[0] + kernel[1] * (ratios[2] - ratios[1]))
    extra = t[-1, -1] - t[-1, -1, 0]
    squeeze = se[0] * (extra[1] + se[1] * (extra[2] - extra[1]))
    return channels * ratios[0] + channels * share + expansion[0] * squeeze


def test_equations_of_the_paper(small, times):
    model = RuntimeModel(small, 1.0, times)
    generator = np.random.default_rng(1)
    patterns = [np.array(p, float) for p in itertools.product((0, 1), repeat=7)]
    patterns += list(generator.uniform(0, 1, (20, 7)))
    for pattern in patterns:
        kernel, expansion, se = pattern[:2], pattern[2:5], pattern[5:]
        gates = Gates(*(np.tile(part, (3, 1)) for part in (kernel, expansion, se)))
        expected = [literal_block(t.reshape(3, 3, 3), kernel, expansion, se) for t in times]
        np.testing.assert_allclose(model.blocks_ms(gates), expected, atol=1e-12)
        assert model.expected_ms(gates) == pytest.approx(1 + sum(expected))


def test_from_a_latency_table(small, made_up_table):
    space = dataclasses.replace(small, resolution=32)
    table: LatencyTable = made_up_table(space, 10)
    model = RuntimeModel.from_table(table, space, 10, "exact")
    for seed in range(20):
        architecture = space.random(seed)
        expected = table.latency_ms(architecture, space.input_shape, 10)
        assert model.network_ms(architecture) == pytest.approx(expected)
    with pytest.raises(ValueError, match="classes"):
        RuntimeModel.from_table(table, space, 11)


def test_bad_models(small, times):
    with pytest.raises(ValueError, match="one of paper, exact, received 'linear'"):
        RuntimeModel(small, 1.0, times, "linear")
    for bad in (times[:2], times * 0, np.full_like(times, np.nan)):
        with pytest.raises(ValueError, match=r"milliseconds above 0 of shape \(3, 27\)"):
            RuntimeModel(small, 1.0, bad)
    with pytest.raises(ValueError, match=r"kernel gates .* shape \(3, 2\), received \(20, 1\)"):
        RuntimeModel(small, 1.0, times).expected_ms(gates_everywhere(1, 1, 1))


def test_bad_published_tables(entries, tmp_path):
    for space, field in (
        (SINGLE_PATH_SE, "se_ratios"),
        (single_path(resolution=192), "resolution"),
        (single_path(kernel_sizes=(3, 5, 7)), "kernel_sizes"),
    ):
        with pytest.raises(ValueError, match=f"table was measured for {field} .* Profile a device"):
            pixel1_runtime(entries, space)
    deeper = tuple(dataclasses.replace(stage, min_depth=2) for stage in SINGLE_PATH.stages)
    assert pixel1_runtime(entries, single_path(stages=deeper)).fixed_ms == PIXEL1_FIXED_MS
    with pytest.raises(ValueError, match="lacks operations 0, 1, 2, 3 of block 7"):
        pixel1_runtime({key: row for key, row in entries.items() if key != "7"})
    for bad in ("fast", -1.0, 0, True, float("nan")):
        damaged = entries | {"3": entries["3"] | {"2": bad}}
        with pytest.raises(ValueError, match=r"pixel\.json, block 3, operation 2 should be"):
            pixel1_runtime(damaged, where="pixel.json")
    path = tmp_path / "table.json"
    path.write_text("{")
    with pytest.raises(ValueError, match="damaged or truncated"):
        pixel1_runtime(files.read_json(path, "runtime table"))
