"""Runs that are killed, stopped or out of disk, in processes of their own."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

KILLS = (
    "killed before pruning",  # after the save of step 12
    "killed between loops",  # after step 16, which is in the history but not saved
    "killed while writing",
    "killed before rename",
)
RUNS = (
    "whole:",
    *(f"killed:{end}" for end in KILLS),
    "killed:",
    "stopped:signal",
    "stopped:",
    "full:disk full",
    "twice:two signals",
)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def codes(root):
    """Exit codes by run."""
    script = Path(__file__).with_name("program.py")
    done = subprocess.run(
        [sys.executable, script, root, *RUNS],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        check=True,
        timeout=300,
    )
    return dict(zip(RUNS, json.loads(done.stdout), strict=True))


def result(root, name):
    with np.load(root / f"{name}.npz") as file:
        return [file[key] for key in file.files]


def history(root, name):
    rows = [json.loads(line) for line in (root / name / "history.jsonl").open()]
    for row in rows:
        del row["seconds"]
    return rows


def assert_equal_to_whole(root, name):
    whole = result(root, "whole")
    assert len(whole) > 12
    for position, (expected, found) in enumerate(zip(whole, result(root, name), strict=True)):
        np.testing.assert_array_equal(found, expected, err_msg=f"variable {position}")
    assert history(root, name) == history(root, "whole")


def test_the_whole_run_changes_every_kind_of_variable(program, root, codes):
    assert codes["whole:"] == 0
    phase = program.build()
    for variable, final in zip(phase.variables, result(root, "whole"), strict=True):
        changes = "learning_rate" not in getattr(variable, "path", "")
        assert np.array_equal(np.asarray(variable), final) != changes


def test_killed_runs_end_as_an_uninterrupted_one(root, codes):
    assert [codes[f"killed:{end}"] for end in KILLS] == [-9] * len(KILLS)
    assert codes["killed:"] == 0
    assert_equal_to_whole(root, "killed")
    names = {path.name for path in (root / "killed").iterdir()}
    best = min(history(root, "killed"), key=lambda row: row["loss"])["step"]
    assert names == {"history.jsonl", "step-20", "step-23", f"step-{best}"}


def test_sigterm_saves_and_the_next_run_continues(root, codes):
    assert codes["stopped:signal"] == 128 + 15
    message = (root / "stopped.txt").read_text()
    # Asked to stop after the loop that ended at 8: the next loop does not start.
    assert "Phase 'toy' was stopped by SIGTERM after step 8 of 23" in message
    assert codes["stopped:"] == 0
    assert_equal_to_whole(root, "stopped")


def test_a_full_disk_is_an_error_that_names_the_checkpoint_and_loses_nothing(root, codes):
    assert codes["full:disk full"] == 1
    message = (root / "full.txt").read_text()
    assert f"OSError: Checkpoint {root / 'full' / 'step-12'} cannot be written" in message
    assert "free disk space" in message
    names = {path.name for path in (root / "full").iterdir()}
    assert names == {"history.jsonl", "step-4", "step-8"}


def test_a_second_signal_ends_the_process_inside_the_compiled_loop(root, codes):
    assert codes["twice:two signals"] == 128 + 15
    assert "Second signal" in (root / "twice.txt").read_text()
    assert not list((root / "twice").glob("step-*"))
