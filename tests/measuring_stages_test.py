"""Stages that measure, on devices that are not this machine's LiteRT."""

import dataclasses

import pytest

from keras_nas import measuring_stages, pipeline
from keras_nas.context import Context
from keras_nas.devices import KerasDevice, Measurement, Run
from keras_nas.devices.profile import reference_model
from keras_nas.experiment import load_space
from keras_nas.export import convert_graph
from keras_nas.models import build_network


@pytest.fixture
def keras_config(tiny_config):
    tiny_config.device.name = "keras:cpu"
    tiny_config.device.batch = 8
    return tiny_config


@pytest.fixture
def workdir(keras_config, tiny_table, tmp_path):
    """A table of the Keras device, and a final network."""
    table = dataclasses.replace(tiny_table, device=KerasDevice().describe(), batch=8)
    (tmp_path / "latency_table.json").write_text(table.to_json())
    space = load_space(keras_config.space)
    build_network(space.heaviest(), space.input_shape, 10).save(tmp_path / "network.keras")
    return tmp_path


@pytest.fixture
def recorded(monkeypatch):
    """Files that a Keras device was asked to run, in place of running them."""
    seen = {}

    def fake_run(device, models, reference, *, rounds, seed, on_round):
        seen.update({name: path.read_bytes() for name, path in models.items()})
        seen["reference"] = reference.read_bytes()
        return Run({"network": [3.0] * rounds}, {"network": [2.0] * rounds})

    monkeypatch.setattr(KerasDevice, "run", fake_run)
    return seen


def test_a_keras_device_measures_the_final_network_itself(keras_config, workdir, recorded):
    context = Context(keras_config, workdir)
    outputs = measuring_stages.measure(context)
    measurement = Measurement.from_json(outputs["measurement.json"])
    assert measurement.latency_ms == pytest.approx(1.5 * context.table.reference_ms)
    assert measurement.device.name == "keras:cpu"
    network = context.final_network()
    assert len(recorded["network"]) == len(convert_graph(network, "float32", 8))
    assert len(recorded["reference"]) == len(reference_model(context.table, "graph"))
    assert len(recorded["reference"]) < len(recorded["network"])  # the lightest


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("batch", 1, "made for batch 8, and is asked for 1"),
        ("name", "host", "made for device name 'keras:cpu', and is asked for 'host'"),
    ],
)
def test_a_table_of_another_device_or_batch_is_refused(
    keras_config, workdir, recorded, field, value, message
):
    keras_config.device.batch = 1
    setattr(keras_config.device, field, value)
    with pytest.raises(ValueError, match=message):
        measuring_stages.measure(Context(keras_config, workdir))
    assert recorded == {}


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("name", "iphone", "device.name should be one of host, android"),
        ("batch", 2, "device.batch should be 1 on host"),
    ],
)
def test_a_device_that_does_not_exist_is_refused_before_anything_runs(
    tiny_config, tmp_path, field, value, message
):
    setattr(tiny_config.device, field, value)
    with pytest.raises(ValueError, match=message):
        pipeline.run(tiny_config, tmp_path / "work")
    assert not (tmp_path / "work").exists()
