import logging

import pytest
import tensorflow as tf

from tpu.strategy import DeviceError, strategy_for


def see_gpus(monkeypatch, count):
    devices = [tf.config.LogicalDevice(f"/device:GPU:{i}", "GPU") for i in range(count)]
    monkeypatch.setattr(tf.config, "list_logical_devices", lambda kind: devices)


def test_cpu_runs_on_the_cpu_whatever_else_there_is(monkeypatch):
    see_gpus(monkeypatch, 1)
    strategy = strategy_for("cpu")
    assert strategy.num_replicas_in_sync == 1
    with strategy.scope():
        assert "CPU:0" in tf.Variable(1.0).device


@pytest.mark.parametrize(("gpus", "device"), [(0, "CPU:0"), (1, "GPU:0"), (2, "GPU:0")])
def test_auto_takes_the_first_gpu_where_there_is_one(monkeypatch, caplog, gpus, device):
    see_gpus(monkeypatch, gpus)
    with caplog.at_level(logging.WARNING):
        (found,) = strategy_for().extended.worker_devices
    assert device in found
    assert ("sees 2 GPUs" in caplog.text) == (gpus == 2)


def test_gpu_without_a_gpu_is_an_error(monkeypatch):
    see_gpus(monkeypatch, 0)
    with pytest.raises(DeviceError, match=r"'gpu' .* sees no GPU: check the driver"):
        strategy_for("gpu")
    see_gpus(monkeypatch, 1)
    assert "GPU:0" in strategy_for("gpu").extended.worker_devices[0]


def test_tpu_and_unknown_names_are_errors():
    with pytest.raises(DeviceError, match=r"'tpu' is not available: .* use 'auto'"):
        strategy_for("tpu")
    with pytest.raises(ValueError, match=r"Unknown accelerator 'abacus': use one of \('auto'"):
        strategy_for("abacus")
