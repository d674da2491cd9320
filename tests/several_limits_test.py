"""Several limits in one work directory: shared stages once, the others once a limit.

Stages are stand-ins that write down what they saw.
"""

import dataclasses
import json

import pytest

from keras_nas import pipeline, stages
from keras_nas.config import LimitsConfig
from keras_nas.context import Context
from keras_nas.experiment import load_space
from keras_nas.report.front import FrontPoint, front_page, front_summary
from keras_nas.report_files import gather_front
from keras_nas.stage_list import stages_of

SHARED = ["profile", "pretrain", "supernet", "search"]
LAST = [("", "baselines"), ("", "front")]
OWN = ["project", "finetune", "export", "measure", "report"]
NAMES = ["limit_0.25_of_range", "limit_0.5_of_range"]


@pytest.fixture
def config(tiny_config):
    tiny_config.limits = LimitsConfig(latency_fraction=(0.25, 0.5))
    return tiny_config


@pytest.fixture
def ran(monkeypatch, made_up_table):
    """(limit, stage) that ran, in order; each stand-in writes its limits and what it read."""
    found = []

    def stand_in(name, context):
        found.append((context.limit, name))
        stage = next(s for s in stages_of(context.config) if s.name == name)
        made_of = {
            "name": context.config.name,
            "fraction": context.config.limits.latency_fraction,
            "epochs": context.config.finetune.epochs,
            "read": [context.path(file).read_text() for file in stage.reads],
        }
        outputs = dict.fromkeys(stage.writes, json.dumps(made_of))
        if name == "profile":
            table = made_up_table(load_space(context.config.space), 10)
            outputs["latency_table.json"] = table.to_json()
        return outputs

    monkeypatch.setattr(stages, "run", stand_in)
    return found


def run(config, folder, names=()):
    lines = []
    pipeline.run(config, folder, names, log=lines.append)
    return lines


def whole(limit):
    return [(limit, name) for name in OWN]


def test_each_limit_has_its_own_folder(config, tmp_path, ran):
    lines = run(config, tmp_path)
    expected = [("", name) for name in SHARED]
    assert ran == [*expected, *whole(NAMES[0]), *whole(NAMES[1]), *LAST]
    assert f"[5/16] {NAMES[0]}/project: done in 0 s" in lines
    assert sum(line.startswith("resource") for line in lines) == 2  # a feasibility table a limit
    for fraction, name in zip((0.25, 0.5), NAMES, strict=True):
        for file in ("architecture.json", "network.keras", "measurement.json", "report.html"):
            made_of = json.loads((tmp_path / name / file).read_text())
            assert made_of["fraction"] == fraction
            assert made_of["name"] == f"tiny_{name}"
        assert (tmp_path / name / "search.json").exists()
        assert not (tmp_path / name / "latency_table.json").exists()
    assert json.loads((tmp_path / "report.html").read_text())["fraction"] == [0.25, 0.5]
    assert not (tmp_path / "architecture.json").exists()


def test_what_is_up_to_date_stays(config, tmp_path, ran):
    run(config, tmp_path)
    ran.clear()
    assert len([line for line in run(config, tmp_path) if "up to date" in line]) == 16
    assert ran == []
    config.finetune.epochs = 1.0
    run(config, tmp_path)
    after = [(name, stage) for name in NAMES for stage in OWN[1:]]
    assert ran == [*after, ("", "front")]
    ran.clear()
    (tmp_path / NAMES[1] / "architecture.json").unlink()
    run(config, tmp_path, ["project"])
    assert ran == [(NAMES[1], "project")]


def test_another_limit_keeps_what_is_shared(config, tmp_path, ran):
    run(config, tmp_path)
    ran.clear()
    config.limits.latency_fraction = (0.25, 0.5, 0.75)
    run(config, tmp_path)
    assert [stage for limit, stage in ran if not limit] == ["search", "baselines", "front"]
    assert ("limit_0.75_of_range", "project") in ran


def test_a_limit_that_no_network_keeps_is_refused_before_training(config, tmp_path, ran):
    config.limits = LimitsConfig(latency_ms=(1e-6, 1.0))
    with pytest.raises(ValueError, match=r"no network of the space keeps the limit latency_ms"):
        run(config, tmp_path)
    assert ran == [("", "profile")]


def test_a_context_finds_shared_and_own_files(config, tmp_path):
    context = Context(config, tmp_path)
    stage = next(s for s in stages_of(config) if s.key == f"{NAMES[1]}/project")
    context.begin(stage, config, tmp_path / "checkpoints")
    assert context.config.limits.latency_fraction == 0.5
    assert context.path("supernet.npz") == tmp_path / "supernet.npz"
    assert context.path("search.json") == tmp_path / NAMES[1] / "search.json"
    context.begin(stages_of(config)[0], config, tmp_path)
    assert context.config is config
    assert context.path("search.json") == tmp_path / "search.json"


def points():
    return [
        FrontPoint("search", "limit_1ms", 1.0, 0.9, 0.5, 0.95, 0.01, 0.75),
        FrontPoint("search", "limit_2ms", 2.0, 1.9, 0.625, 1.99, 0.02, 0.875),
        FrontPoint("random", "limit_1ms", 1.0, 0.8, 0.25),
    ]


def test_the_front_shows_every_network():
    page, text = front_page("mine", points()), front_summary("mine", points())
    for shown in ("mine", "limit_1ms", "50.0%", "87.5%", "25.0%", "not measured", "not trained"):
        assert shown in page
        assert shown in text
    for series in ("search, final", "search, one-shot", "random, one-shot"):
        assert series in page
    assert "random, final" not in page
    assert page.count('<a href="limit_1ms/report.html">') == 1
    assert [point.keeps_limit() for point in points()] == [True, False, True]


def test_the_front_is_gathered_from_each_folder(config, tmp_path):
    for number, name in enumerate(NAMES, 1):
        folder = tmp_path / name
        folder.mkdir()
        records = {
            "search": {"limits": {"latency_ms": number}},
            "projection": {"resources": {"latency_ms": 0.5}, "one_shot_accuracy": 0.25},
            "measurement": {"latency_ms": 0.75, "spread_ms": 0.125},
            "finetune": {"accuracy": 0.5},
        }
        for file, record in records.items():
            (folder / f"{file}.json").write_text(json.dumps(record))
    expected = [
        FrontPoint("search", name, number, 0.5, 0.25, 0.75, 0.125, 0.5)
        for number, name in enumerate(NAMES, 1)
    ]
    baseline = FrontPoint("random", NAMES[0], 1.0, 0.5, 0.125)
    record = {"found": [{"point": dataclasses.asdict(baseline)}]}
    (tmp_path / "baselines.json").write_text(json.dumps(record))
    assert gather_front(config, tmp_path) == [*expected, baseline]
    config.baselines.evaluations = 0
    assert gather_front(config, tmp_path) == expected
    assert "baselines" not in [stage.name for stage in stages_of(config)]
