"""The same numbers on four devices as on one, in processes that have four."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def run(*command):
    process = subprocess.run(
        [sys.executable, *command], cwd=ROOT, capture_output=True, text=True, timeout=900
    )
    assert process.returncode == 0, process.stderr[-3000:]
    return process.stdout.splitlines()


def test_parts_on_four_devices():
    """What a step is made of; the program's own checks."""
    passed = run("tests/tpu/four_devices.py")
    assert len(passed) == (ROOT / "tests/tpu/four_devices.py").read_text().count("\ndef check_")


@pytest.fixture(scope="module")
def differences():
    return json.loads(run("-m", "benchmarks.replicas", "--phases=stratified,search")[-1])


@pytest.mark.parametrize("phase", ["stratified", "search"])
def test_ten_steps_on_four_devices_equal_one(differences, phase):
    """Weights, statistics, optimizer and average; alpha, beta and their gradients.

    All phases: python -m benchmarks.replicas.
    """
    found = differences[phase]
    assert found["variables"] > 60
    assert 0 < found["from_one"] < 1e-5
    assert found["among"] == 0
