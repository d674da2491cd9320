"""A network's measurement: numbers against known samples, JSON both ways."""

import dataclasses
import datetime
import json
import warnings

import numpy as np
import pytest

from keras_nas.devices import DeviceDescription, Effort, Measurement, Run, measure_network

DEVICE = DeviceDescription("host", "Chip 9", 2, "Linux x86_64", "LiteRT", "2.3.0", "XNNPACK")


class KnownDevice:
    """Process p gives one of three ratios, at a reference of 4 ms."""

    threads = 2

    def __init__(self, ratios=(2.0, 3.0, 7.0)):
        self._ratios = ratios

    def describe(self):
        return DEVICE

    def run(self, models, reference, *, rounds, seed, on_round):
        assert reference.read_bytes() == b"reference"
        assert [path.read_bytes() for path in models.values()] == [b"network"]
        value = self._ratios[seed]
        return Run({"network": [4 * value] * rounds}, {"network": [4.0] * rounds})


def measured(device):
    effort = Effort(rounds=2, min_processes=3, max_processes=3)
    return measure_network(device, b"network", b"reference", 0.5, effort=effort)


@pytest.fixture
def measurement():
    with pytest.warns(UserWarning, match="differs by 88.2% between processes"):
        return measured(KnownDevice())


@pytest.mark.parametrize(
    ("ratios", "warned"), [((1.0, 1.01, 1.05), False), ((1.0, 1.01, 1.07), True)]
)
def test_a_disturbed_device_is_told(ratios, warned):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        measured(KnownDevice(ratios))
    said = [str(one.message) for one in caught]
    assert any("something else was using host" in text for text in said) is warned


def test_ratio_times_the_tables_reference(measurement):
    assert measurement.latency_ms == 1.5
    assert measurement.samples_ms == (1.0, 1.5, 3.5)
    assert measurement.spread_ms == pytest.approx(np.std([1, 1.5, 3.5], ddof=1))
    assert measurement.raw_ms == 12.0
    assert measurement.reference_ms == 0.5
    assert (measurement.device, measurement.threads) == (DEVICE, 2)
    assert datetime.datetime.fromisoformat(measurement.date).tzinfo == datetime.UTC


def test_json_both_ways(measurement):
    assert Measurement.from_json(measurement.to_json()) == measurement
    assert json.loads(measurement.to_json())["unit"] == "ms"


@pytest.mark.parametrize(
    ("field", "value", "named"),
    [
        ("unit", "s", "unit 'ms'"),
        ("version", 2, "version 2"),
        ("latency_ms", 0, "above 0 ms"),
        ("spread_ms", -1, "spread"),
        ("samples_ms", [1.0, -2.0], "above 0 ms"),
        ("samples_ms", None, "not a valid measurement"),
        ("device", {}, "not a valid measurement"),
        ("extra", 1, "extra"),
    ],
)
def test_damage_is_named(measurement, field, value, named):
    data = json.loads(measurement.to_json())
    data[field] = value
    with pytest.raises(ValueError, match=named) as caught:
        Measurement.from_json(json.dumps(data), "m.json")
    assert "m.json" in str(caught.value)


def test_truncated_json(measurement):
    with pytest.raises(ValueError, match=r"m\.json is damaged or truncated"):
        Measurement.from_json(measurement.to_json()[:40], "m.json")


def test_times_are_checked(measurement):
    with pytest.raises(ValueError, match="above 0"):
        dataclasses.replace(measurement, raw_ms=float("inf"))
