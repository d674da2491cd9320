"""The scripts that the launcher runs on a Cloud TPU's VM, in a real shell."""

import os
import subprocess
import time
import tomllib
from pathlib import Path

import pytest

from tpu.launch import commands
from tpu.launch.commands import Machine

ROOT = Path(__file__).parents[2]


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A home folder of a VM; the program installed there ends with exit code 3 once `go` exists."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "keras_nas").mkdir()
    python = tmp_path / "venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text('#!/bin/sh\necho "got $*"\nwhile [ ! -e ~/go ]; do sleep 0.1; done\nexit 3\n')
    python.chmod(0o755)
    return tmp_path


def script(command):
    (text,) = [word for word in command if word.startswith("--command=")]
    return text.removeprefix("--command=")


def shell(command):
    done = subprocess.run(
        ["bash", "-c", script(command)], capture_output=True, text=True, timeout=20
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def wait_for_the_end(machine, code):
    deadline = time.monotonic() + 60  # of a busy machine
    while (found := shell(commands.progress(machine))) == "running":
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert found == f"exit {code}"


def test_the_scripts_that_run_on_the_vm(home):
    """In a real shell: started once, followed, and its exit code found."""
    machine = Machine(name="nas", zone="z", type="v3-8")
    assert shell(commands.progress(machine)) == "stopped"
    assert shell(commands.start(machine, ["--workdir=gs://b/my nas"])) == ""
    assert shell(commands.progress(machine)) == "running"
    assert shell(commands.start(machine, [])) == "running already"
    (home / "go").touch()
    wait_for_the_end(machine, 3)
    assert shell(commands.logs(machine, follow=False, lines=5)) == (
        "got -m keras_nas --workdir=gs://b/my nas"
    )


@pytest.fixture
def slice_of(home, monkeypatch):
    """What the VM's metadata server answers -> the slice."""

    def answering(endpoints):
        curl = home / "bin" / "curl"
        curl.parent.mkdir()
        curl.write_text(f"#!/bin/sh\n{endpoints}\n")
        curl.chmod(0o755)
        monkeypatch.setenv("PATH", f"{curl.parent}:{os.environ['PATH']}")
        (home / "go").touch()
        return Machine(name="nas", zone="z", type="v5litepod-16")

    return answering


def test_the_program_on_a_slice_gets_the_addresses_of_all_hosts(slice_of):
    machine = slice_of("echo unknown:unknown:10.0.0.4,unknown:unknown:10.0.0.5")
    shell(commands.start(machine, ["--config=a b"]))
    wait_for_the_end(machine, 3)
    assert shell(commands.logs(machine, follow=False, lines=5)) == (
        "got -m keras_nas --config=a b --tpu=grpc://10.0.0.4,grpc://10.0.0.5"
    )


def test_a_slice_whose_hosts_are_not_known_is_an_error(slice_of):
    """The program would look for a TPU of its own machine."""
    machine = slice_of("exit 22")
    shell(commands.start(machine, []))
    wait_for_the_end(machine, 1)
    assert shell(commands.logs(machine, follow=False, lines=5)) == (
        "error: the metadata server names no hosts of this slice"
    )


def test_tensorflow_is_left_out_in_favour_of_the_one_for_tpus(tmp_path):
    """The line that the installation writes for uv, from a real shell."""
    steps = script(commands.install(Machine(name="nas", zone="z", type="v3-8"))).split(" && ")
    line = next(step for step in steps if step.startswith("echo"))
    subprocess.run(["bash", "-c", line], cwd=tmp_path, check=True)
    written = (tmp_path / "without_tensorflow.txt").read_text()
    assert written == "tensorflow ; sys_platform == 'never'\n"
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"][
        "optional-dependencies"
    ]
    assert extras["tpu"] == ["libtpu<=0.0.30", "tensorflow-tpu>=2.20,<2.21"]
    assert commands.SLICE_RUNTIME.startswith("tpu-vm-tf-2.20.")  # as the servers of a slice
