"""A tiny experiment, a latency table for it that needs no measuring, and the real program."""

import gc
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from keras_nas.config import Config
from keras_nas.devices import HostDevice
from keras_nas.experiment import load_space
from keras_nas.resources import LatencyTable
from keras_nas.resources.latency_table import CalibrationNetwork, RawSamples, all_pieces
from tpu.storage import StoredPath

ROOT = Path(__file__).parents[1]
TINY_CONFIG = ROOT / "tests" / "tiny_config.py"


LONGEST = (
    "tpu/replicas_test.py",
    "stages_test.py",
    "baselines_stage_test.py",
    "tpu/tpu_trace_test.py",
    "methods/frank_wolfe_search_test.py",
    "tpu/hosts_test.py",
    "tpu/lowering_test.py",
    "tpu/resume_test.py",
    "api_test.py",
    "tools/compare_test.py",
)
"""Files that take longest. They run first, so that no process is left alone with one at the end."""


def pytest_configure():
    """Before TensorFlow is imported."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")


def pytest_collection_modifyitems(items):
    """The longest files first, and no rewriting of graphs in the tests' own processes.

    Grappler takes longer than it saves on tiny graphs. Programs that tests start keep it.
    """
    first = {ROOT / "tests" / name: i for i, name in enumerate(LONGEST)}
    items.sort(key=lambda item: first.get(item.path, len(LONGEST)))
    if tensorflow := sys.modules.get("tensorflow"):
        tensorflow.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})


@pytest.fixture(scope="module", autouse=True)
def collected():
    """Frees a file's graphs, and leaves what survives out of later collections of garbage.

    Otherwise each full one goes through all that earlier files left behind.
    """
    yield
    gc.collect()
    gc.freeze()


@pytest.fixture
def tiny_config() -> Config:
    """A fresh copy of the tiny experiment."""
    return _read_config(TINY_CONFIG)


@pytest.fixture
def tiny_tf_nas_config(read_tiny_tf_nas_config) -> Config:
    """A fresh copy of the tiny experiment of TF-NAS."""
    return read_tiny_tf_nas_config()


@pytest.fixture(scope="session")
def read_tiny_tf_nas_config():
    """Reads a fresh copy of it."""
    return lambda: _read_config(TINY_CONFIG.with_name("tiny_tf_nas_config.py"))


@pytest.fixture
def tiny_single_path_config(read_tiny_single_path_config) -> Config:
    """A fresh copy of the tiny experiment of Single-Path NAS."""
    return read_tiny_single_path_config()


@pytest.fixture(scope="session")
def read_tiny_single_path_config():
    """Reads a fresh copy of it."""
    return lambda: _read_config(TINY_CONFIG.with_name("tiny_single_path_config.py"))


def _read_config(path: Path) -> Config:
    names: dict = {}
    exec(compile(path.read_text(), path, "exec"), names)
    return names["get_config"]()


def _made_up_table(space, classes) -> LatencyTable:
    """Of this machine's device, with a latency in proportion to a random number."""
    keys = [piece.key for piece in all_pieces(space, classes)]
    entries = np.random.default_rng(0).uniform(0.1, 1, len(keys))
    return LatencyTable(
        device=HostDevice(1).describe(),
        precision="float32",
        threads=1,
        batch=1,
        input_shape=space.input_shape,
        classes=classes,
        date="2024-05-01T12:00:00+00:00",
        method="made up",
        space_name=space.name,
        space_fingerprint=space.fingerprint(),
        reference=space.lightest(),
        reference_ms=0.5,
        overhead_ms=0.001,
        scale=1.0,
        entries=dict(zip(keys, entries.tolist(), strict=True)),
        calibration=(CalibrationNetwork(space.heaviest(), 2.0, 2.1, 2.2),),
        mean_error=0.05,
        worst_error=0.1,
        samples=RawSamples([[0.5]], {"empty": [[0.1]]}),
    )


@pytest.fixture(scope="session")
def made_up_table():
    """Space, classes -> a latency table of this machine's device with made-up entries."""
    return _made_up_table


@pytest.fixture
def tiny_table(tiny_config) -> LatencyTable:
    """A latency table of the tiny experiment."""
    return _made_up_table(load_space(tiny_config.space), 10)


def _command(*arguments, config=TINY_CONFIG) -> list[str]:
    flags = [f"--config={config}"] if config else []
    return [sys.executable, "-m", "keras_nas", *flags, *map(str, arguments)]


@pytest.fixture(scope="session")
def command():
    """Arguments -> the program's command line, with the tiny experiment unless told otherwise."""
    return _command


@pytest.fixture(scope="session")
def run_program():
    """Runs the program and returns the finished process, its output as text."""

    def run(*arguments, **options) -> subprocess.CompletedProcess:
        config = options.pop("config", TINY_CONFIG)
        return subprocess.run(
            _command(*arguments, config=config),
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=400,
            **options,
        )

    return run


@pytest.fixture
def object_store(request, monkeypatch) -> StoredPath:
    """A folder of TensorFlow's file system in memory, which stands for an object store.

    Opened for writing, a file there keeps what it holds, where an object store replaces it.
    """
    write = StoredPath.write_bytes

    def replace(path, data):
        path.unlink(missing_ok=True)
        write(path, data)

    monkeypatch.setattr(StoredPath, "write_bytes", replace)
    return StoredPath(f"ram://{request.node.originalname}")
