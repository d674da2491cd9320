"""The tuner on real searches: what trials share, what the study leaves, how it is finished."""

import contextlib
import json
import shlex
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from keras_nas import pipeline
from keras_nas.experiment import load_space
from keras_nas.method_space import method_space, width_limit
from keras_nas.space import Architecture
from keras_nas.tools import tune, tuning_page, tuning_trial
from keras_nas.tools.tuning_fields import with_values
from keras_nas.tools.tuning_trial import COMMON, Evaluator, read_evaluated
from keras_nas.work_directory import locked

pytestmark = pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
ROOT = Path(__file__).parents[2]
STAGES = ["profile", "pretrain", "supernet", "search", "project"]


def flags_of(folder, **changes) -> SimpleNamespace:
    usual = dict(
        target_ms=None,
        output=str(folder),
        tune=[],
        algorithm="bayesian",
        evaluations=16.0,
        minutes=None,
        evaluate="search",
        runtime="predicted",
        fidelity=[],
        rungs=3,
        reduction=3,
        storage=None,
        study=None,
        heartbeat_seconds=1,
    )
    return SimpleNamespace(**usual | changes)


@pytest.fixture
def config(tiny_config, tiny_table, tmp_path):
    """The tiny experiment with a table that takes no time, and a limit in ms."""
    (tmp_path / "given.json").write_text(tiny_table.to_json())
    tiny_config.device.latency_table = str(tmp_path / "given.json")
    model = tiny_table.cost_model(load_space(tiny_config.space), 10)
    limit_ms = (model.smallest() + model.largest()) / 2
    return tune.trial_config(tiny_config, limit_ms, "predicted")


def test_a_study_of_searches(tiny_tf_nas_config, made_up_table, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(tune, "_config_file", lambda: "tests/tiny_tf_nas_config.py")
    config, output = tiny_tf_nas_config, tmp_path / "study"
    table = made_up_table(method_space(config), 10)
    (tmp_path / "given.json").write_text(table.to_json())
    config.device.latency_table = str(tmp_path / "given.json")
    target_ms = width_limit(method_space(config), table, config.limits)[1].limit
    options = flags_of(
        output,
        target_ms=target_ms,
        tune=["tf_nas.latency_weight:0.1,0.2"],
        algorithm="random",
        evaluations=1.0,
    )
    plan = tune.make_plan(config, options)
    rows = tune.tune(config, plan, options, {"seed": 0})
    shown = capsys.readouterr().out
    (row,) = rows
    assert row.state == "complete" and row.parameters["tf_nas.latency_weight"] in (0.1, 0.2)

    # The table is the common one.
    tables = [output / folder / "latency_table.json" for folder in (COMMON, row.folder)]
    assert tables[0].samefile(tables[1]) and shown.count("] profile: measures") == 1
    assert shown.count("] search: searches") == 1 and "[1 of 1 evaluations" in shown

    study = json.loads((output / "study.json").read_text())
    (best,) = study["trials"]
    assert best["runtime_ms"] <= target_ms and study["keeps_target"]
    assert best["number"] == study["best"] == 0 and best["objective"] == best["accuracy"]
    found = (output / "architecture.json").read_text()
    assert found == (output / best["folder"] / "architecture.json").read_text()
    Architecture.from_json(found)
    assert (output / "study.csv").read_text().count("\n") == 2
    page = (output / "report.html").read_text()
    assert page.count("<svg") == 2 and "keeps the target" in page
    for picture in ("trials.svg", "trade_off.svg"):
        assert (output / picture).read_text().rstrip().endswith("</svg>")

    # The command that is shown goes on from there.
    command = tuning_page.finishing_command(
        row, "tests/tiny_tf_nas_config.py", {"seed": 0}, plan.target_ms, output
    )
    flags = dict(part.removeprefix("--").split("=", 1) for part in shlex.split(command)[3:])
    assert flags.pop("config") == "tests/tiny_tf_nas_config.py"
    folder = flags.pop("workdir")
    assert set(flags) == {"config.seed", "config.limits.latency_ms", "config.tf_nas.latency_weight"}
    values = {path.removeprefix("config."): json.loads(value) for path, value in flags.items()}
    values["limits.latency_fraction"] = None  # as the program does
    lines = []
    pipeline.run(
        with_values(config, values), folder, ["profile", "search", "project"], log=lines.append
    )
    assert [line for line in lines if "] " in line and "up to date" not in line] == []

    # A finished study is there at once, and refused with other settings.
    assert tune.tune(config, plan, options, {}) == rows
    with pytest.raises(ValueError, match=r"made with other settings: config.tf_nas.epochs 2 there"):
        tune.tune(with_values(config, {"tf_nas.epochs": 3}), plan, options, {})


def test_what_trials_share(config, tmp_path):
    def common(*varied, evaluate="search"):
        evaluator = Evaluator(config, tmp_path, evaluate, varied)
        evaluator.check()
        return [stage.name for stage in evaluator.common_stages()]

    assert common("search.epochs") == ["profile", "pretrain", "supernet"]
    assert common("supernet.learning_rate", "search.epochs") == ["profile", "pretrain"]
    assert common("pretrain.epochs") == ["profile"]
    assert common("projection.method") == STAGES[:-1]
    assert common("space.width_multiplier") == []
    assert common("device.threads") == ["pretrain", "supernet"]
    assert common("finetune.epochs", evaluate="final") == STAGES
    with pytest.raises(ValueError, match=r"finetune.epochs has no influence.*--evaluate=final"):
        common("finetune.epochs")
    with pytest.raises(ValueError, match=r"tf_nas.epochs has no influence.*, finetune\."):
        common("tf_nas.epochs", evaluate="final")


def test_another_process_in_the_folder_is_waited_for(tmp_path, monkeypatch):
    lines = []
    with contextlib.ExitStack() as other, contextlib.ExitStack() as own:
        other.enter_context(locked(tmp_path))
        monkeypatch.setattr(tuning_trial.time, "sleep", lambda seconds: other.close())
        tuning_trial.waiting(lambda: own.enter_context(locked(tmp_path)), lines.append)
        with pytest.raises(BlockingIOError, match="is in use by process"), locked(tmp_path):
            pass
    assert len(lines) == 1 and lines[0].startswith(f"waits: work directory {tmp_path} is in use")


def test_a_folder_of_another_study_is_refused(tmp_path):
    tuning_page.check_output(tmp_path, "mine")
    (tmp_path / "study.json").write_text(json.dumps({"study": "yours"}))
    tuning_page.check_output(tmp_path, "yours")
    with pytest.raises(ValueError, match=r"is the folder of study 'yours', this one is 'mine'"):
        tuning_page.check_output(tmp_path, "mine")


def test_a_method_without_weights_of_the_network(tiny_tf_nas_config, tmp_path):
    """The accuracy is the mean at the search's end; the runtime the best measured one."""
    rounds = [
        {"keeps_limit": True, "credit": 0.1, "measured_ms": 1.0},
        {"keeps_limit": False, "credit": 0.9, "measured_ms": 3.0},
        {"keeps_limit": True, "credit": 0.2, "measured_ms": 2.0},
    ]
    record = {"rounds": rounds, "resources": {"latency_ms": 2.5}}
    trajectory = [{"accuracy": i / 100} for i in range(40)]
    (tmp_path / "search.json").write_text(json.dumps({"trajectory": trajectory}))
    (tmp_path / "projection.json").write_text(json.dumps(record))
    found = read_evaluated(tiny_tf_nas_config, tmp_path, "search")
    assert (found.accuracy, found.runtime_ms) == (pytest.approx(0.375), 2.0)
    (tmp_path / "projection.json").write_text(json.dumps(record | {"rounds": []}))
    (tmp_path / "train.json").write_text(json.dumps({"accuracy": 0.75}))
    found = read_evaluated(tiny_tf_nas_config, tmp_path, "final")
    assert (found.accuracy, found.runtime_ms) == (0.75, 2.5)


def test_single_path_trades_softly(tiny_config, tmp_path):
    """The network of the search counts, which may be over the target, not the projected one."""
    tiny_config.method = "single_path"
    search = {"latency_ms": 3.0, "keeps_limits": False}
    record = {
        "rounds": [],
        "resources": {"latency_ms": 2.0},
        "candidates": {"search": search, "exact": {"latency_ms": 2.0}},
    }
    (tmp_path / "search.json").write_text(json.dumps({"accuracy": {"held_out": 0.5, "test": 0.1}}))
    (tmp_path / "projection.json").write_text(json.dumps(record))
    (tmp_path / "finetune.json").write_text(json.dumps({"accuracy": 0.75}))
    found = read_evaluated(tiny_config, tmp_path, "search")
    assert (found.accuracy, found.runtime_ms) == (0.5, 3.0)
    found = read_evaluated(tiny_config, tmp_path, "final")
    assert (found.accuracy, found.runtime_ms) == (0.75, 2.0)
    record["candidates"]["search"]["measured_ms"] = 3.5
    (tmp_path / "projection.json").write_text(json.dumps(record))
    assert read_evaluated(tiny_config, tmp_path, "search").runtime_ms == 3.5


def test_an_unreachable_target_is_an_error_before_any_trial(config, tmp_path):
    options = flags_of(tmp_path / "study", target_ms=1e-6, tune=["search.epochs:0.1:0.2"])
    plan = tune.make_plan(config, options)
    with pytest.raises(ValueError, match="latency_ms"):
        tune.tune(config, plan, options, {})
    assert not (tmp_path / "study" / "trials").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"target_ms": -1.0}, "--target_ms should be a latency in ms above 0"),
        ({"target_ms": float("nan")}, "--target_ms should be"),
        ({"output": None}, "--output should name a local folder"),
        ({"output": "gs://bucket/study"}, "--output should name a local folder"),
        ({"evaluations": 0.5}, "--evaluations should be at least 1"),
        ({"tune": ["search.epoch:1:2"]}, "config.search has no field 'epoch'"),
        ({"runtime": "measured"}, "--runtime=measured needs config.projection.rounds above 0"),
        ({"fidelity": ["search.epochs"]}, "--fidelity belongs to --algorithm=multi_fidelity"),
        ({"algorithm": "multi_fidelity", "fidelity": ["search.start"]}, "should name lengths"),
    ],
)
def test_bad_flags(config, changes, message):
    with pytest.raises(ValueError) as error:
        tune.make_plan(config, flags_of("study", **changes))
    assert message in str(error.value)


def test_the_program_says_what_is_wrong_in_one_line(tmp_path):
    def run(*arguments):
        command = [sys.executable, "-m", "keras_nas.tools.tune", *arguments]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)

    (tmp_path / "file").write_text("")
    config = "--config=tests/tiny_config.py"
    process = run(config, "--target_ms=1", f"--output={tmp_path}/file/study")
    assert process.returncode == 1
    assert process.stderr == (
        f"error: --output={tmp_path}/file/study cannot be made (Not a directory); choose another "
        "folder.\n"
    )
    process = run(config, "--config.search.epoch=3", "--output=x")
    assert process.returncode == 2 and len(process.stderr.splitlines()) == 1
    assert "config.search has no field 'epoch'; it has batch_size, epochs" in process.stderr


def test_without_a_target_or_a_limit_in_ms(tiny_config):
    with pytest.raises(ValueError, match="--target_ms should be a latency"):
        tune.make_plan(tiny_config, flags_of("study"))
