import json

import pytest
import tensorflow as tf

from tpu.strategy import DeviceError, strategy_for


def see_gpus(monkeypatch, count):
    devices = [tf.config.PhysicalDevice(f"/physical_device:GPU:{i}", "GPU") for i in range(count)]
    listed = tf.config.list_physical_devices
    monkeypatch.setattr(
        tf.config, "list_physical_devices", lambda kind: devices if kind == "GPU" else listed(kind)
    )


def test_cpu_runs_on_the_cpu_whatever_else_there_is(monkeypatch):
    see_gpus(monkeypatch, 1)
    strategy = strategy_for("cpu")
    assert strategy.num_replicas_in_sync == 1
    with strategy.scope():
        assert "CPU:0" in tf.Variable(1.0).device


@pytest.mark.parametrize(("gpus", "device"), [(0, "CPU:0"), (1, "GPU:0")])
def test_auto_takes_the_gpu_where_there_is_one(monkeypatch, gpus, device):
    see_gpus(monkeypatch, gpus)
    (found,) = strategy_for().extended.worker_devices
    assert device in found


@pytest.mark.parametrize(("wanted", "used"), [(0, 3), (2, 2), (1, 1)])
def test_several_gpus_are_mirrored(monkeypatch, wanted, used):
    see_gpus(monkeypatch, 3)
    asked = []
    monkeypatch.setattr("tpu.strategy._mirrored", lambda kind, count: asked.append((kind, count)))
    strategy = strategy_for("gpu", num_devices=wanted)
    if used == 1:
        assert "GPU:0" in strategy.extended.worker_devices[0]
    else:
        assert asked == [("GPU", used)]


def test_gpus_that_are_not_there_are_an_error(monkeypatch):
    see_gpus(monkeypatch, 0)
    with pytest.raises(DeviceError, match=r"'gpu' .* sees no GPU: check the driver"):
        strategy_for("gpu")
    see_gpus(monkeypatch, 2)
    with pytest.raises(DeviceError, match="num_devices is 3, but TensorFlow sees 2 GPUs"):
        strategy_for("gpu", num_devices=3)


def test_the_cpu_cannot_be_cut_up_once_it_is_used():
    tf.constant(1.0)
    with pytest.raises(DeviceError, match="cannot be cut into 64 devices any more"):
        strategy_for("cpu", num_devices=64)


@pytest.mark.parametrize("arguments", [{"accelerator": "tpu"}, {"tpu": "local"}])
def test_a_tpu_that_is_not_there_is_one_clear_error(arguments):
    with pytest.raises(DeviceError, match=r"No TPU on this machine can be used .*: check its name"):
        strategy_for(**arguments)


def test_a_tpu_whose_hosts_do_not_answer_is_one_clear_error(monkeypatch, caplog):
    monkeypatch.setattr("tpu.strategy._START_SECONDS", 0.5)
    with pytest.raises(DeviceError, match=r"No TPU named .* \(OSError: no server at localhost:1, "):
        strategy_for(tpu="grpc://localhost:1")
    assert "waiting for the TPU's host localhost:1" in caplog.text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"accelerator": "abacus"}, r"Unknown accelerator 'abacus': use one of \('auto'"),
        ({"num_devices": -1}, "num_devices must be at least 0 .*, received -1"),
        ({"accelerator": "cpu", "tpu": "mine"}, "TPU 'mine' is named, but accelerator 'cpu'"),
    ],
)
def test_arguments_that_contradict_each_other_are_errors(arguments, message):
    with pytest.raises(ValueError, match=message):
        strategy_for(**arguments)


def two_hosts(monkeypatch):
    cluster = {"cluster": {"worker": ["a:1", "b:1"]}, "task": {"type": "worker", "index": 0}}
    monkeypatch.setenv("TF_CONFIG", json.dumps(cluster))


@pytest.mark.parametrize("arguments", [{"num_devices": 2}, {"accelerator": "tpu"}, {"tpu": "mine"}])
def test_what_does_not_go_with_several_hosts_is_an_error(monkeypatch, arguments):
    two_hosts(monkeypatch)
    with pytest.raises(ValueError, match=r"TF_CONFIG names several hosts, .* or unset TF_CONFIG"):
        strategy_for(**arguments)


def test_hosts_are_connected_before_anything_else(monkeypatch):
    tf.constant(1.0)
    two_hosts(monkeypatch)
    with pytest.raises(DeviceError, match="hosts that TF_CONFIG names cannot be connected"):
        strategy_for("cpu")


def test_a_damaged_description_of_hosts_is_an_error(monkeypatch):
    monkeypatch.setenv("TF_CONFIG", "{cluster")
    with pytest.raises(ValueError, match=r"TF_CONFIG is not a JSON object .* received '{cluster'"):
        strategy_for()
    monkeypatch.setenv("TF_CONFIG", json.dumps({"cluster": {"worker": ["a:1"]}}))
    assert strategy_for("cpu").num_replicas_in_sync == 1
