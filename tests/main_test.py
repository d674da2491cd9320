"""The program's command line: help, flags, configuration files; all without TensorFlow."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

GOOD = "from keras_nas.config import Config, LimitsConfig\n"


def check_refused(process, code, *fragments):
    assert process.returncode == code
    assert process.stderr.startswith("error: ")
    assert len(process.stderr.splitlines()) == 1
    for fragment in fragments:
        assert fragment in process.stderr


def test_help_answers_at_once_and_without_tensorflow(run_program):
    began = time.monotonic()
    process = run_program("--help", config=None)
    assert time.monotonic() - began < 5  # 0.3 s on a quiet machine
    assert "--config.limits.latency_ms=12" in process.stdout
    for flag in ("--config", "--stages", "--workdir", "--[no]debug", "--tpu", "--num_devices"):
        assert flag in process.stdout
    script = (
        "import sys; sys.argv = ['keras_nas', '--help']\n"
        "import keras_nas.__main__, keras_nas.pipeline\n"
        "print([m for m in ('tensorflow', 'keras') if m in sys.modules])"
    )
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert loaded.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("arguments", "code", "fragments"),
    [
        (["--config.limits.latency=3"], 2, ["'latency'", "latency_ms", "macs", "parameters"]),
        (["--config.limit.latency_ms=3"], 2, ["'limit'", "limits", "supernet"]),
        (["--config.limits=3"], 2, ["config.limits is a group of fields", "latency_ms"]),
        (["--config.seed.x=3"], 2, ["config.seed is a value without fields"]),
        (["--config.space.overrides={}"], 2, ["config.space.overrides", "configuration file"]),
        (["--config.seed=abc"], 2, ["--config.seed=abc"]),
        (["--config.limits.latency_ms=8,x"], 2, ["latency_ms=8,x", "numbers like 8,10,12.5"]),
        (["--config.data.flip=perhaps"], 2, ["--config.data.flip=perhaps"]),
        (["--nonsense=1"], 2, ["nonsense"]),
        (["surplus"], 1, ["unexpected argument 'surplus'", "--workdir"]),
        ([], 1, ["--workdir is missing"]),
        (["--workdir=unused", "--stages=serach"], 1, ["'serach'", "profile, pretrain", "search"]),
        (["--workdir=unused", "--config.pretrain.epochs=-1"], 1, ["pretrain.epochs", "above 0"]),
        (["--workdir=unused", "--accelerator=abacus"], 1, ["accelerator", "auto, cpu, gpu, tpu"]),
        (["--workdir=unused", "--num_devices=-1"], 1, ["config.num_devices", "at least 0"]),
        (["--workdir=unused", "--num_devices=two"], 2, ["num_devices"]),
        (
            ["--workdir=unused", "--steps_per_loop=0", "--config.steps_per_loop=5"],
            1,
            ["config.steps_per_loop should be at least 1; received 0"],
        ),
        (["--workdir=unused", "--config.space.name=mine"], 1, ["'mine'", "hardcore_nas", "file:"]),
        (["--workdir=unused", "--config.space.name=file:/no.json"], 1, ["/no.json"]),
        (
            ["--workdir=x", "--config.limits.latency_ms=1", "--config.limits.latency_fraction=1"],
            1,
            ["exactly one of config.limits.latency_ms and config.limits.latency_fraction"],
        ),
        (["--workdir=x", "--config.limits.latency_ms=None"], 1, ["received None and None"]),
        (
            ["--workdir=x", "--config.limits.latency_ms=8,9,10", "--config.search.batch_size=10"],
            1,
            ["config.search.batch_size is 10, which 3 latency limits cannot share"],
        ),
    ],
)
def test_bad_flags_are_one_line(run_program, arguments, code, fragments):
    check_refused(run_program(*arguments), code, *fragments)


@pytest.mark.parametrize(
    ("text", "fragments"),
    [
        (GOOD + "def get_config(): raise KeyError('gone')", ["KeyError: 'gone'"]),
        (
            GOOD + "def get_config(): return Config(limits=LimitsConfig(latency=4))",
            [
                "'latency'",
                "LimitsConfig has latency_fraction, latency_ms, macs, parameters",
            ],
        ),
        ("import module_that_is_not_there", ["module_that_is_not_there"]),
        ("def get_config(:", ["SyntaxError", "line 1"]),
        ("def get_config(): return {}", ["keras_nas.config.Config", "returned a dict"]),
        ("x = 1", ["get_config"]),
        ("def get_config(): open('/not/there')", ["/not/there"]),
        (None, ["no configuration file"]),
    ],
)
def test_bad_configuration_files_are_one_line(run_program, tmp_path, text, fragments):
    file = tmp_path / "mine.py"
    if text is not None:
        file.write_text(text)
    process = run_program("--config.seed=1", "--workdir=unused", config=file)
    check_refused(process, 2, str(file), *fragments)


def test_a_configuration_is_needed(run_program):
    check_refused(run_program("--workdir=unused", config=None), 1, "--config is missing")


def test_debug_shows_the_traceback(run_program, tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(GOOD + "def get_config(): raise KeyError('gone')")
    assert "Traceback" in run_program("--debug", "--workdir=unused", config=file).stderr
    assert "Traceback" in run_program("--debug", "--workdir=x", "--config.seed=-1").stderr


def test_settings_of_other_devices_can_be_overridden(run_program, tmp_path):
    tiny, file = Path(__file__).with_name("tiny_config.py"), tmp_path / "two.py"
    file.write_text(
        "import runpy\n"
        "from keras_nas.config import OtherDeviceConfig\n"
        "def get_config():\n"
        f"    config = runpy.run_path({str(tiny)!r})['get_config']()\n"
        "    config.other_devices['phone'] = OtherDeviceConfig(latency_fraction=0.5)\n"
        "    return config\n"
    )
    phone = "--config.other_devices.phone"
    # The first replaces the file's latency_fraction; the second is checked after that.
    flags = (f"{phone}.latency_ms=20", f"{phone}.device.name=iphone", f"--workdir={tmp_path}")
    check_refused(run_program(*flags, config=file), 1, "device.name", "received 'iphone'")
    unknown = "--config.other_devices.fone.latency_ms=20"
    check_refused(run_program(unknown, config=file), 2, "has no 'fone'; it has phone")
    check_refused(run_program(f"{phone}.latency=20", config=file), 2, "'latency'", "latency_ms")
    check_refused(run_program(f"{phone}=20", config=file), 2, "is a group of fields (device, lat")


def test_overrides_of_every_type_arrive(run_program, tmp_path):
    """Shown by the validation of the last one, which is out of range and checked last."""
    process = run_program(
        "--config.name=mine",
        "--config.seed=7",
        "--config.pretrain.epochs=3",
        "--noconfig.data.flip",
        "--config.data.mean=(0.1,0.2,0.3)",
        "--config.limits.latency_ms=12",  # replaces the file's latency_fraction
        "--config.limits.parameters=None",
        "--config.limits.macs=5",
        "--config.search.solve_on_device=true",
        f"--workdir={tmp_path}",
    )
    check_refused(process, 1, "solve_on_device works with one limit")
