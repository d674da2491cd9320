"""The real stages of a tiny experiment through the real program: whole, killed, out of disk."""

import json
import os
import resource
import shutil
import signal
import subprocess
import time
import zipfile
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from keras_nas import journal, measuring_stages, pipeline, stages
from keras_nas.config import LimitsConfig
from keras_nas.context import Context
from keras_nas.data import sources
from keras_nas.data.augmentation import Augmentation
from keras_nas.data.examples import Examples
from keras_nas.experiment import load_space
from keras_nas.files import read_json
from keras_nas.resources import LatencyTable
from keras_nas.space import Architecture

ROOT = Path(__file__).parents[1]
TRAINED = "--stages=profile,pretrain,supernet,search,project,finetune"


@pytest.fixture(scope="module")
def table_file(tmp_path_factory, made_up_table):
    """A table file that both runs take, since a measured one never repeats."""
    names: dict = {}
    exec((ROOT / "tests" / "tiny_config.py").read_text(), names)
    path = tmp_path_factory.mktemp("table") / "table.json"
    path.write_text(made_up_table(load_space(names["get_config"]().space), 10).to_json())
    return path


@pytest.fixture(scope="module")
def finished(tmp_path_factory, run_program, table_file):
    """Folder and output of one whole run."""
    folder = tmp_path_factory.mktemp("whole")
    process = run_program(f"--workdir={folder}", f"--config.device.latency_table={table_file}")
    assert process.returncode == 0, process.stderr
    return folder, process


def test_the_whole_job_leaves_its_files_and_a_summary(finished):
    folder, process = finished
    names = [
        "latency_table.json",
        "search.json",
        "projection.json",
        "architecture.json",
        "network.keras",
        "network.tflite",
        "network_float16.tflite",
        "measurement.json",
        "report.html",
    ]
    for name in names:
        assert (folder / name).stat().st_size > 100
        assert name in process.stdout  # the summary says where the files are
    for text in ("limit", "predicted", "measured", "accuracy", "MACs", "parameters", str(folder)):
        assert text in process.stdout
    for stage in ("pretrain", "supernet", "search", "project", "finetune"):
        assert f"] {stage}: done in" in process.stdout
    for stage in ("pretrain", "supernet", "search", "finetune"):
        assert f"{stage}: 100%" in process.stderr  # progress
    for noise in ("error", "oneDNN", "Traceback"):
        assert noise not in process.stderr
    left = [path.name for path in (folder / pipeline.RECORDS).iterdir() if path.is_dir()]
    assert left == []  # checkpoints are gone


def test_the_found_network_keeps_the_limit_in_exact_arithmetic(finished, tiny_config):
    folder, _ = finished
    architecture = Architecture.from_json((folder / "architecture.json").read_text())
    table = LatencyTable.from_json((folder / "latency_table.json").read_text())
    record = read_json(folder / "search.json")
    latency_ms = table.latency_ms(architecture, (16, 16, 3), 10)
    assert latency_ms <= record["limits"]["latency_ms"]
    projection = read_json(folder / "projection.json")
    assert projection["resources"]["latency_ms"] == pytest.approx(latency_ms, rel=1e-12)
    assert load_space(tiny_config.space).encode(architecture)
    for row in record["trajectory"]:
        assert row["latency_ms"] <= record["limits"]["latency_ms"] * (1 + 1e-9)
    assert len(record["trajectory"]) == 8  # 0.3 epochs of 287 held-out images, 12 a step


def test_the_network_is_plain_keras(finished):
    network = keras.models.load_model(finished[0] / "network.keras", compile=False)
    assert {type(layer).__module__.split(".")[0] for layer in network.layers} == {"keras"}
    assert network.output_shape == (None, 10)


def weights(folder: Path) -> dict[str, np.ndarray]:
    """All trained weights of a work directory."""
    found = {}
    for name in ("heaviest.npz", "supernet.npz"):
        with np.load(folder / name) as archive:
            found |= {f"{name}:{key}": archive[key] for key in archive.files}
    network = keras.models.load_model(folder / "network.keras", compile=False)
    return found | {f"network:{w.path}": w.numpy() for w in network.weights}


def test_killed_in_every_training_stage_it_ends_in_the_same(
    finished, tmp_path, command, table_file
):
    """SIGKILL as soon as a checkpoint of a stage appears, then the same command again."""
    arguments = [f"--workdir={tmp_path}", f"--config.device.latency_table={table_file}", TRAINED]
    moments = ["pretrain-*/pretrain/step-1", "search-*/search/step-4", "finetune-*/finetune/step-2"]
    for moment in [*moments, None]:
        with open(tmp_path / "log", "a") as log:
            process = subprocess.Popen(command(*arguments), cwd=ROOT, stdout=log, stderr=log)
        while process.poll() is None:
            if moment and any((tmp_path / pipeline.RECORDS).glob(moment)):
                os.kill(process.pid, signal.SIGKILL)
                break
            time.sleep(0.005)
        expected = -signal.SIGKILL if moment else 0
        assert process.wait() == expected, (tmp_path / "log").read_text()
    log = (tmp_path / "log").read_text()
    assert log.count("pretrain: done") == log.count("search: done") == 1
    folder, _ = finished
    for name in ("architecture.json", "latency_table.json"):
        assert (tmp_path / name).read_bytes() == (folder / name).read_bytes()
    ours, theirs = weights(tmp_path), weights(folder)
    assert ours.keys() == theirs.keys()
    for key, value in ours.items():
        np.testing.assert_array_equal(value, theirs[key], err_msg=key)
    ours, theirs = (read_json(f / "search.json") for f in (tmp_path, folder))
    assert ours["end"] == theirs["end"]
    assert [r["loss"] for r in ours["trajectory"]] == [r["loss"] for r in theirs["trajectory"]]


def test_a_full_disk_is_one_line_and_loses_nothing(tmp_path, run_program, table_file):
    """No file may grow over 12 kB: the table fits, the first checkpoint does not."""
    process = run_program(
        f"--workdir={tmp_path}",
        f"--config.device.latency_table={table_file}",
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (12_000, 12_000)),
    )
    assert process.returncode == 1
    error = process.stderr.splitlines()[-1]
    assert error.startswith("error: ")
    assert "pretrain" in error
    assert "cannot be written" in error
    assert "free disk space" in error
    assert "Traceback" not in process.stderr
    table = (tmp_path / "latency_table.json").read_bytes()
    record = json.loads((tmp_path / pipeline.RECORDS / "profile.json").read_text())
    assert record["writes"]["latency_table.json"]
    assert table == table_file.read_bytes()
    assert not list(tmp_path.glob(".*.json.*"))


def refused(tiny_config, folder, error, message, names=("profile",)):
    with pytest.raises(error, match=message):
        pipeline.run(tiny_config, folder, names, log=lambda line: None)
    left = {path.name for path in folder.iterdir()}
    assert left == {pipeline.RECORDS, journal.LOG, journal.EVENTS}
    assert (folder / journal.EVENTS).read_text().splitlines()[-1].count('"error"') == 1


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("device.precision", "float16", "made for precision 'float32', and is asked for 'float16'"),
        ("device.threads", 2, "made for threads 1, and is asked for 2"),
        ("space.resolution", 32, r"made for input_shape \(16, 16, 3\), .* \(32, 32, 3\)"),
        ("space.width_multiplier", 2.0, "made for space 'tiny' .* lacks .* pieces"),
        (None, None, "made for device processor 'Chip 9', and is asked for"),
    ],
)
def test_a_table_of_something_else_is_refused(
    tiny_config, tiny_table, tmp_path, path, value, message
):
    text = tiny_table.to_json()
    if path:
        group, field = path.split(".")
        setattr(getattr(tiny_config, group), field, value)
    else:
        text = text.replace(json.dumps(tiny_table.device.processor), '"Chip 9"')
    (tmp_path / "table.json").write_text(text)
    tiny_config.device.latency_table = str(tmp_path / "table.json")
    refused(tiny_config, _made(tmp_path / "work"), ValueError, message)


@pytest.mark.parametrize("text", ["", "{", '{"format": "keras_nas.latency_table"}', "\xff"])
def test_a_damaged_given_table_is_refused(tiny_config, tiny_table, tmp_path, text):
    file = tmp_path / "table.json"
    file.write_bytes(text.encode("latin-1"))
    tiny_config.device.latency_table = str(file)
    refused(tiny_config, _made(tmp_path / "work"), ValueError, str(file))
    file.unlink()
    refused(tiny_config, tmp_path / "work", FileNotFoundError, str(file))


def _made(folder):
    folder.mkdir()
    return folder


def _images(folder, size=16, mode="RGB", classes=("cats", "dogs"), count=5):
    for number, name in enumerate(classes):
        (folder / name).mkdir(parents=True)
        for i in range(count):
            Image.new(mode, (size, size), 10 * i + number).save(folder / name / f"{i}.png")
    return folder


def test_bad_images_are_refused_before_anything_is_measured(tiny_config, tmp_path):
    work = _made(tmp_path / "work")
    cases = [
        (tmp_path / "missing", FileNotFoundError, "missing does not exist"),
        (_made(tmp_path / "empty"), ValueError, "empty is empty of class folders"),
        (_images(tmp_path / "one", classes=("cats",)), ValueError, r"one class only \(cats\)"),
        (_images(tmp_path / "small", size=15), ValueError, r"small.*png.*15"),
        (_images(tmp_path / "modes", mode="LA"), ValueError, r"modes.*png has mode LA"),
        (_images(tmp_path / "damaged"), ValueError, r"damaged/dogs/3\.png is damaged"),
        (_images(tmp_path / "none", count=0), ValueError, "cats is empty"),
    ]
    image = tmp_path / "damaged" / "dogs" / "3.png"
    image.write_bytes(image.read_bytes()[:40])
    tiny_config.data.resize = "none"
    for folder, error, message in cases:
        tiny_config.data.source = f"folder:{folder}"
        refused(tiny_config, work, error, message)
    tiny_config.data.source = "digitz"
    refused(tiny_config, work, ValueError, 'source .digitz.; use "digits", "tfds:NAME" or "folder')
    tiny_config.data.source, tiny_config.data.data_dir = "tfds:nothing_such", str(tmp_path)
    refused(tiny_config, work, ValueError, "Unknown TFDS data set 'nothing_such'.*Correct the name")


def test_a_damaged_image_found_late_is_one_line(tiny_config, tmp_path, monkeypatch):
    """Sets too large for memory are decoded while training, inside TensorFlow."""
    folder = _images(tmp_path / "lazy")
    source = sources.load(
        f"folder:{folder}", resolution=16, memory_limit_bytes=0, test_fraction=0.4
    )
    for image in folder.glob("*/*.png"):
        image.write_bytes(image.read_bytes()[:40])
    context = Context(tiny_config, tmp_path)
    indices = np.arange(source.train.examples)
    context.__dict__["examples"] = Examples(
        source, indices, indices, (0.5,) * 3, (0.5,) * 3, Augmentation(), 0
    )
    context.checkpoints = tmp_path / "checkpoints"
    with pytest.raises(RuntimeError) as caught:
        stages.run("pretrain", context)
    text = str(caught.value)
    assert text.startswith("stage 'pretrain': ")
    assert ".png is damaged or not an image" in text
    assert "replace or remove it" in text
    assert len(text.splitlines()) == 1


def test_other_failures_of_tensorflow_name_the_stage(monkeypatch):
    def fail(context):
        raise tf.errors.ResourceExhaustedError(None, None, "OOM when allocating\nlong dump")

    monkeypatch.setitem(stages.SEARCHES["hardcore_nas"], "search", fail)
    with pytest.raises(RuntimeError, match=r"stage 'search': .*OOM when allocating \(--debug") as e:
        stages.run("search", None)
    assert "long dump" not in str(e.value)


def test_weights_of_another_space_are_refused(finished, tiny_config):
    tiny_config.space.width_multiplier = 2.0
    context = Context(tiny_config, finished[0])
    with pytest.raises(ValueError, match=r"heaviest\.npz.* another search space"):
        context.heaviest()
    with pytest.raises(ValueError, match=r"supernet\.npz.* another search space"):
        context.supernet()


def test_measuring_on_another_device_is_refused(finished, tiny_config):
    tiny_config.device.threads = 2
    with pytest.raises(ValueError, match="made for threads 1, and is asked for 2"):
        stages.run("measure", Context(tiny_config, finished[0]))


def test_a_damaged_network_is_refused(tiny_config, tmp_path, finished):
    whole = (finished[0] / "network.keras").read_bytes()
    with zipfile.ZipFile(tmp_path / "network.keras", "w") as archive:
        archive.writestr("config.json", "{")
    for damaged in (whole[:1000], b"", (tmp_path / "network.keras").read_bytes()):
        (tmp_path / "network.keras").write_bytes(damaged)
        with pytest.raises(ValueError, match=r"network\.keras cannot be loaded"):
            stages.run("export", Context(tiny_config, tmp_path))


def test_stratified_batches_are_checked_before_training(tiny_config, tmp_path):
    tiny_config.supernet.batch_size = 13
    with pytest.raises(ValueError, match=r"divides by 4 .*received 13"):
        stages.run("pretrain", Context(tiny_config, tmp_path))


def test_the_projected_network_is_measured_and_kept_for_a_resumed_run(
    finished, tiny_config, tmp_path, monkeypatch
):
    """On a made-up table any network may come first; one that is measured to keep T comes out."""
    names = ("latency_table.json", "search.json", "heaviest.npz", "supernet.npz")
    for name in names:
        shutil.copy(finished[0] / name, tmp_path / name)
    tiny_config.projection.rounds = 4
    table = LatencyTable.from_json((tmp_path / "latency_table.json").read_text())
    model = table.cost_model(load_space(tiny_config.space), 10)
    tiny_config.limits = LimitsConfig(latency_ms=model.largest())
    context = Context(tiny_config, tmp_path, tmp_path / "checkpoints")
    outputs = stages.run("project", context)
    rounds = outputs["projection.json"]["rounds"]
    found = tuple(outputs["projection.json"]["configurations"])
    chosen = [r for r in rounds if r["configurations"] == found]
    assert any(r["keeps_limit"] for r in chosen)
    assert len(list((tmp_path / "checkpoints" / "measured").iterdir())) == len(rounds)

    def refuse(*_, **__):
        raise AssertionError("measured again")

    monkeypatch.setattr(measuring_stages, "measure_network", refuse)
    assert stages.run("project", context)["projection.json"]["rounds"] == rounds
