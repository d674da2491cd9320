"""The real stages of a tiny experiment through the real program: whole, killed, out of disk."""

import dataclasses
import glob
import json
import resource
import shutil
import signal
import zipfile
from pathlib import Path

import keras
import numpy as np
import pytest

from benchmarks import kills
from keras_nas import journal, measuring_stages, pipeline, stages
from keras_nas.config import DeviceConfig, LimitsConfig, OtherDeviceConfig
from keras_nas.context import Context
from keras_nas.devices import HostDevice, Run
from keras_nas.experiment import load_space
from keras_nas.files import read_json, write_json
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
    right = 287 * projection["held_out_accuracy"]
    assert 0 <= right <= 287 and right == pytest.approx(round(right))


def test_the_network_is_plain_keras(finished):
    network = keras.models.load_model(finished[0] / "network.keras", compile=False)
    assert {type(layer).__module__.split(".")[0] for layer in network.layers} == {"keras"}
    assert network.output_shape == (None, 10)


def kill_moments(folder: Path):
    """Three of them: in a training, in the search, and while a checkpoint is being written."""

    def saved(pattern):
        return lambda: bool(glob.glob(f"{pipeline.RECORDS}/{pattern}", root_dir=folder))

    def writing_in_finetune():
        return any("finetune-" in name for name in kills.partial_files(folder))

    return saved("pretrain-*/pretrain/step-1"), saved("search-*/search/step-4"), writing_in_finetune


def test_killed_three_times_it_ends_in_the_same(finished, tmp_path, table_file):
    """SIGKILL, then the same command again; benchmarks/kill.py does so with the quickstart."""
    folder, arguments = tmp_path / "work", [f"--config={ROOT / 'tests' / 'tiny_config.py'}"]
    arguments += [f"--config.device.latency_table={table_file}", TRAINED]
    stages = []
    for moment in kill_moments(folder):
        assert kills.run(arguments, folder, moment) == -signal.SIGKILL
        place = kills.place(folder)
        stages.append(place["stage"])
    assert stages == ["pretrain", "search", "finetune"]
    assert ".partial" in place["writing"]
    assert kills.run(arguments, folder) == 0
    assert kills.differences(folder, finished[0]) == []
    assert kills.partial_files(folder) == []
    found = journal.read_events(folder)
    kinds = [event["event"] for event in found]
    assert kinds.count("run_began") == 4
    assert kinds.count("run_ended") == 1
    assert "error" not in kinds
    restored = [event["phase"] for event in found if event["event"] == "restored"]
    assert restored[:2] == ["pretrain", "search"]
    for name in ("pretrain", "supernet", "search", "finetune"):
        assert list((folder / "tensorboard" / name).glob("events.out.tfevents.*"))


def test_what_differs_between_two_results_is_named(finished, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(finished[0], folder)
    assert kills.differences(folder, finished[0]) == []
    with np.load(folder / "supernet.npz") as archive:
        arrays = dict(archive)
    name = next(name for name, value in arrays.items() if value.size > 1)
    arrays[name] = np.nextafter(arrays[name], np.float32(9))
    np.savez(folder / "supernet.npz", **arrays)
    record = read_json(folder / "search.json")
    record["trajectory"][0]["loss"] += 1e-9
    write_json(folder / "search.json", record)
    (folder / "architecture.json").write_text("{}")
    assert kills.differences(folder, finished[0]) == [
        "architecture.json", "search.json: trajectory", f"supernet.npz: {name}"
    ]  # fmt: skip


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
    """On made-up tables any network may come first; one that is measured to keep T comes out, on
    both devices."""
    shutil.copytree(finished[0], tmp_path, dirs_exist_ok=True)
    tiny_config.projection.rounds = 4
    table = LatencyTable.from_json((tmp_path / "latency_table.json").read_text())
    int8 = dataclasses.replace(table, precision="int8", scale=1.25)
    (tmp_path / "latency_table_small.json").write_text(int8.to_json())
    tiny_config.other_devices = {
        "small": OtherDeviceConfig(DeviceConfig(precision="int8"), latency_fraction=1.0)
    }
    model = table.cost_model(load_space(tiny_config.space), 10)
    tiny_config.limits = LimitsConfig(latency_ms=model.largest())
    context = Context(tiny_config, tmp_path, tmp_path / "checkpoints")
    outputs = stages.run("project", context)
    record = outputs["projection.json"]
    rounds = record["rounds"]
    assert set(record["resources"]) == {"latency_ms", "latency_ms@small"}
    chosen = [r for r in rounds if r["configurations"] == tuple(record["configurations"])]
    assert any(r["keeps_limit"] for r in chosen)
    assert all(r["others"]["latency_ms@small"]["keeps_limit"] for r in chosen)
    devices = {
        "measured": rounds,
        "measured_small": [r["others"]["latency_ms@small"] for r in rounds],
    }
    for folder, rows in devices.items():
        names = [path.stem for path in (tmp_path / "checkpoints" / folder).iterdir()]
        assert sum(name.endswith("_0") for name in names) == len(rounds)
        # Once more where it kept the limit, and at most then.
        again = sum(name.endswith("_1") for name in names)
        assert sum(row["keeps_limit"] for row in rows) <= again == len(names) - len(rounds)

    def refuse(*_, **__):
        raise AssertionError("measured again")

    monkeypatch.setattr(measuring_stages, "measure_network", refuse)
    assert stages.run("project", context)["projection.json"]["rounds"] == rounds


def test_the_exported_file_of_each_device_is_measured_and_reported(
    finished, tiny_config, tmp_path, monkeypatch
):
    """Without the clock: which file of which precision, and what the report says."""
    shutil.copytree(finished[0], tmp_path, dirs_exist_ok=True)
    table = LatencyTable.from_json((tmp_path / "latency_table.json").read_text())
    int8 = dataclasses.replace(table, precision="int8")
    (tmp_path / "latency_table_small.json").write_text(int8.to_json())
    device = DeviceConfig(precision="int8")
    tiny_config.other_devices = {"small": OtherDeviceConfig(device, latency_ms=0.5)}
    context = Context(tiny_config, tmp_path, device_name="small")
    seen = []

    def run(device, models, reference, *, rounds, seed, on_round):
        seen.append(models["network"].read_bytes())
        return Run({"network": [3.0] * rounds}, {"network": [2.0] * rounds})

    monkeypatch.setattr(HostDevice, "run", run)
    outputs = stages.run("measure", context)
    assert set(seen) == {(tmp_path / "network_int8.tflite").read_bytes()}
    (tmp_path / "measurement_small.json").write_text(outputs["measurement_small.json"])
    for name, group, value in (("search", "limits", 0.5), ("projection", "resources", 0.25)):
        record = read_json(tmp_path / f"{name}.json", name)
        record[group]["latency_ms@small"] = value
        write_json(tmp_path / f"{name}.json", record)
    outputs = stages.run("report", context)
    assert "latency on small 0.5000 ms" in outputs["summary.txt"]
    assert "predicted    0.2500 ms on small" in outputs["summary.txt"]
    assert "measured     0.7500 ms ± 0 ms on small" in outputs["summary.txt"]
    assert "latency on small: no, measured 50.0% above" in outputs["summary.txt"]
    assert "latency_table_small.json" in outputs["summary.txt"]
    assert "Breaks the latency on small limit" in outputs["report.html"]
    assert "<h3>On small</h3>" in outputs["report.html"]
