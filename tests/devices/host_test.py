"""This machine: real models in worker processes, and how they fail."""

import importlib.metadata
import json
import subprocess
import sys
import time

import keras
import pytest

from keras_nas.devices import (
    DeviceError,
    Effort,
    HostDevice,
    host,
    litert_profiler,
    measure_network,
    timing,
    worker,
)
from keras_nas.export import convert_frozen


def network(channels):
    inputs = keras.Input((16, 16, 8))
    return keras.Model(inputs, keras.layers.Conv2D(channels, 3, padding="same")(inputs))


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    paths = {}
    for name, channels in {"small": 16, "large": 128}.items():
        paths[name] = folder / f"{name}.tflite"
        paths[name].write_bytes(convert_frozen(network(channels)))
    return paths


def run(models, device=None, reference="small", rounds=3):
    device = device or HostDevice()
    return device.run(models, models[reference], rounds=rounds, seed=0, on_round=lambda done: None)


def test_larger_takes_longer(models):
    seen = []
    samples = HostDevice().run(models, models["small"], rounds=3, seed=0, on_round=seen.append)
    assert seen == [1, 2, 3]
    assert len(samples.ms["large"]) == 3
    assert 2 < timing.ratio([samples], "large") < 32  # 8 times the work
    assert timing.ratio([samples], "small") == pytest.approx(1, rel=0.5)


def test_several_threads_use_the_wall_clock(models):
    samples = run(models, HostDevice(threads=2))
    assert all(ms > 0 for ms in samples.ms["large"])


def test_describe():
    description = HostDevice().describe()
    assert description.runtime_version == importlib.metadata.version("ai-edge-litert")
    assert (description.name, description.runtime, description.delegate) == (
        "host",
        "LiteRT",
        "XNNPACK",
    )
    assert description.processor and description.cores >= 1


def test_missing_runtime(monkeypatch):
    monkeypatch.setattr(host, "PACKAGE", "ai-edge-litert-that-is-not-there")
    with pytest.raises(DeviceError, match="not installed; run `pip install"):
        HostDevice().describe()


def test_threads_are_checked():
    with pytest.raises(ValueError, match="number of threads"):
        HostDevice(threads=0)


def profile(models, device=None):
    device = device or HostDevice()
    return device.profile(models, models["small"], rounds=3, seed=0, on_round=lambda done: None)


@pytest.mark.parametrize("threads", [1, 2])
def test_a_profile_adds_up_to_the_time_of_the_whole(models, threads):
    found = profile(models, HostDevice(threads))
    assert len(found.operations["large"]) >= 1
    assert any(kind.startswith("Convolution") for kind in found.operations["large"])
    whole = sum(found.ms["large"][1]) / found.reference_ms["large"][1]
    assert 2 < whole < 32  # 8 times the work


def test_a_profile_of_a_damaged_model_names_it(models, tmp_path):
    bad = tmp_path / "bad.tflite"
    bad.write_bytes(models["small"].read_bytes()[:200])
    with pytest.raises(DeviceError, match=r"cannot run .*bad\.tflite: LiteRtCreateModelFromBuffer"):
        profile({**models, "bad": bad})


def test_a_profile_needs_the_supported_version(models, monkeypatch):
    monkeypatch.setattr(litert_profiler, "SUPPORTED_VERSION", "1.0")
    with pytest.raises(DeviceError, match=r"needs ai-edge-litert 1\.0, found 2.*pip install"):
        profile(models)


def test_a_damaged_model_is_named(models, tmp_path):
    bad = tmp_path / "bad.tflite"
    bad.write_bytes(models["small"].read_bytes()[:200])
    with pytest.raises(DeviceError, match=r"exit code 1: cannot run .*bad\.tflite"):
        run({**models, "bad": bad})


@pytest.mark.parametrize(
    ("program", "message"),
    [
        ("input(); raise MemoryError('too big')", "code 1: MemoryError: too"),
        ("import os; input(); os.kill(os.getpid(), 9)", "signal 9: it said nothing"),
        ("raise SystemExit('gone')", "exit code 1: gone"),
        ("input()", "exit code 0: it said nothing"),
    ],
)
def test_a_crash_is_a_device_error(models, monkeypatch, program, message):
    monkeypatch.setattr(worker, "command", lambda module: [sys.executable, "-c", program])
    with pytest.raises(DeviceError, match=message):
        run(models)


def test_the_worker_ends_with_its_parent(models):
    """Killed while measuring for ever, the parent leaves no process behind."""
    code = (
        "import sys, pathlib; from keras_nas.devices import HostDevice;"
        "p = {'a': pathlib.Path(sys.argv[1])};"
        "HostDevice().run(p, p['a'], rounds=10**9, seed=0,"
        " on_round=lambda n: print(n, flush=True))"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", code, str(models["small"])], stdout=subprocess.PIPE, text=True
    )
    assert parent.stdout.readline() == "1\n"
    path = f"/proc/{parent.pid}/task/{parent.pid}/children"
    try:
        with open(path) as file:
            children = file.read().split()
    except OSError:
        pytest.skip("this system does not list a process's children")
    finally:
        parent.kill()
        parent.communicate()
    assert len(children) == 1
    for _ in range(100):
        try:
            with open(f"/proc/{children[0]}/stat") as file:
                if file.read().split()[2] == "Z":
                    return
        except OSError:
            return
        time.sleep(0.05)
    pytest.fail("the worker still runs")


def test_starts_without_tensorflow():
    code = (
        "import json, sys; import keras_nas.devices, keras_nas.tools.measure;"
        "print(json.dumps('tensorflow' in sys.modules))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert json.loads(result.stdout) is False


def test_measured_network_is_in_the_unit_of_the_table(models):
    large, small = models["large"].read_bytes(), models["small"].read_bytes()
    effort = Effort(rounds=3, min_processes=2, max_processes=2)
    measurement = measure_network(HostDevice(), large, small, 10.0, effort=effort)
    assert 20 < measurement.latency_ms < 320  # 8 times the work of 10 ms
    assert measurement.raw_ms < 10
    assert len(measurement.samples_ms) == 2
