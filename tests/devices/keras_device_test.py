"""TensorFlow on this machine: graphs that compute what the model does, and their times."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_nas.devices import DeviceError, KerasDevice, keras_device, keras_worker, timing
from keras_nas.devices.host_worker import load_all
from keras_nas.export import convert_graph


@pytest.fixture(scope="module")
def network():
    """Two convolutions with batch norm, whose statistics are not the initial ones."""
    inputs = keras.Input((16, 16, 8))
    x = keras.layers.Conv2D(64, 3, padding="same")(inputs)
    x = keras.layers.ReLU()(keras.layers.BatchNormalization()(x))
    x = keras.layers.Dense(5)(keras.layers.GlobalAveragePooling2D()(keras.ops.relu6(x)))
    model = keras.Model(inputs, x)
    generator = np.random.default_rng(0)
    model.set_weights([generator.uniform(0.1, 1, w.shape) for w in model.get_weights()])
    return model


def run_graph(data, images):
    graph = tf.compat.v1.GraphDef.FromString(data)
    with tf.Graph().as_default() as imported:
        tf.import_graph_def(graph, name="")
        with tf.compat.v1.Session(graph=imported) as session:
            return session.run("Identity:0", {"image:0": images})


@pytest.mark.parametrize(
    ("precision", "tolerance"),
    [("float32", 1e-5), ("mixed_float16", 0.01), ("mixed_bfloat16", 0.05)],
)
def test_graphs_compute_what_the_model_computes(network, precision, tolerance):
    images = np.random.default_rng(1).uniform(0, 1, (3, 16, 16, 8)).astype(np.float32)
    found = run_graph(convert_graph(network, precision, 3), images).astype(np.float32)
    expected = network(images, training=False).numpy()
    error = np.max(np.abs(found - expected)) / np.max(np.abs(expected))
    assert error < tolerance
    assert (error > 1e-5) == (precision != "float32")  # 16 bits are seen
    assert network.layers[1].dtype_policy.name == "float32"  # the model itself is not changed


def test_bad_conversions(network):
    with pytest.raises(ValueError, match=r"one of float32, mixed_float16, .* 'float16'"):
        convert_graph(network, "float16")
    pair = [keras.Input((1,)), keras.Input((1,))]
    two = keras.Model(pair, keras.layers.Add()(pair))
    with pytest.raises(ValueError, match="one input, received 2"):
        convert_graph(two)


@pytest.fixture(scope="module")
def models(network, tmp_path_factory):
    folder = tmp_path_factory.mktemp("graphs")
    paths = {name: folder / name for name in ("one", "eight")}
    for path, batch in zip(paths.values(), (1, 8), strict=True):
        path.write_bytes(convert_graph(network, "float32", batch))
    return paths


def test_a_larger_batch_takes_longer(models):
    seen = []
    samples = KerasDevice().run(models, models["one"], rounds=2, seed=0, on_round=seen.append)
    assert seen == [1, 2]
    assert timing.ratio([samples], "one") == pytest.approx(1, abs=0.6)
    assert 1.3 < timing.ratio([samples], "eight") < 12


@pytest.mark.parametrize("data", [b"\xff\xff\xff", b"", b"TFL3"])
def test_files_that_are_no_graphs_are_named(tmp_path, data):
    """As the worker does before it measures; it would take seconds to start for each."""
    bad = tmp_path / "bad"
    bad.write_bytes(data)
    request = {"models": {"bad": str(bad)}, "reference": str(bad), "seed": 0}
    with pytest.raises(SystemExit, match=r"cannot run .*bad: it is not a graph made for this"):
        load_all(request, keras_worker.load)


def test_description():
    device = KerasDevice(batch=64, threads=2)
    description = device.describe()
    assert (description.name, description.runtime) == ("keras:cpu", "TensorFlow")
    assert description.runtime_version == tf.__version__
    assert description.processor and description.delegate == "oneDNN"
    assert (device.batch, device.threads, device.format) == (64, 2, "graph")


def test_other_arithmetic_is_another_device(monkeypatch):
    monkeypatch.setenv("TF_ENABLE_ONEDNN_OPTS", "0")
    assert KerasDevice().describe().delegate == "Eigen"


class FakeGpus:
    """TensorFlow's list of GPUs."""

    def __init__(self, monkeypatch, *names):
        monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: list(names))
        details = {"device_name": names[0] if names else None}
        monkeypatch.setattr(tf.config.experimental, "get_device_details", lambda gpu: details)
        build = {"cuda_version": "12.5.1", "cudnn_version": "9"}
        monkeypatch.setattr(tf.sysconfig, "get_build_info", lambda: build)


def test_a_gpu_is_described(monkeypatch):
    FakeGpus(monkeypatch, "Tesla P100", "another")
    description = KerasDevice("gpu").describe()
    assert (description.name, description.processor) == ("keras:gpu", "Tesla P100")
    assert description.delegate == "CUDA 12.5.1 cuDNN 9"


@pytest.mark.skipif(bool(tf.config.list_physical_devices("GPU")), reason="this machine has a GPU")
def test_a_missing_gpu():
    with pytest.raises(DeviceError, match=r"finds no GPU; install .*and-cuda.*keras:cpu"):
        KerasDevice("gpu").describe()
    with pytest.raises(ValueError, match="TensorFlow finds no GPU"):
        keras_worker.set_up("gpu", 1)


def test_a_crash_is_a_device_error(models, monkeypatch, tmp_path):
    monkeypatch.setattr(keras_device, "WORKER", "keras_nas.devices.no_such_worker")
    with pytest.raises(DeviceError, match=r"measuring process ended with exit code 1: .*no_such"):
        KerasDevice().run(models, models["one"], rounds=2, seed=0, on_round=print)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"kind": "tpu"}, "keras:cpu or keras:gpu, received 'tpu'"),
        ({"threads": 0}, "number of threads"),
        ({"batch": 1.5}, "batch should be a positive integer"),
    ],
)
def test_bad_settings(arguments, message):
    with pytest.raises(ValueError, match=message):
        KerasDevice(**arguments)


def test_the_request_names_everything(models, monkeypatch):
    """What the worker is asked for is what the device was made with."""
    asked = {}

    class Process:
        def ask(self, request, on_round):
            asked.update(json.loads(json.dumps(request)))
            return {"ms": {"one": [1.0]}, "reference_ms": {"one": [1.0]}}

        __enter__ = lambda self: self  # noqa: E731
        __exit__ = lambda self, *error: None  # noqa: E731

    monkeypatch.setattr(keras_device.worker, "start", lambda module, name: Process())
    KerasDevice("gpu", threads=3).run(
        {"one": models["one"]}, models["one"], rounds=5, seed=7, on_round=print
    )
    assert asked == {
        "models": {"one": str(models["one"])},
        "reference": str(models["one"]),
        "device": "gpu",
        "threads": 3,
        "rounds": 5,
        "seed": 7,
    }
