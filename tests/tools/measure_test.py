"""`python -m keras_nas.tools.measure`."""

import json
import subprocess
import sys

import keras
import pytest

from keras_nas.config import DeviceConfig
from keras_nas.devices import Run
from keras_nas.export import convert_frozen, convert_graph
from keras_nas.tools import measure
from keras_nas.tools.measure import load_settings, measure_files


@pytest.fixture(scope="module")
def keras_file(tmp_path_factory):
    inputs = keras.Input((4, 4, 8))
    path = tmp_path_factory.mktemp("model") / "relu.keras"
    keras.Model(inputs, keras.layers.ReLU()(inputs)).save(path)
    return path


@pytest.fixture(scope="module")
def model(keras_file):
    path = keras_file.with_suffix(".tflite")
    path.write_bytes(convert_frozen(keras.models.load_model(keras_file)))
    return path


def run(*arguments):
    command = [sys.executable, "-m", "keras_nas.tools.measure", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True)


def test_prints_json_and_progress(model, tmp_path):
    copy = tmp_path / "copy.tflite"
    copy.write_bytes(model.read_bytes())
    result = run(model, copy, "--json")
    assert result.returncode == 0, result.stderr
    first, second = json.loads(result.stdout)
    assert (first["file"], second["file"]) == (str(model), str(copy))
    assert 0 < first["latency_ms"] < 1
    assert first["ratio"] == 1
    assert second["ratio"] == pytest.approx(1, abs=0.3)  # the same model
    assert first["spread"] >= 0
    assert "timing 2 models" in result.stderr


def test_the_table():
    rows = [
        {"file": "network.tflite", "latency_ms": 12.34567, "spread": 0.0123, "ratio": 1.0},
        {"file": "b.tflite", "latency_ms": 0.001, "spread": 0.5, "ratio": 0.25},
    ]
    assert measure.format_table(rows).splitlines() == [
        "file                   ms   spread    ratio",
        "network.tflite    12.3457    1.23%   1.0000",
        "b.tflite           0.0010   50.00%   0.2500",
    ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "error: no file given"),
        (["missing.tflite"], "error: no file at missing.tflite; check the path."),
        ([__file__], "cannot run"),
        (["--device=iphone"], "error: device.name should be one of host, android, android:SERIAL"),
        (["--threads=0"], "error: config.device.threads should be at least 1; received 0"),
        (["--batch=8"], "error: device.batch should be 1 on host"),
        (["--config=missing.py"], "error: no configuration file 'missing.py'; check the path."),
    ],
)
def test_errors_are_one_line(arguments, message):
    result = run(*arguments)
    assert result.returncode == 1
    assert message in result.stderr and "Traceback" not in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1


def test_a_file_given_twice_is_refused():
    with pytest.raises(ValueError, match="given twice"):
        measure_files(["a", "a"], DeviceConfig())


@pytest.mark.parametrize(
    ("name", "file", "message"),
    [
        ("host", "relu.keras", r"measures \.tflite files, received .*relu\.keras\. A \.keras file"),
        ("keras:cpu", "relu.tflite", r"measures \.keras files, received .*relu\.tflite"),
    ],
)
def test_a_file_for_another_device_is_refused(model, name, file, message):
    with pytest.raises(ValueError, match=message):
        measure_files([str(model.with_name(file))], DeviceConfig(name=name))


@pytest.fixture
def recorded(monkeypatch):
    """What a Keras device was asked to run, in place of running it."""
    seen = {}

    def fake_run(device, models, reference, *, rounds, seed, on_round):
        seen.update({name: path.read_bytes() for name, path in models.items()}, device=device)
        assert reference in models.values()
        on_round(rounds)
        times = {name: [4.0] * rounds for name in models}
        return Run(times, {name: [1.0] * rounds for name in models})

    monkeypatch.setattr("keras_nas.devices.keras_device.KerasDevice.run", fake_run)
    return seen


def test_a_keras_device_gets_graphs_of_its_batch_and_precision(keras_file, recorded):
    settings = DeviceConfig(name="keras:cpu", batch=3, precision="mixed_bfloat16")
    (row,) = measure_files([str(keras_file)], settings)
    assert row["latency_ms"] == 4.0
    assert recorded["device"].batch == 3
    network = keras.models.load_model(keras_file)
    assert len(recorded[str(keras_file)]) == len(convert_graph(network, "mixed_bfloat16", 3))
    assert b"bfloat16" not in convert_graph(network, "float32", 3)


def test_a_damaged_keras_file(tmp_path, recorded):
    bad = tmp_path / "bad.keras"
    bad.write_bytes(b"PK")
    with pytest.raises(ValueError, match=r"bad\.keras cannot be loaded: ") as caught:
        measure_files([str(bad)], DeviceConfig(name="keras:cpu"))
    assert len(str(caught.value).splitlines()) == 1


def test_settings_come_from_a_file_and_flags_override_them(tmp_path):
    file = tmp_path / "device.py"
    file.write_text(
        "from keras_nas.config import DeviceConfig\n"
        "def get_config():\n    return DeviceConfig(name='keras:gpu', batch=64, threads=3)\n"
    )
    settings = load_settings(str(file), name="keras:cpu", batch=None, threads=2)
    assert (settings.name, settings.batch, settings.threads) == ("keras:cpu", 64, 2)
    assert load_settings(None, threads=4) == DeviceConfig(threads=4)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("def get_config(:", "cannot be loaded: SyntaxError"),
        ("x = 1", "cannot be loaded: KeyError: 'get_config'"),
        ("def get_config():\n    return 3", "should return a .*DeviceConfig; it returned a int"),
        (
            "from keras_nas.config import DeviceConfig\n"
            "def get_config():\n    return DeviceConfig(precision='int3')",
            r"config\.device\.precision should be one of",
        ),
    ],
)
def test_bad_settings_files(tmp_path, text, message):
    file = tmp_path / "device.py"
    file.write_text(text)
    with pytest.raises(ValueError, match=message):
        load_settings(str(file))
