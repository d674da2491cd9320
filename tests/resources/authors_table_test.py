"""The authors' latency tables: their numbers through our space, and what is refused."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from keras_nas.resources.authors_table import authors_table
from keras_nas.space import TF_NAS, TF_NAS_WITHOUT_SE, Stem, TFNASOperation, tf_nas
from keras_nas.space.published import published

GOLDEN = Path(__file__).parents[2] / "../shared/golden"


def golden(name):
    if not (GOLDEN / name).exists():
        pytest.skip(f"no {GOLDEN / name}")
    return (GOLDEN / name).read_text()


@pytest.fixture(scope="module")
def gpu():
    return authors_table(golden("tf_nas_latency_gpu.json"))


def made_up(**changes):
    """A table of the paper's space: a millisecond for 100 channels, and 2 ms for the rest.

    `changes` replaces entries; None leaves one out.
    """
    table = {"base": 2.0}
    for b, block in enumerate(TF_NAS.blocks):
        for o, operation in enumerate(TF_NAS.operations):
            key = (
                f"MBInvertedResBlock_{block.input_resolution}_{block.input_channels}_"
                f"{TF_NAS.se_widths()[b, o]}_{block.output_channels}_k{operation.kernel_size}_"
                f"s{block.stride}_{block.activation}"
            )
            widths = range(8, TF_NAS.largest_widths()[b, o] + 1, 8)
            below = block.input_channels
            entries = {str(w): w / 100 if w >= below else -1.0 for w in widths}
            table[key] = table.get(key, {}) | entries
    table |= changes
    return {key: entry for key, entry in table.items() if entry is not None}


FIRST = "MBInvertedResBlock_112_16_0_24_k3_s2_relu"


def test_published_numbers(gpu):
    """Published with the networks: see the authors' repository."""
    ones = [1] * 18
    widths = (TF_NAS.smallest_widths(), TF_NAS.initial_widths(), TF_NAS.largest_widths())
    found = [gpu.network_ms(ones, None, w) for w in widths]
    assert found == pytest.approx([11.5177, 16.1314, 20.6367], abs=5e-5)
    allowed = np.array(TF_NAS.depths) > 0
    beta = allowed / allowed.sum(axis=1, keepdims=True)
    expected = gpu.expected_ms(np.full((18, 8), 1 / 8), beta, TF_NAS.initial_widths())
    assert expected == pytest.approx(10.80668, abs=5e-6)


@pytest.mark.parametrize("device", ["gpu", "cpu"])
def test_tf_nas_a(device):
    latency = authors_table(golden(f"tf_nas_latency_{device}.json"))
    choice = TF_NAS.encode(published("tf_nas_a"))
    facts = json.loads(golden("tf_nas_published.json"))
    assert latency.network_ms(*choice) == pytest.approx(
        facts["published"]["TF-NAS-A"]["measured"][f"lut_{device}_ms"], rel=1e-14
    )
    operations, _, widths = choice
    for b, layer in enumerate(facts["published"]["TF-NAS-A"]["layers"]):
        found = latency.block_ms(b, operations[b], widths[b, operations[b]])
        assert found == layer[f"lut_{device}_ms"]


def test_golden_numbers_are_those_of_this_test():
    facts = json.loads(golden("tf_nas_facts.json"))
    assert facts["all_k3_e6_full_depth_gpu_ms"] == {
        "minimum_width": 11.5177,
        "initial_width": 16.1314,
        "maximum_width": 20.6367,
    }
    assert facts["expected_latency_uniform_gpu_ms"] == 10.80668


def test_all_measured_latencies_are_positive(gpu):
    """The continuations below the input width, some of them negative, are never read."""
    assert min(curve.ms.min() for row in gpu.curves for curve in row) > 0
    for block, row in zip(TF_NAS.blocks, gpu.curves, strict=True):
        assert min(curve.widths[0] for curve in row) >= block.input_channels


def test_made_up_table():
    latency = authors_table(json.dumps(made_up()))
    widths = TF_NAS.initial_widths() + 3
    channels = sum(int(widths[b, 5]) for b in (0, 2, 3, 5, 9, 13, 17))
    found = latency.network_ms([5] * 18, (1, 2, 1, 1, 1, 1), widths)
    assert found == pytest.approx(2 + channels / 100, rel=1e-13)


def test_without_squeeze_and_excitation():
    """A table may hold more than a space needs."""
    latency = authors_table(json.dumps(made_up()), TF_NAS_WITHOUT_SE)
    assert latency.operation_ms(TF_NAS_WITHOUT_SE.initial_widths()).shape == (18, 4)
    table = made_up(**{key: None for key in made_up() if "_16_16_" in key})
    authors_table(json.dumps(table), TF_NAS_WITHOUT_SE)
    with pytest.raises(ValueError, match="lacks MBInvertedResBlock_112_16_16_24_k3_s2_relu"):
        authors_table(json.dumps(table))


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ([1, 2], "not a table of TF-NAS' authors"),
        (made_up(base=None), "not a table of TF-NAS' authors.*'base'"),
        (made_up(base=-1), "base should be a number of milliseconds >= 0, received -1"),
        (made_up(base="2"), "base should be a number of milliseconds >= 0, received '2'"),
        (made_up(**{FIRST: None}), f"lacks {FIRST}, operation k3_e3 of block 0 in space 'tf_nas'"),
        (made_up(**{FIRST: 3}), f"{FIRST} should hold milliseconds by width"),
        (made_up(**{FIRST: {"wide": 3}}), "should hold milliseconds by width"),
        (made_up(**{FIRST: {}}), "widths 32 to 64, at most 8 channels apart, and holds none"),
        (
            made_up(**{FIRST: {"32": 1, "40": 1, "48": 1, "56": 1}}),
            "widths 32 to 64.*holds 4 of them from 32 to 56",
        ),
        (
            made_up(**{FIRST: {str(w): 1 for w in range(32, 129) if not 40 < w < 49}}),
            "at most 8 channels apart",
        ),
        (made_up(**{FIRST: {str(w): -w for w in range(1, 129)}}), "width 32 should be a number"),
        (made_up(**{FIRST: {str(w): float("nan") for w in range(1, 129)}}), "width 32 .*nan"),
    ],
)
def test_damaged_tables(table, message):
    with pytest.raises(ValueError, match=f"gpu.json.*{message}"):
        authors_table(json.dumps(table), where="gpu.json")


def test_truncated_json():
    with pytest.raises(ValueError, match=r"gpu\.json is damaged or truncated: .*line 1"):
        authors_table(json.dumps(made_up())[:-9], where="gpu.json")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"resolution": 192}, "made for resolution 224, and is asked for 192"),
        ({"stem": Stem(16)}, "made for stem .*channels=32.*asked for .*channels=16"),
        ({"stages": TF_NAS.stages[1:]}, "lacks MBInvertedResBlock_112_16_0_40_k3_s2_swish"),
        ({"operations": (TFNASOperation(7, 2, 4),)}, "lacks .*_k7_.*operation k7_e3 of block 0"),
        ({"operations": (TFNASOperation(3, 4, 9),)}, "widths 64 to 144.*from 64 to 128"),
        (
            {"operations": (TFNASOperation(3, 0.5, 4),)},
            "from the block's input channels on, and is asked for 8",
        ),
    ],
)
def test_other_spaces_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        authors_table(json.dumps(made_up()), tf_nas(**changes))


def test_other_depths_are_allowed():
    space = dataclasses.replace(
        TF_NAS, stages=tuple(dataclasses.replace(s, min_depth=s.max_depth) for s in TF_NAS.stages)
    )
    fastest, _ = authors_table(json.dumps(made_up()), space).range_ms()
    assert fastest == pytest.approx(2 + TF_NAS.smallest_widths()[:, 0].sum() / 100)
