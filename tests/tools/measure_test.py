"""`python -m keras_nas.tools.measure`."""

import json
import subprocess
import sys

import pytest

from keras_nas.tools import measure


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    import keras

    from keras_nas.export import convert_frozen

    inputs = keras.Input((4, 4, 8))
    path = tmp_path_factory.mktemp("model") / "relu.tflite"
    path.write_bytes(convert_frozen(keras.Model(inputs, keras.layers.ReLU()(inputs))))
    return path


def run(*arguments):
    command = [sys.executable, "-m", "keras_nas.tools.measure", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True)


def test_prints_json(model, tmp_path):
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
        (["missing.tflite"], "error: no .tflite file at missing.tflite; check the path."),
        ([__file__], "cannot run"),
    ],
)
def test_errors_are_one_line(arguments, message):
    result = run(*arguments)
    assert result.returncode == 1
    assert message in result.stderr and "Traceback" not in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1


def test_a_file_given_twice_is_refused():
    with pytest.raises(ValueError, match="given twice"):
        measure.measure_files(["a", "a"], 1)
