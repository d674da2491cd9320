"""A process that answers requests: in order, from anywhere, and gone at the end."""

import os
import sys

import pytest

from keras_nas.devices import DeviceError, worker

ECHO = """
import json, sys
for line in sys.stdin:
    request = json.loads(line)
    for n in range(request["times"]):
        print(json.dumps({"progress": n}), flush=True)
    print(json.dumps({"answer": request["value"]}), flush=True)
"""


@pytest.fixture
def program(monkeypatch):
    def use(text):
        monkeypatch.setattr(worker, "command", lambda module: [sys.executable, "-c", text])

    return use


def test_one_answer_a_request_with_progress_before_it(program):
    program(ECHO)
    seen = []
    with worker.start("echo", "echoing") as process:
        assert process.ask({"value": 1, "times": 2}, seen.append) == {"answer": 1}
        assert process.ask({"value": "two", "times": 0}, seen.append) == {"answer": "two"}
    assert seen == [0, 1]


def test_it_is_gone_at_the_end(program):
    program("import time; time.sleep(1000)")
    with worker.start("sleeper", "sleeping") as process:
        pid = process._process.pid
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_a_large_request_to_a_dead_process(program):
    program("raise SystemExit('no')")
    with (
        worker.start("dead", "dying") as process,
        pytest.raises(DeviceError, match="the dying process ended with exit code 1: no"),
    ):
        process.ask({"value": "x" * 10_000_000})


def test_the_package_is_found_from_anywhere(monkeypatch, tmp_path):
    (tmp_path / "json.py").write_text("raise ImportError('the wrong json')")
    monkeypatch.chdir(tmp_path)
    with (
        worker.start("keras_nas.devices.host_worker", "measuring") as process,
        pytest.raises(DeviceError, match="KeyError: 'profile'"),
    ):
        process.ask({})
