"""Latency table: linear in the pieces, JSON both ways, refused for what it was not made for."""

import dataclasses
import json
import math

import numpy as np
import pytest

from keras_nas.resources.latency_table import (
    CalibrationNetwork,
    DeviceDescription,
    LatencyTable,
    RawSamples,
    all_pieces,
)
from keras_nas.space import Block, ElasticStage, Head, SearchSpace, Stem, pieces

CLASSES = 10
SPACE = SearchSpace(
    "tiny",
    stem=Stem(8, 3, 1),
    first_stages=((Block("ds", 3, 1, 8),),),
    stages=(ElasticStage(16, 2, max_depth=3), ElasticStage(24, 2, min_depth=1, max_depth=2)),
    head=Head(32),
    resolution=16,
)
DEVICE = DeviceDescription("host", "Chip 9", 2, "Linux x86_64", "LiteRT", "2.3.0", "XNNPACK")


@pytest.fixture(scope="module")
def table():
    keys = [piece.key for piece in all_pieces(SPACE, CLASSES)]
    entries = dict(zip(keys, np.random.default_rng(0).uniform(0.1, 2, len(keys)), strict=True))
    return LatencyTable(
        device=DEVICE,
        precision="float32",
        threads=1,
        batch=1,
        input_shape=(16, 16, 3),
        classes=CLASSES,
        date="2024-05-01T12:00:00+00:00",
        method="blocks alone, scaled on 1 whole networks",
        space_name=SPACE.name,
        space_fingerprint=SPACE.fingerprint(),
        reference=SPACE.lightest(),
        reference_ms=1 / 3,
        overhead_ms=0.001,
        scale=1.1,
        entries={key: float(value) for key, value in entries.items()},
        calibration=(CalibrationNetwork(SPACE.heaviest(), 20.0, 20.2, 20.3),),
        mean_error=0.015,
        worst_error=0.015,
        samples=RawSamples([[0.3, 0.4], [0.5]], {"empty": [[0.1, 1e-7], [0.2, 0.3]]}),
    )


def check(table, **changes):
    arguments = {
        "device": DEVICE,
        "precision": "float32",
        "threads": 1,
        "space": SPACE,
        "input_shape": (16, 16, 3),
        "classes": CLASSES,
        **changes,
    }
    table.check(**arguments)


def test_latency_is_overhead_plus_scaled_entries(table):
    network = SPACE.random(4)
    expected = 0.001
    for piece in pieces(network, (16, 16, 3), CLASSES):
        expected += 1.1 * table.entries[piece.key]
    assert table.latency_ms(network, [16, 16, 3], CLASSES) == pytest.approx(expected, rel=1e-14)


@pytest.mark.parametrize("seed", range(20))
def test_cost_model_agrees_with_latency_ms(table, seed):
    model = table.cost_model(SPACE, CLASSES)
    network = SPACE.random(seed)
    depths, configurations = SPACE.encode(network)
    entries = [SPACE.depths[s].index(depth) for s, depth in enumerate(depths)]
    assert model.name == "latency_ms"
    expected = table.latency_ms(network, (16, 16, 3), CLASSES)
    assert math.isclose(model.exact(entries, configurations), expected, rel_tol=1e-14)


def test_json_both_ways_is_exact(table):
    text = table.to_json()
    assert LatencyTable.from_json(text) == table
    assert json.loads(text)["unit"] == "ms"
    assert '"reference_ms": [\n   [ 0.3, 0.4 ]' in text  # numbers share a line


def test_accepts_what_it_was_made_for_and_a_smaller_space(table):
    check(table)
    check(table, space=dataclasses.replace(SPACE, kernel_sizes=(3,)))


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        *(
            (
                {"device": dataclasses.replace(DEVICE, **{field: value})},
                rf"device {field} .* {value!r}",
            )
            for field, value in {
                "name": "phone",
                "processor": "Chip 8",
                "cores": 4,
                "operating_system": "Darwin arm64",
                "runtime": "ONNX",
                "runtime_version": "2.4.0",
                "delegate": "none",
            }.items()
        ),
        ({"precision": "float16"}, "precision 'float32', and is asked for 'float16'"),
        ({"threads": 2}, "threads 1, and is asked for 2"),
        ({"batch": 8}, "batch 1, and is asked for 8"),
        ({"input_shape": (32, 32, 3)}, r"input_shape \(16, 16, 3\), .* \(32, 32, 3\)"),
        ({"classes": 100}, "classes 10, and is asked for 100"),
        ({"space": dataclasses.replace(SPACE, resolution=32)}, r"input_shape .* \(32, 32, 3\)"),
        (
            {"space": dataclasses.replace(SPACE, name="wide", kernel_sizes=(3, 7))},
            "lacks 24 of 51 pieces of space 'wide' .*k7.* Profile",
        ),
    ],
)
def test_refused_for_another(table, changes, named):
    with pytest.raises(ValueError, match=named):
        check(table, **changes)


def test_lookups_refuse_the_same(table):
    with pytest.raises(ValueError, match="classes 10, and is asked for 5"):
        table.latency_ms(SPACE.lightest(), (16, 16, 3), 5)
    with pytest.raises(ValueError, match="input_shape"):
        table.latency_ms(SPACE.lightest(), (8, 8, 3), CLASSES)
    with pytest.raises(ValueError, match="lacks"):
        table.cost_model(dataclasses.replace(SPACE, kernel_sizes=(7,)), CLASSES)
    other = dataclasses.replace(SPACE, head=Head(48))
    with pytest.raises(ValueError, match="no entry for piece head_pool-convolution_f48"):
        table.latency_ms(other.lightest(), (16, 16, 3), CLASSES)


def test_truncated_json_is_refused(table):
    text = table.to_json()
    with pytest.raises(ValueError, match=r"my\.json is damaged or truncated"):
        LatencyTable.from_json(text[: len(text) // 2], "my.json")


def _change(*path_and_value):
    *path, last, value = path_and_value

    def change(data):
        for key in path:
            data = data[key]
        data[last] = value

    return change


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (_change("format", "other"), "format"),
        (_change("version", 99), "version 99"),
        (_change("version", 0), "version 0 of .*reads version 1. Make the file anew"),
        (_change("unit", "s"), "unit 'ms'"),
        (lambda data: data.pop("scale"), "scale"),
        (lambda data: data["device"].pop("cores"), "cores"),
        (lambda data: data["calibration"][0].pop("architecture"), "architecture"),
        (_change("surprise", 1), "surprise"),
        (_change("scale", 0), "scale should be above 0"),
        (_change("reference_ms", -1), "reference_ms should be a finite number"),
        (_change("overhead_ms", -0.1), "overhead_ms should be a finite number >= 0"),
        (_change("overhead_ms", "fast"), "overhead_ms should be a finite number"),
        (_change("overhead_ms", math.nan), "overhead_ms should be a finite number"),
        (_change("mean_error", None), "mean_error should be a finite number"),
        (_change("calibration", 0, "measured_ms", 0), "measured_ms should be above 0"),
        (_change("entries", {}), "at least one entry"),
        (_change("entries", {"a": -1.0}), "latency of a should be a finite number"),
        (_change("entries", [1.0]), "not a valid latency table"),
        (_change("threads", 0), "threads should be a positive integer"),
        (_change("batch", 1.5), "batch should be a positive integer"),
        (_change("classes", "ten"), "classes should be a positive integer"),
        (_change("input_shape", [16, 16]), "input shape"),
        (_change("device", "cores", 0), "device cores"),
        (_change("device", "runtime", ""), "device runtime should be a text"),
        (_change("reference", {}), "format"),
    ],
)
def test_damaged_fields_are_named(table, change, named):
    data = json.loads(table.to_json())
    change(data)
    with pytest.raises(ValueError, match=named) as caught:
        LatencyTable.from_json(json.dumps(data), "my.json")
    assert "my.json" in str(caught.value)
