"""Converting in this process and in several, with an independent look at the files."""

import sys

import pytest
from ai_edge_litert.interpreter import Interpreter

from keras_nas.devices import DeviceError, HostDevice, conversion, worker
from keras_nas.devices.conversion import EMPTY, Target, convert_models
from keras_nas.export import check_operations, convert_frozen
from keras_nas.models import build_network

CLASSES = 3
COUNTER = """
import json, sys, pathlib, os
for line in sys.stdin:
    request = json.loads(line)
    if request["name"] == "random_3":
        {fails}
    pathlib.Path(request["path"]).parent.mkdir(exist_ok=True)
    pathlib.Path(request["path"]).write_text(f"{{request['name']}} {{os.getpid()}}")
    print(json.dumps({{}}), flush=True)
"""


@pytest.fixture
def target(space):
    return Target(space, CLASSES, HostDevice(), "float32")


@pytest.fixture
def networks(space):
    return [space.lightest(), space.heaviest(), *map(space.random, range(6))]


def test_networks_pieces_and_the_empty_network(target, space, tmp_path, monkeypatch):
    monkeypatch.setattr(conversion, "MODELS_PER_WORKER", 1000)
    key = space.block_pieces()[0][0].key
    seen = []
    paths = convert_models(
        target,
        tmp_path,
        architectures=[space.heaviest()],
        names=[key, EMPTY],
        on_progress=lambda *progress: seen.append(progress),
    )
    assert list(paths) == ["heaviest", key, EMPTY]
    assert seen == [(n, 3, f"converting {name}") for n, name in enumerate(paths, start=1)]
    shapes = {}
    for name, path in paths.items():
        interpreter = Interpreter(str(path))
        shapes[name] = [
            list(entry["shape"])
            for entry in (*interpreter.get_input_details(), *interpreter.get_output_details())
        ]
    assert shapes == {
        "heaviest": [[1, 8, 8, 3], [1, 3]],
        key: [[1, 4, 4, 8], [1, 2, 2, 8]],
        EMPTY: [[1, 1, 1, 8]] * 2,
    }
    # Fused batch norm, which is built faster, makes no other operations.
    usual = convert_frozen(build_network(space.heaviest(), space.input_shape, CLASSES))
    assert check_operations(paths["heaviest"].read_bytes()) == check_operations(usual)
    changed = {path: path.stat().st_mtime_ns for path in paths.values()}
    assert convert_models(target, tmp_path, architectures=[space.heaviest()]) == {
        "heaviest": paths["heaviest"]
    }
    assert changed == {path: path.stat().st_mtime_ns for path in paths.values()}


def test_a_bad_precision_is_named(target, space, tmp_path):
    bad = Target(space, CLASSES, target.device, "int3")
    with pytest.raises(ValueError, match=r"precision .* 'int3'"):
        convert_models(bad, tmp_path, architectures=[space.lightest()])


@pytest.fixture
def several(monkeypatch):
    """Two processes that write their number in place of a model."""

    def use(fails="pass"):
        program = COUNTER.format(fails=fails)
        monkeypatch.setattr(conversion.os, "cpu_count", lambda: 2)
        monkeypatch.setattr(conversion, "MODELS_PER_WORKER", 2)
        monkeypatch.setattr(worker, "command", lambda module: [sys.executable, "-c", program])

    return use


def test_two_processes_share_the_work(target, networks, tmp_path, several):
    several()
    seen = []
    paths = convert_models(
        target,
        tmp_path / "models",
        architectures=networks,
        on_progress=lambda done, total, what: seen.append((done, total)),
    )
    texts = [path.read_text().split() for path in paths.values()]
    assert [name for name, _ in texts] == [network.name for network in networks]
    assert len({process for _, process in texts}) == 2
    assert seen == [(n, 8) for n in range(1, 9)]


@pytest.mark.parametrize(
    ("fails", "error", "named"),
    [
        (
            "print(json.dumps({'error': 'no such layer'}), flush=True); continue",
            ValueError,
            "no such",
        ),
        ("os.kill(os.getpid(), 9)", DeviceError, "converting process was killed by signal 9"),
    ],
)
def test_what_fails_in_a_process_is_told(target, networks, tmp_path, several, fails, error, named):
    several(fails)
    with pytest.raises(error, match=named):
        convert_models(target, tmp_path / "models", architectures=networks)


def test_the_real_worker(target, space, tmp_path):
    """It answers in order, with nothing of TensorFlow's in between."""
    request = {
        "space": space.to_json(), "classes": CLASSES, "format": "tflite", "batch": 1,
        "architecture": None, "name": EMPTY, "path": str(tmp_path / "empty.tflite"),
    }  # fmt: skip
    with worker.start(conversion.MODULE, "converting") as process:
        answer = process.ask({**request, "precision": "int3"})
        assert "precision should be one of" in answer["error"]
        assert process.ask({**request, "precision": "int8"}) == {}
    assert (tmp_path / "empty.tflite").read_bytes()[4:8] == b"TFL3"
