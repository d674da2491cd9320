"""Networks side by side: what is made of the samples."""

import dataclasses
import json
import statistics

import pytest

from keras_nas.config import DeviceConfig
from keras_nas.devices import DeviceDescription, Run
from keras_nas.resources import macs, parameters
from keras_nas.space.published import published
from keras_nas.tools import comparison
from keras_nas.tools.comparison import measure_in_turns
from keras_nas.tools.comparison_entries import read_entries

SETTINGS = DeviceConfig(target_error=1e-9, max_processes=4)


class Clock:
    """A device whose times are known: a file named N-... takes N ms, by a factor of the process."""

    format = "tflite"
    threads = 1
    batch = 1
    factors = (1.0, 1.01, 0.99, 1.05)

    def __init__(self):
        self.started = 0

    def describe(self):
        return DeviceDescription("clock", "a clock", 1, "none", "none", "0", "none")

    def run(self, models, reference, *, rounds, seed, on_round):
        self.started += 1
        for done in range(rounds):
            on_round(done + 1)
        ms = {name: float(name.split("-")[0]) * self.factors[seed] for name in models}
        return Run(
            {name: [value] * rounds for name, value in ms.items()},
            {name: [2.0] * rounds for name in models},
        )


@pytest.fixture
def compared(tmp_path):
    """Three networks measured by a clock, the device, and the call that does it."""
    device = Clock()
    entries = read_entries(["mixnet_s", "hardcorenas_a", "fbnet_c=74.5"], 160)
    paths = [tmp_path / f"{ms}-x.tflite" for ms in (30, 10, 20, 2)]

    def call(rounds=2, step=1):
        models = [*paths[:3][::step], paths[3]]
        return measure_in_turns(entries[::step], models, device, SETTINGS, rounds, tmp_path)

    return call(), device, call


def test_figures_of_known_samples(compared):
    result, _, _ = compared
    assert [network.name for network in result.networks] == [
        "hardcorenas_a", "fbnetc_100", "mixnet_s",
    ]  # fmt: skip
    assert (result.processes, result.rounds, result.reference_ms) == (4, 2, 2.0)
    for network, ms in zip(result.networks, (10, 20, 30), strict=True):
        values = [ms * factor for factor in Clock.factors]
        assert network.latency_ms == pytest.approx(statistics.median(values))
        assert network.raw_ms == pytest.approx(statistics.median(values))
        assert network.spread_ms == pytest.approx(statistics.stdev(values))
        architecture = published(network.name)
        assert network.macs == macs(architecture, (160, 160, 3), 1000)
        assert network.parameters == parameters(architecture, (160, 160, 3), 1000)
    assert [network.accuracy for network in result.networks] == [None, 74.5, None]


def test_measuring_goes_on_from_its_samples(compared):
    result, device, call = compared
    assert device.started == 4
    assert call() == result and device.started == 4
    assert call(step=-1) == result and device.started == 4  # named in another order
    call(rounds=3)  # another measurement
    assert device.started == 8


def test_enough_processes_are_enough(tmp_path):
    device = Clock()
    settings = dataclasses.replace(SETTINGS, target_error=0.05)
    entries = read_entries(["mixnet_s"])
    paths = [tmp_path / "3-x.tflite", tmp_path / "2-x.tflite"]
    assert measure_in_turns(entries, paths, device, settings, 1, tmp_path).processes == 3


def test_json_separates_measured_from_published(compared):
    result, _, _ = compared
    value = json.loads(json.dumps(result.to_json_object(), allow_nan=False))
    assert (value["format"], value["version"], value["unit"]) == ("keras_nas.comparison", 1, "ms")
    assert (value["weights"], value["reference"]) == ("fresh", "mobilenetv3_small_100")
    assert value["device"]["processor"] == "a clock"
    first = value["networks"][0]
    assert first["name"] == "hardcorenas_a" and first["accuracy"] is None
    assert first["latency_ms"] == result.networks[0].latency_ms
    assert first["published"]["resolution"] == 224
    assert first["published"]["results"][0]["top1"] == 75.3
    assert first["published"]["results"][0]["latencies_ms"] == [["CPU", 38]]


def test_files_are_told_apart_by_what_they_are_made_from(tmp_path, monkeypatch):
    converted = []

    def remember(networks, model_format, precision, batch, *, on_progress):
        converted.append(sorted(networks))

    monkeypatch.setattr(comparison, "convert_networks", remember)
    device = Clock()

    def names(texts, resolution=None, precision="float32"):
        entries = read_entries(texts, resolution)
        paths = comparison.convert(entries, device, precision, tmp_path)
        assert sorted(set(paths)) == converted[-1]
        return [path.name for path in paths]

    first, reference = names(["mixnet_s"])
    assert first.startswith("mixnet_s-") and first.endswith(".tflite")
    assert reference.startswith("mobilenetv3_small_100-")
    assert names(["mixnet_s"]) == [first, reference]
    others = [names(["mixnet_s"], 96), names(["mixnet_s"], None, "float16"), names(["mnasnet_b1"])]
    device.batch = 2
    others.append(names(["mixnet_s"]))
    assert len({first, *(other[0] for other in others)}) == 5
    # The reference network stays at its own resolution, and is converted once if it is compared.
    assert others[0][1] == reference
    device.batch = 1
    assert names(["mobilenetv3_small_100"]) == [reference, reference]
