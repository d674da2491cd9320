"""The work directory: what is up to date, what a change makes stale, and what is refused.

Stages are stand-ins that write what they read and depend on, in no time.
"""

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from keras_nas import files, journal, pipeline, stages
from keras_nas.experiment import load_space
from keras_nas.stage_list import stages_of

ALL = [
    "profile", "pretrain", "supernet", "search", "project", "finetune", "export", "measure",
    "report",
]  # fmt: skip
AFTER = {name: ALL[number:] for number, name in enumerate(ALL)}


@pytest.fixture
def ran(monkeypatch, made_up_table):
    """Names of the stages that ran, in order; filled by stand-ins."""
    names = []

    def stand_in(name, context):
        names.append(name)
        stage = next(stage for stage in stages_of(context.config) if stage.name == name)
        made_of = json.dumps(
            [
                pipeline.relevant_settings(context.config, stage),
                [context.path(name).read_text() for name in stage.reads],
            ]
        )
        outputs = dict.fromkeys(stage.writes, f"{name} made of {made_of}")
        if name == "profile":
            table = made_up_table(load_space(context.config.space), 10)
            outputs["latency_table.json"] = dataclasses.replace(table, method=made_of).to_json()
        return outputs

    monkeypatch.setattr(stages, "run", stand_in)
    return names


def silent(line):
    """Takes the pipeline's lines."""


def run(config, folder, names=()):
    pipeline.run(config, folder, names, log=silent)


@pytest.fixture
def finished(tiny_config, tmp_path, ran):
    """A work directory where all stages are done."""
    run(tiny_config, tmp_path)
    assert ran == ALL
    ran.clear()
    return tmp_path


def modified(folder):
    """When each file was written, but for the two that grow."""
    files = (path for path in folder.iterdir() if path.is_file())
    grow = (journal.EVENTS, journal.LOG)
    return {path: path.stat().st_mtime_ns for path in files if path.name not in grow}


def test_a_second_run_does_nothing(finished, tiny_config, ran):
    before = modified(finished)
    lines = []
    pipeline.run(tiny_config, finished, log=lines.append)
    assert ran == []
    assert [line for line in lines if "up to date" in line] == [
        f"[{i}/9] {name}: up to date" for i, name in enumerate(ALL, 1)
    ]
    assert before == modified(finished)


def test_each_stage_is_in_the_journal(finished, tiny_config, ran):
    tiny_config.name = "renamed"
    run(tiny_config, finished)
    text = (finished / journal.EVENTS).read_text()
    found = [json.loads(line) for line in text.splitlines()]
    began = [event["stage"] for event in found if event["event"] == "stage_began"]
    assert began == [*ALL, "report"]
    assert [e["stage"] for e in found if e["event"] == "stage_ended"] == began
    assert [e["stage"] for e in found if e["event"] == "stage_up_to_date"] == ALL[:-1]
    log = (finished / journal.LOG).read_text()
    assert log.count("] profile: done in 0 s") == log.count("] profile: up to date") == 1


def test_a_second_run_imports_no_tensorflow(finished):
    script = (
        "import sys, runpy\n"
        "from keras_nas import pipeline\n"
        "config = runpy.run_path('tests/tiny_config.py')['get_config']()\n"
        f"pipeline.run(config, {str(finished)!r}, log=lambda line: None)\n"
        "print([m for m in ('tensorflow', 'keras') if m in sys.modules])"
    )
    root = Path(__file__).parents[1]
    process = subprocess.run(
        [sys.executable, "-c", script], cwd=root, capture_output=True, text=True
    )
    assert process.stdout.strip() == "[]", process.stderr


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        ("seed", 1, AFTER["pretrain"]),
        ("space.width_multiplier", 2.0, ALL),
        ("data.flip", True, [*AFTER["pretrain"]]),
        ("device.target_error", 0.5, ["profile", *AFTER["search"]]),
        ("pretrain.epochs", 2.0, AFTER["pretrain"]),
        ("supernet.sampling", "independent", AFTER["supernet"]),
        ("search.step_rule", "constant", AFTER["search"]),
        ("limits.latency_fraction", 0.7, AFTER["search"]),
        ("limits.macs", 1e9, AFTER["search"]),
        ("finetune.learning_rate", 0.01, AFTER["finetune"]),
        ("final", "train", ["train", "export", "measure", "report"]),
        ("batch_norm_images", 128, AFTER["project"]),
        ("projection.method", "lp", AFTER["project"]),
        ("precision", "mixed_bfloat16", AFTER["pretrain"]),
        ("name", "another", ["report"]),
        ("save_every_seconds", 5.0, ["report"]),
    ],
)
@pytest.mark.filterwarnings("ignore:the limit macs")
def test_a_changed_setting_makes_stale_what_depends_on_it(
    finished, tiny_config, ran, path, value, expected
):
    *groups, field = path.split(".")
    holder = getattr(tiny_config, groups[0]) if groups else tiny_config
    setattr(holder, field, value)
    run(tiny_config, finished)
    assert ran == expected
    ran.clear()
    run(tiny_config, finished)
    assert ran == []


def test_the_content_of_a_named_file_counts(tmp_path, tiny_config, tiny_table, ran):
    table = tmp_path / "given.json"
    table.write_text(tiny_table.to_json())
    tiny_config.device.latency_table = str(table)
    run(tiny_config, tmp_path / "work", ["profile"])
    run(tiny_config, tmp_path / "work", ["profile"])
    assert ran == ["profile"]
    table.write_text(dataclasses.replace(tiny_table, scale=2.0).to_json())
    run(tiny_config, tmp_path / "work", ["profile"])
    assert ran == ["profile", "profile"]


def test_a_deleted_output_is_made_again(finished, tiny_config, ran):
    for stage in stages_of(tiny_config):
        for name in stage.writes:
            before = (finished / name).read_bytes()
            (finished / name).unlink()
            run(tiny_config, finished)
            assert ran == [stage.name]  # what it makes is as before, so nothing else is stale
            assert (finished / name).read_bytes() == before
            ran.clear()


def test_a_damaged_output_is_refused_and_kept(finished, tiny_config, ran):
    for stage in stages_of(tiny_config):
        for name in stage.writes:
            whole = (finished / name).read_bytes()
            (finished / name).write_bytes(whole[: len(whole) // 2])
            with pytest.raises(ValueError, match=rf"{name} is not what stage '{stage.name}' wrote"):
                run(tiny_config, finished)
            assert (finished / name).read_bytes() == whole[: len(whole) // 2]
            (finished / name).write_bytes(whole)
    assert ran == []


@pytest.mark.parametrize("text", ['{"settings": {', '{"settings": {}}', "[]", "\xff"])
def test_a_damaged_record_is_refused(finished, tiny_config, ran, text):
    record = finished / pipeline.RECORDS / "search.json"
    record.write_bytes(text.encode("latin-1"))
    with pytest.raises(ValueError, match=r"record of a stage .*search\.json"):
        run(tiny_config, finished)
    assert ran == []
    record.unlink()
    run(tiny_config, finished)
    assert ran == ["search"]


@pytest.mark.parametrize("moment", [0, 1, 2])
def test_a_stage_cut_off_while_writing_runs_again(finished, tiny_config, ran, monkeypatch, moment):
    """Also when going back to the earlier settings, which the half-written files do not fit."""
    written = []
    write = pipeline._write

    def cut_off(path, value):
        if len(written) == moment:
            raise OSError("disk full")
        written.append(path)
        write(path, value)

    earlier = tiny_config.pretrain.epochs
    tiny_config.pretrain.epochs = 9.0
    with monkeypatch.context() as patch:
        patch.setattr(pipeline, "_write", cut_off)
        patch.setattr(
            files, "write_json", lambda path, value: (_ for _ in ()).throw(OSError("disk full"))
        )
        with pytest.raises(OSError, match="disk full"):
            run(tiny_config, finished)
    assert ran == ["pretrain"]
    tiny_config.pretrain.epochs = earlier
    ran.clear()
    run(tiny_config, finished)
    assert ran == ["pretrain"]  # what it writes is as before the change: nothing else is stale


def test_what_a_killed_writer_left_is_removed(finished, tiny_config):
    partial = finished / ".network.keras.x3j2"
    partial.write_text("half")
    mine = finished / ".notes"
    mine.write_text("kept")
    run(tiny_config, finished)
    assert not partial.exists()
    assert mine.exists()


def test_chosen_stages_run_alone(tmp_path, tiny_config, ran):
    run(tiny_config, tmp_path, ["profile", "pretrain"])
    assert ran == ["profile", "pretrain"]
    with pytest.raises(
        FileNotFoundError, match=r"'search' needs .*supernet\.npz; run .*'supernet'"
    ):
        run(tiny_config, tmp_path, ["search"])
    with pytest.raises(ValueError, match=r"unknown stage 'train'; .*finetune"):
        run(tiny_config, tmp_path, ["train"])


def test_a_limit_below_the_smallest_is_refused_before_training(tmp_path, tiny_config, ran):
    tiny_config.limits.latency_fraction, tiny_config.limits.latency_ms = None, 0.01
    with pytest.raises(ValueError, match=r"latency_ms <= 0\.01: the smallest is .* the largest"):
        run(tiny_config, tmp_path)
    assert ran == ["profile"]
    tiny_config.limits.latency_ms, tiny_config.limits.macs = 100.0, 5.0
    with (
        pytest.raises(ValueError, match=r"macs <= 5: the smallest is .*, the largest"),
        pytest.warns(UserWarning, match=r"latency_ms <= 100 does not bind: the largest"),
    ):
        run(tiny_config, tmp_path)
    assert ran == ["profile"]
    tiny_config.limits.latency_ms = 0.01
    with pytest.raises(ValueError, match=r"latency_ms <= 0\.01: the smallest is .* the largest"):
        run(tiny_config, tmp_path, ["pretrain"])  # the table is there, if not made now
    assert ran == ["profile"]


def test_a_second_process_is_refused(tmp_path, tiny_config, ran):
    script = (
        "import sys, pathlib\n"
        "from keras_nas import work_directory\n"
        "with work_directory.locked(pathlib.Path(sys.argv[1])):\n"
        "    print('locked', flush=True)\n"
        "    sys.stdin.read()\n"
    )
    other = subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path)],
        cwd=Path(__file__).parents[1],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    try:
        assert other.stdout.readline() == b"locked\n"
        with pytest.raises(OSError, match=rf"{tmp_path} is in use by process {other.pid}"):
            run(tiny_config, tmp_path)
        assert ran == []
    finally:
        other.communicate(b"")
    run(tiny_config, tmp_path)  # the lock went with its process
    assert ran == ALL


@pytest.mark.parametrize("place", ["file", "file/below", "/proc/keras_nas"])
def test_a_work_directory_that_cannot_be_written_is_refused(tmp_path, tiny_config, ran, place):
    (tmp_path / "file").write_text("in the way")
    folder = tmp_path / place if not place.startswith("/") else Path(place)
    with pytest.raises(OSError, match=rf"{folder} cannot be written .*--workdir"):
        run(tiny_config, folder)
    assert ran == []
    assert (tmp_path / "file").read_text() == "in the way"


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_a_work_directory_without_permission_is_refused(tmp_path, tiny_config, ran):
    tmp_path.chmod(0o500)
    with pytest.raises(OSError, match=r"cannot be written .*--workdir"):
        run(tiny_config, tmp_path)
