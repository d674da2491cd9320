"""What the export says of its files; converting and checking them are tested in tests/export."""

import json

import pytest

from keras_nas import exporting_stage
from keras_nas.context import Context
from keras_nas.experiment import load_space
from keras_nas.export import check_operations
from keras_nas.models import build_network

REFUSED = "XNNPACK does not take these operations of the .tflite file: ADD (17)."


@pytest.fixture
def context(tiny_config, tmp_path):
    context = Context(tiny_config, tmp_path)
    space = load_space(tiny_config.space)
    context.final_network = lambda: build_network(space.lightest(), space.input_shape, 10)
    return context


def refuse(monkeypatch, refused):
    """XNNPACK refuses one file, the way it does a quantised network of very unequal scales."""
    numbers = iter(range(3))  # float32, float16, int8

    def check(file):
        if next(numbers) == refused:
            raise ValueError(REFUSED)
        return check_operations(file)

    monkeypatch.setattr(exporting_stage, "check_operations", check)


def test_three_files_and_what_is_known_of_them(context):
    outputs = exporting_stage.export(context)
    rows = outputs.pop("export.json")
    assert list(rows) == list(outputs)
    sizes = [len(outputs[name]) for name in rows]
    assert [rows[name]["bytes"] for name in rows] == sizes
    assert json.loads(json.dumps(rows)) == rows
    for row in rows.values():
        assert row["operations"]["DEPTHWISE_CONV_2D"] == 1
        assert 0 < row["activation_memory_bytes"] < 20_000
        assert row["accuracy_images"] == 360  # all test digits
        assert 0 <= row["accuracy"] <= 0.5  # it is untrained


def test_a_slow_int8_file_is_a_warning_unless_the_device_runs_it(context, monkeypatch):
    refuse(monkeypatch, 2)
    with pytest.warns(UserWarning, match=r"network_int8\.tflite would be slow: .*ADD \(17\)"):
        rows = exporting_stage.export(context)["export.json"]
    assert rows["network_int8.tflite"]["slow"] == REFUSED
    refuse(monkeypatch, 2)
    context.config.device.precision = "int8"
    with pytest.raises(ValueError, match=r"ADD \(17\)"):
        exporting_stage.export(context)


def test_a_slow_float_file_is_an_error(context, monkeypatch):
    refuse(monkeypatch, 1)
    with pytest.raises(ValueError, match=r"ADD \(17\)"):
        exporting_stage.export(context)


def test_much_lost_accuracy_is_a_warning():
    rows = {
        name: {"accuracy": accuracy, "accuracy_images": 360}
        for name, accuracy in (("network.tflite", 0.9), ("network_int8.tflite", 0.8))
    }
    with pytest.warns(
        UserWarning, match=r"80\.0% of 360 test images right, network\.tflite 90\.0%"
    ):
        exporting_stage._warn_of_loss(rows)
