"""The Cloud TPU launcher against a `gcloud` that replays answers and failures."""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROGRAM = ["--", "--config=configs/quickstart.py", "--workdir=gs://bucket/nas"]
PLACE = ["--name=nas", "--zone=us-west4-a", "--project=mine"]

STATE, CREATE, DELETE = "queued-resources describe", "queued-resources create", "resources delete"
PROGRESS, INSTALL, START, TAIL = "exit $(cat", "rm -rf keras_nas", "nohup", "tail -n"
NOT_FOUND = [STATE, "ERROR: (gcloud) NOT_FOUND: Resource was not found", 1]
ACTIVE = [STATE, "ACTIVE", 0]


@pytest.fixture
def launch(tmp_path):
    """Arguments, answers -> the finished process and the calls that gcloud got."""
    script = tmp_path / "bin" / "gcloud"
    script.parent.mkdir()
    stand_in = Path(__file__).with_name("launch_stand_in.py")
    script.write_text(f'#!/bin/sh\nexec {sys.executable} {stand_in} "$@"\n')
    script.chmod(0o755)
    (tmp_path / "calls.txt").touch()

    def run(*arguments, answers=(), gcloud=True):
        (tmp_path / "answers.json").write_text(json.dumps(list(answers)))
        path = f"{script.parent}:{os.environ['PATH']}" if gcloud else str(tmp_path)
        environment = os.environ | {
            "PATH": path,
            "GCLOUD_STAND_IN": str(tmp_path),
        }
        command = [sys.executable, "-m", "tpu.launch", arguments[0], "--poll_seconds=0"]
        process = subprocess.run(
            [*command, *PLACE, *arguments[1:]],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
        )
        return process, (tmp_path / "calls.txt").read_text().splitlines()

    return run


def kinds(calls):
    """Which of the named calls came, in order."""
    names = (STATE, CREATE, DELETE, "tpu-vm scp", INSTALL, START, PROGRESS, TAIL)
    return [next(name for name in names if name in call) for call in calls]


def test_a_dry_run_prints_every_command_and_runs_none(launch):
    process, calls = launch("run", "--dry_run", *PROGRAM)
    assert process.returncode == 0, process.stderr
    assert calls == []
    lines = process.stdout.splitlines()
    create = next(line for line in lines if CREATE in line)
    assert shlex.split(create) == [
        *["gcloud", "compute", "tpus", "queued-resources", "create", "nas", "--zone=us-west4-a"],
        *["--project=mine", "--node-id=nas", "--accelerator-type=v5litepod-8"],
        *["--runtime-version=v2-alpha-tpuv5-lite", "--spot", "--quiet"],
    ]
    install = next(line for line in lines if INSTALL in line)
    assert "--worker=0" in install and ".[tpu]" in install
    start = next(line for line in lines if START in line)
    for word in ("--worker=0", *PROGRAM[1:], "--config.accelerator=tpu"):
        assert word in start
    assert "TPU_LOAD_LIBRARY" not in start
    assert any(line.startswith("git -C ") for line in lines)
    assert DELETE in lines[-1] and "--force" in lines[-1]
    assert all(shlex.split(line)[0] in ("gcloud", "git") for line in lines)


def test_a_slice_is_driven_from_its_first_host(launch):
    process, _ = launch("run", "--type=v3-32", "--dry_run", *PROGRAM)
    assert process.returncode == 0, process.stderr
    lines = process.stdout.splitlines()
    create = next(line for line in lines if CREATE in line)
    assert "--accelerator-type=v3-32 --runtime-version=tpu-vm-tf-2.20.0-pod-pjrt" in create
    start = next(line for line in lines if START in line)
    for word in ("--worker=0", "TPU_LOAD_LIBRARY=0", "--tpu=$hosts", "worker-network-endpoints"):
        assert word in start


@pytest.mark.parametrize("command", ["create", "install", "start", "status", "logs", "delete"])
def test_every_part_has_a_dry_run(launch, command):
    arguments = PROGRAM if command == "start" else []
    process, calls = launch(command, "--dry_run", "--nospot", *arguments)
    assert process.returncode == 0, process.stderr
    assert calls == [] and process.stdout and "--spot" not in process.stdout
    assert "--project=mine" in process.stdout


def test_a_run_ends_with_the_tpu_deleted(launch):
    answers = [
        NOT_FOUND, [STATE, "WAITING_FOR_RESOURCES", 0], [STATE, "PROVISIONING", 0], ACTIVE,
        [PROGRESS, "stopped", 0], [PROGRESS, "running", 0], [PROGRESS, "exit 0", 0],
        [TAIL, "98.6% right", 0],
    ]  # fmt: skip
    process, calls = launch("run", *PROGRAM, answers=answers)
    assert process.returncode == 0, process.stderr
    assert kinds(calls) == [
        STATE, CREATE, STATE, STATE, STATE, PROGRESS, "tpu-vm scp", INSTALL, START, PROGRESS,
        PROGRESS, TAIL, DELETE,
    ]  # fmt: skip
    assert "nas: WAITING_FOR_RESOURCES\nnas: PROVISIONING" in process.stderr
    assert "98.6% right" in process.stderr


@pytest.mark.parametrize("when", [PROGRESS, INSTALL, START])
def test_a_tpu_that_is_taken_away_is_replaced(launch, when):
    """In the middle of the program, of the installation, and of the start."""
    lost = "ERROR: (gcloud) ssh: connect to host: Connection timed out"
    answers = [
        NOT_FOUND, ACTIVE, [STATE, "SUSPENDED", 0], [STATE, "SUSPENDED", 0], ACTIVE,
        *([] if when == PROGRESS else [[when, lost, 255], [when, "", 0]]),
        [PROGRESS, "stopped", 0],
        *([[PROGRESS, "running", 0], [PROGRESS, lost, 255]] if when == PROGRESS else []),
        *([[PROGRESS, "stopped", 0]]), [PROGRESS, "exit 0", 0],
    ]  # fmt: skip
    if when == PROGRESS:  # the failed look at the program asks for the state once more
        answers.insert(2, [STATE, "SUSPENDED", 0])
    process, calls = launch("run", *PROGRAM, answers=answers)
    assert process.returncode == 0, process.stderr
    assert "was taken away: it is SUSPENDED" in process.stderr
    assert "restart 1 of 100" in process.stderr
    found = kinds(calls)
    assert found.count(CREATE) == 2
    assert found.count(DELETE) == 2  # the lost one, and the second at the end
    assert INSTALL in found[len(found) - found[::-1].index(CREATE) :]


def test_a_connection_that_fails_while_the_tpu_is_there_is_tried_again(launch):
    answers = [
        NOT_FOUND, ACTIVE, [PROGRESS, "running", 0], [PROGRESS, "ERROR: ssh failed", 255],
        [PROGRESS, "exit 0", 0],
    ]  # fmt: skip
    process, calls = launch("run", *PROGRAM, answers=answers)
    assert process.returncode == 0, process.stderr
    assert "no connection, trying again" in process.stderr
    # It ran already: neither installed nor started anew.
    assert INSTALL not in kinds(calls) and START not in kinds(calls)


def test_a_program_that_died_with_its_vm_is_started_again(launch):
    answers = [NOT_FOUND, ACTIVE, *[[PROGRESS, "stopped", 0]] * 2, [PROGRESS, "exit 0", 0]]
    process, calls = launch("run", *PROGRAM, answers=answers)
    assert process.returncode == 0, process.stderr
    assert kinds(calls).count(START) == 2 and kinds(calls).count(CREATE) == 1


def test_an_error_of_the_program_ends_the_run(launch):
    answers = [NOT_FOUND, ACTIVE, [PROGRESS, "exit 1", 0], [TAIL, "error: no such data set", 0]]
    process, calls = launch("run", *PROGRAM, answers=answers)
    assert process.returncode == 1
    assert "ended with exit code 1" in process.stderr
    assert "error: no such data set" in process.stderr
    assert kinds(calls)[-1] == DELETE


def test_a_tpu_is_kept_where_asked(launch):
    answers = [NOT_FOUND, ACTIVE, [PROGRESS, "exit 0", 0]]
    _, calls = launch("run", "--keep", *PROGRAM, answers=answers)
    assert DELETE not in kinds(calls)


def test_restarts_are_counted(launch):
    answers = [NOT_FOUND, [STATE, "SUSPENDED", 0]]
    process, calls = launch("run", "--restarts=2", *PROGRAM, answers=answers)
    assert process.returncode == 1
    assert "was taken away 3 times" in process.stderr
    assert kinds(calls).count(CREATE) == 3


@pytest.mark.parametrize(
    ("message", "remedy"),
    [
        ("ERROR: (gcloud) You do not currently have an active account selected.", "auth login"),
        ("ERROR: (gcloud) RESOURCE_EXHAUSTED: Quota limit 'TPUV5s' has been exceeded", "quotas"),
        ("ERROR: (gcloud) PERMISSION_DENIED: Cloud TPU API", "TPU Admin"),
        ("ERROR: (gcloud) The required property [project] is not currently set: [core/project]",
         "--project"),
        ("ERROR: (gcloud) something new", r"failed \(ERROR: \(gcloud\) something new\)\."),
    ],
)  # fmt: skip
def test_failures_of_gcloud_say_what_to_do(launch, message, remedy):
    process, calls = launch("run", *PROGRAM, answers=[NOT_FOUND, [CREATE, message, 1]])
    assert process.returncode == 1
    (line,) = process.stderr.splitlines()
    assert line.startswith("error: `gcloud compute tpus queued-resources create nas` failed")
    assert re.search(remedy, line)
    assert kinds(calls) == [STATE, CREATE]


def test_gcloud_that_is_not_installed(launch):
    process, _ = launch("create", gcloud=False)
    assert process.returncode == 1
    assert process.stderr == (
        "error: `gcloud` is not installed: install it from "
        "https://cloud.google.com/sdk/docs/install, then run again.\n"
    )


def test_no_tpu_to_be_had(launch):
    process, _ = launch("create", answers=[NOT_FOUND, [STATE, "FAILED", 0]])
    assert process.returncode == 1
    assert "there is no v5litepod-8 in us-west4-a now" in process.stderr
    process, _ = launch("create", "--wait_minutes=0", answers=[[STATE, "PROVISIONING", 0]])
    assert process.returncode == 1
    assert "is still PROVISIONING after 0 minutes" in process.stderr


def test_what_was_asked_for_already_is_waited_for(launch):
    answers = [[STATE, "PROVISIONING", 0], ACTIVE, [CREATE, "ERROR: ALREADY_EXISTS", 1]]
    process, _ = launch("create", answers=answers)
    assert process.returncode == 0, process.stderr
    assert "nas was asked for already" in process.stderr


def test_status_and_delete(launch):
    process, _ = launch("status", answers=[ACTIVE, [PROGRESS, "running", 0]])
    assert process.stdout == "ACTIVE running\n"
    process, _ = launch("status", answers=[NOT_FOUND])
    assert process.stdout == "MISSING\n"
    process, _ = launch("delete", answers=[[DELETE, "ERROR: NOT_FOUND: was not found", 1]])
    assert process.returncode == 0
    process, calls = launch("logs", answers=[[TAIL, "a line", 0]])
    assert process.stdout == "a line\n" and "-F" in calls[-1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["fly"], "say what to do: run, create"),
        (["run"], "--workdir=gs://BUCKET/FOLDER"),
        (["run", "--", "--workdir=runs/mine"], "received 'runs/mine'"),
        (["create", "--", "--workdir=gs://a/b"], "takes flags only"),
        (["create", "--zone="], "--zone is missing"),
        (["create", "--name=My_TPU"], "lower-case"),
        (["create", "--type=gpu-8"], "received 'gpu-8'"),
        (["create", "--type=v3-0"], "a size, as v5litepod-8"),
    ],
)
def test_bad_arguments(launch, arguments, message):
    process, calls = launch(*arguments)
    assert process.returncode == 1 and calls == []
    assert process.stderr.startswith("error: ") and message in process.stderr
