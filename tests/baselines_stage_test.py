"""The real stages of several limits on a tiny space: search, projection, and the baselines."""

import json

import keras
import pytest

from keras_nas import pipeline, stages
from keras_nas.config import LimitsConfig
from keras_nas.context import Context
from keras_nas.experiment import load_space
from keras_nas.files import read_json, write_bytes, write_json, write_text
from keras_nas.models import Supernet
from keras_nas.models.weights import weights_to_bytes
from keras_nas.report.front import FrontPoint
from keras_nas.space import Architecture
from keras_nas.stage_list import stages_of

NAMES = ("limit_0.3_of_range", "limit_0.8_of_range")


@pytest.fixture
def context(tiny_config, tiny_table, tmp_path):
    """A work directory with a table and fresh one-shot weights."""
    tiny_config.limits = LimitsConfig(latency_fraction=(0.3, 0.8))
    tiny_config.baselines.evaluations, tiny_config.baselines.population = 6, 3
    tiny_config.baselines.images = 60
    keras.utils.set_random_seed(0)
    write_text(tmp_path / "latency_table.json", tiny_table.to_json())
    weights = weights_to_bytes(Supernet(load_space(tiny_config.space), 10))
    write_bytes(tmp_path / "supernet.npz", weights)
    return Context(tiny_config, tmp_path)


def run(context, config, key):
    """Runs one stage as the pipeline does, with the name of its outputs' folder."""
    stage = next(stage for stage in stages_of(config) if stage.key == key)
    context.begin(stage, config, context.folder / ".keras_nas" / "checkpoints" / key)
    return stages.run(stage.name, context)


def test_search_and_projection_of_each_limit(context, tiny_config, tiny_table):
    config = tiny_config
    config.search.epochs = 0.05
    outputs = run(context, config, "search")
    assert set(outputs) == {f"{name}/search.json" for name in NAMES}
    limits = [outputs[f"{name}/search.json"]["limits"]["latency_ms"] for name in NAMES]
    assert limits[0] < limits[1]
    for name, record in outputs.items():
        assert len(record["end"]["alpha"]) == 2  # blocks
        write_json(context.folder / name, record)
    for name, limit in zip(NAMES, limits, strict=True):
        found = run(context, config, f"{name}/project")
        architecture = Architecture.from_json(found["architecture.json"])
        assert tiny_table.latency_ms(architecture, (16, 16, 3), 10) <= limit
        assert architecture.name == f"tiny_{name}_found"


def test_baselines_keep_each_limit_and_remember(context, tiny_config, tiny_table):
    record = run(context, tiny_config, "baselines")["baselines.json"]
    found = record["found"]
    assert [(row["point"]["method"], row["point"]["name"]) for row in found] == [
        (method, name) for name in NAMES for method in ("random", "evolution")
    ]
    for row in found:
        point = FrontPoint(**row["point"])
        architecture = Architecture.from_json(row["architecture"])
        predicted = tiny_table.latency_ms(architecture, (16, 16, 3), 10)
        assert point.predicted_ms == pytest.approx(predicted)
        assert predicted <= point.limit_ms
        assert point.keeps_limit()
        assert len(row["held_out_accuracy"]) == 6
        assert all(round(60 * a) == pytest.approx(60 * a) for a in row["held_out_accuracy"])
        assert 0 <= point.one_shot_accuracy <= 1
    json.dumps(record, allow_nan=False)
    evaluated = next(context.folder.rglob("evaluated.json"))
    known = read_json(evaluated)
    assert {a for row in found for a in row["held_out_accuracy"]} == set(known.values())
    assert pipeline.RECORDS in str(evaluated)
