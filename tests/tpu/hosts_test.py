"""Two processes that train together against one alone."""

import importlib.util
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np

from tpu.hosts import from_chief, host_count, host_index, is_chief, on_any_host
from tpu.strategy import strategy_for

PROGRAM = Path(__file__).with_name("two_hosts.py")


def free_ports(count):
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("localhost", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def start_two_hosts(folder):
    """Starts the program on two hosts, which share a folder."""
    cluster = {"worker": [f"localhost:{port}" for port in free_ports(2)]}
    for index in range(2):
        task = {"cluster": cluster, "task": {"type": "worker", "index": index}}
        yield subprocess.Popen(
            [sys.executable, str(PROGRAM), str(folder)],
            env=os.environ | {"TF_CONFIG": json.dumps(task)},
            stderr=subprocess.PIPE,
            text=True,
        )


def run_here(folder):
    """Runs the program on one host, in this process."""
    spec = importlib.util.spec_from_file_location("two_hosts", PROGRAM)
    program = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(program)
    program.run(folder)


def test_two_hosts_equal_one(tmp_path):
    """Weights, statistics and totals; each image is read by one host, the last share is empty."""
    folders = {name: tmp_path / name for name in ("two", "one")}
    for folder in folders.values():
        folder.mkdir()
    processes = list(start_two_hosts(folders["two"]))
    run_here(folders["one"])
    for process in processes:
        _, messages = process.communicate(timeout=300)
        assert process.returncode == 0, messages[-2000:]
    two, one = (np.load(folders[name] / "result.npz") for name in ("two", "one"))
    assert set(two) == set(one) and float(two["examples"]) in (359.0, 360.0)
    for name in one:
        np.testing.assert_allclose(two[name], one[name], rtol=1e-5, atol=1e-5)
    for index in range(2):
        agreed = json.loads((folders["two"] / f"host-{index}.json").read_text())
        assert agreed == {"from_chief": 7, "any": True, "none": False, "steps": [6]}


def test_one_host_is_the_chief_and_agrees_with_itself():
    cpu = strategy_for("cpu")
    assert (host_count(cpu), host_index(cpu), is_chief(cpu)) == (1, 0, True)
    assert from_chief(cpu, 5) == 5
    assert on_any_host(cpu, True) and not on_any_host(cpu, False)
