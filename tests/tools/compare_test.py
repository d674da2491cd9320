"""`python -m keras_nas.tools.compare`, on this machine."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from keras_nas.devices import DeviceError
from keras_nas.space import Architecture, Block, Head, Stem
from keras_nas.tools import conversion
from keras_nas.tools.conversion import LOG, convert_networks
from keras_nas.tools.networks import named_network


def run(*arguments):
    command = [sys.executable, "-m", "keras_nas.tools.compare", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True)


@pytest.fixture(scope="module")
def output(tmp_path_factory):
    """A folder with a comparison of two own networks, one with 16 times the channels."""
    folder = tmp_path_factory.mktemp("compare")
    for name, channels in (("narrow", 8), ("wide", 128)):
        block = Block("cn", 3, 1, channels)
        network = Architecture(name, Stem(channels), ((block, block),), Head(0))
        (folder / f"{name}.json").write_text(network.to_json())
    (folder / "device.py").write_text(
        "from keras_nas.config import DeviceConfig\n"
        "def get_config(): return DeviceConfig(target_error=10.0, max_processes=3)\n"
    )
    networks = f"{folder}/narrow.json=70.5,{folder}/wide.json"
    arguments = [f"--networks={networks}", f"--config={folder}/device.py", "--resolution=64"]
    arguments += ["--rounds=2", f"--output={folder}"]
    return folder, arguments, run(*arguments)


def test_measures_and_writes(output):
    folder, _, result = output
    assert result.returncode == 0, result.stderr
    value = json.loads((folder / "comparison.json").read_text())
    narrow, wide = value["networks"]  # fastest first
    assert (narrow["name"], wide["name"]) == (f"{folder}/narrow.json", f"{folder}/wide.json")
    assert narrow["input_shape"] == [64, 64, 3]
    assert 0.001 < 4 * narrow["latency_ms"] < wide["latency_ms"] < 1000
    assert narrow["accuracy"] == 70.5 and wide["accuracy"] is None
    assert value["reference_ms"] > 0.1  # MobileNetV3-Small at 224x224
    assert value["device"]["runtime"] == "LiteRT" and value["threads"] == 1
    assert (value["processes"], value["rounds"]) == (3, 2)
    assert result.stdout.strip() == (folder / "comparison.md").read_text().strip()
    assert (folder / "comparison.svg").exists()  # of the one accuracy that is known
    assert "3/3 networks" in result.stderr


def test_a_second_time_it_has_nothing_to_measure(output):
    folder, arguments, _ = output
    before = (folder / "comparison.json").read_bytes()
    result = run(*arguments, "--json")
    assert result.returncode == 0, result.stderr
    assert (folder / "comparison.json").read_bytes() == before
    assert json.loads(result.stdout) == json.loads(before)
    assert "all converted before" in result.stderr


def test_a_network_that_cannot_be_converted(output, tmp_path):
    network = named_network(str(output[0] / "narrow.json"))
    with pytest.raises(ValueError, match=r"precision should be .* received 'float7'"):
        convert_networks({tmp_path / "a.tflite": network}, "tflite", "float7", 1)
    assert [path.name for path in tmp_path.iterdir()] == [LOG]


def test_a_process_that_dies(tmp_path, monkeypatch):
    monkeypatch.setattr(conversion, "_begin", sys.exit)
    with pytest.raises(DeviceError, match=r"died; .*conversion\.log ends with its last words"):
        convert_networks({tmp_path / "a.tflite": named_network("mixnet_s")}, "tflite", "float32", 1)


def test_no_process_outlives_a_kill(tmp_path):
    command = [sys.executable, "-m", "keras_nas.tools.compare", f"--output={tmp_path}"]
    with subprocess.Popen([*command, "--networks=mixnet_s"], stderr=subprocess.DEVNULL) as program:
        children = Path(f"/proc/{program.pid}/task/{program.pid}/children")
        if not children.exists():
            pytest.skip("this system does not list a process's children")
        wait_until((tmp_path / "models" / LOG).exists)
        wait_until(lambda: len(children.read_text().split()) == 2)  # of the pool: one, one tracks
        started = children.read_text().split()
        program.kill()
    wait_until(lambda: not any(map(runs, started)))


def runs(process):
    """Whether it is there and more than the record of a process that has ended."""
    try:
        return Path(f"/proc/{process}/cmdline").read_bytes() != b""
    except FileNotFoundError:
        return False


def wait_until(condition, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--networks=mixnet_s"], "error: --output is missing"),
        (["mixnet_s", "--output=x"], "error: unexpected argument 'mixnet_s'"),
        (["--networks=nobody", "--output=x"], "error: 'nobody' is neither a file"),
        (["--device=toaster", "--output=x"], "toaster"),
    ],
)
def test_errors_are_one_line(arguments, message):
    result = run(*arguments)
    assert result.returncode == 1
    assert message in result.stderr and "Traceback" not in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
