"""`python -m keras_nas.tools.measure --device=android:SERIAL`, as a person runs it."""

import subprocess
import sys
from pathlib import Path

import pytest

from keras_nas.devices import Effort
from keras_nas.tools import measure

ROOT = Path(__file__).parents[3]


@pytest.fixture
def folder(tmp_path, binary, monkeypatch):
    """The current folder, with the binary under the name that it is downloaded as, and models."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    for name, us in {"a.tflite": 1500, "b.tflite": 3000}.items():
        (tmp_path / name).write_text(f"{us}\n")
    return tmp_path


def run(*arguments):
    command = [sys.executable, "-m", "keras_nas.tools.measure", *arguments]
    return subprocess.run(command, capture_output=True, text=True)


def test_files_are_measured_on_the_phone(fake_phone, folder, monkeypatch):
    effort = Effort(rounds=1, min_processes=2, max_processes=2)
    monkeypatch.setattr(measure, "NETWORK_EFFORT", effort)
    settings = measure.load_settings(None, name=f"android:{fake_phone.serial}", threads=2)
    first, second = measure.measure_files(["a.tflite", "b.tflite"], settings)
    assert first == {"file": "a.tflite", "latency_ms": 1.5, "spread": 0.0, "ratio": 1.0}
    assert second["latency_ms"] == pytest.approx(3.0)
    assert second["ratio"] == pytest.approx(2.0)
    assert all("--num_threads=2" in line for line in fake_phone.lines("ran"))
    assert fake_phone.files == []


def test_errors_are_one_line(fake_phone, folder):
    for arguments, message in (
        (["--device=android:OTHER"], "error: phone OTHER is not connected, only 1A2B3C; connect"),
        (["--device=android"], "benchmark_model was killed by signal 11 on model "),
    ):
        fake_phone.fail("--graph=", instead="(echo; exit 139)")
        result = run("a.tflite", *arguments)
        assert result.returncode == 1
        assert message in result.stderr
        assert len(result.stderr.strip().splitlines()) == 1
    assert fake_phone.files == []
