"""The program that a TPU gets: every phase's loop, traced under a TPUStrategy without a TPU."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from keras_nas.tools.compiled_steps import STEPS

HERE = Path(__file__).parent
STEPS_OF_PHASES = [name for name in STEPS if "/" in name]


def run(program):
    process = subprocess.run(
        [sys.executable, HERE / program], capture_output=True, text=True, timeout=600
    )
    assert process.returncode == 0, process.stderr[-3000:]
    return process.stdout


@pytest.fixture(scope="module")
def graphs():
    """Step -> what `tpu_trace_program.py` found in its graph; one process traces them all."""
    return json.loads(run("tpu_trace_program.py"))


def test_every_phase_is_traced(graphs):
    assert sorted(graphs) == sorted(STEPS_OF_PHASES)


@pytest.mark.parametrize("name", STEPS_OF_PHASES)
def test_the_loop_is_one_program_for_all_cores(graphs, name):
    graph = graphs[name]
    assert graph["replicated"] == 1  # the step, inside of one loop
    assert graph["loops"] >= 1
    assert graph["operations_on_the_tpu"] > 500
    assert graph["sums_over_cores"] >= 1
    assert graph["unsuitable"] == graph["float64"] == []
    assert all(kind.startswith("TPU") for kind in graph["variables"]), graph["variables"]


def test_a_slice_of_several_hosts_is_driven_from_here():
    """Its images and checkpoints; the program's own checks."""
    passed = run("slice_program.py").splitlines()
    assert len(passed) == (HERE / "slice_program.py").read_text().count("\ndef check_")
