"""Single-Path NAS through the pipeline: records, both networks, limits, and what is trained."""

import contextlib
import json

import numpy as np
import pytest

from keras_nas import pipeline, single_path_stages
from keras_nas.config import LimitsConfig
from keras_nas.context import Context
from keras_nas.method_space import method_space
from keras_nas.models.decided_supernet import DecidedSupernet
from keras_nas.resources import LatencyTable
from keras_nas.single_path_record import read_margins
from keras_nas.space import Architecture
from keras_nas.space.single_path_gates import SKIP, architecture_of_configurations
from keras_nas.stage_list import stages_of

STAGES = ["profile", "search", "project"]


@pytest.fixture(scope="module")
def finished(read_tiny_single_path_config, made_up_table, tmp_path_factory):
    """A work directory after search and projection, the experiment, and what was said."""
    folder = tmp_path_factory.mktemp("single_path")
    config = read_tiny_single_path_config()
    (folder / "given.json").write_text(made_up_table(method_space(config), 10).to_json())
    config.device.latency_table = str(folder / "given.json")
    said = []
    pipeline.run(config, folder / "work", STAGES, log=said.append)
    return folder / "work", config, said


def read(finished, name):
    return json.loads((finished[0] / name).read_text())


def test_search_record(finished):
    record, config = read(finished, "search.json"), finished[1]
    assert record["method"] == "single_path" and record["space"] == "tiny_single_path"
    assert record["gates"] == {
        "kernel": ["k5"], "expansion": ["e2", "e3"], "squeeze_excite": ["se0.5"],
    }  # fmt: skip
    rows = record["trajectory"]
    assert [row["step"] for row in rows] == list(range(1, len(rows) + 1))
    weights = [row["runtime_weight"] for row in rows]
    half = round(0.5 * len(rows))
    assert weights == [0.0] * half + [config.single_path.runtime_weight] * (len(rows) - half)
    last = rows[-1]
    for what in ("norms", "thresholds"):
        assert np.shape(last[what]["kernel"]) == (2, 1)
        assert np.shape(last[what]["expansion"]) == (2, 2)
        assert np.shape(last[what]["squeeze_excite"]) == (2, 1)
    skips = last["norms"]["expansion"][1][0] < last["thresholds"]["expansion"][1][0]
    assert (last["configurations"][1] == SKIP) == skips
    assert 0 <= record["accuracy"]["held_out"] <= 1 and 0 <= record["accuracy"]["test"] <= 1
    space = method_space(config)
    found = Architecture.from_json(json.dumps(record["found"]))
    end = record["end"]["configurations"]
    assert found.stages == architecture_of_configurations(space, end).stages


def test_both_networks(finished):
    folder, config, _ = finished
    record, space = read(finished, "projection.json"), method_space(config)
    table = LatencyTable.from_json((folder / "latency_table.json").read_text())
    limit_ms = record["limits"]["latency_ms"]
    both = record["candidates"]
    assert (
        both["search"]["configurations"] == read(finished, "search.json")["end"]["configurations"]
    )
    assert not both["search"]["keeps_limits"]  # six steps move nothing far, and the limit binds
    assert both["exact"]["keeps_limits"] and record["resources"]["latency_ms"] <= limit_ms
    for row in both.values():
        network = architecture_of_configurations(space, np.array(row["configurations"]))
        expected = table.latency_ms(network, space.input_shape, 10)
        assert row["latency_ms"] == pytest.approx(expected)
        assert 0 <= row["one_shot_accuracy"] <= 1
    assert both["search"]["one_shot_accuracy"] == read(finished, "search.json")["accuracy"]["test"]
    found = Architecture.from_json((folder / "architecture.json").read_text())
    exact = architecture_of_configurations(space, np.array(record["configurations"]))
    assert found.stages == exact.stages and found.name == "tiny_single_path_found"


def test_the_limit_is_shown_before_the_search(finished):
    said = finished[2]
    table = next(n for n, line in enumerate(said) if "smallest" in line)
    assert table < next(n for n, line in enumerate(said) if "] search" in line)


def test_without_a_limit_the_gates_are_taken_as_they_are(finished):
    """And another limit does not search again."""
    folder, config, _ = finished
    said = []
    config.limits = LimitsConfig()
    pipeline.run(config, folder, STAGES, log=said.append)
    config.limits = LimitsConfig(latency_fraction=0.5)
    assert sum("up to date" in line for line in said) == 2
    record = read(finished, "projection.json")
    assert record["limits"] == {} and record["ranges"]["latency_ms"]["limit"] is None
    assert record["configurations"] == record["candidates"]["search"]["configurations"]
    assert any("none" in line for line in said)


def test_all_limits_are_kept_and_that_on_latency_on_the_device(finished, monkeypatch):
    """On a device that takes a tenth longer than its table says."""
    folder, config, _ = finished
    space = method_space(config)
    table = LatencyTable.from_json((folder / "latency_table.json").read_text())
    measured = []

    @contextlib.contextmanager
    def measuring(context):
        def measure_ms(architecture, attempt=0):
            measured.append(architecture)
            return 1.1 * table.latency_ms(architecture, space.input_shape, 10), 0.001

        yield measure_ms

    monkeypatch.setattr(single_path_stages, "measuring", measuring)
    config.projection.rounds = 4
    config.limits = LimitsConfig(
        latency_fraction=0.6, macs=5e4, parameters=4e3, tflite_bytes=24e3, peak_memory_bytes=2e4
    )
    with pytest.warns(UserWarning, match="peak_memory_bytes <= 20000 does not bind"):
        pipeline.run(config, folder, STAGES, log=lambda line: None)
    config.projection.rounds, config.limits = 0, LimitsConfig(latency_fraction=0.5)
    record = read(finished, "projection.json")
    limits, used = record["limits"], record["candidates"]["exact"]
    assert set(limits) == {
        "latency_ms", "macs", "parameters", "tflite_bytes", "peak_memory_bytes"
    }  # fmt: skip
    assert all(cost <= limits[name] for name, cost in record["resources"].items())
    assert used["measured_ms"] + used["spread_ms"] <= limits["latency_ms"]
    assert used["measured_ms"] == pytest.approx(1.1 * used["latency_ms"] / record["table_scale"])
    assert record["candidates"]["search"]["measured_ms"] > limits["latency_ms"]
    assert [row["keeps_limit"] for row in record["rounds"]][-1]
    found = Architecture.from_json((folder / "architecture.json").read_text())
    assert found.stages in [network.stages for network in measured]


def test_a_limit_that_no_network_keeps_is_refused_before_the_search(finished, tmp_path):
    _, config, _ = finished
    said = []
    config.limits = LimitsConfig(latency_ms=0.01)
    with pytest.raises(ValueError, match="no network of the space keeps the limit latency_ms"):
        pipeline.run(config, tmp_path, STAGES, log=said.append)
    config.limits = LimitsConfig(latency_fraction=0.5)
    assert not any("] search" in line for line in said)


@pytest.mark.parametrize("field", ["format", "version", "method", "space_fingerprint"])
def test_margins_of_another_search_are_refused(finished, field):
    record, space = read(finished, "search.json"), method_space(finished[1])
    assert read_margins(record, space).kernel.shape == (2, 1)
    with pytest.raises(ValueError, match=f"should have {field} .*received 'other'; search again"):
        read_margins(record | {field: "other"}, space)


def test_fine_tuning_starts_from_the_decided_supernet(finished):
    folder, config, _ = finished
    context = Context(config, folder)
    supernet = single_path_stages.read_supernet(context)
    decided = np.array([0, 7])
    start = DecidedSupernet(supernet, decided)
    architecture = architecture_of_configurations(supernet.space, decided)
    network = start.extract(architecture)
    images = context.examples.sample(4)
    chosen = supernet(images, supernet.selection(decided))
    np.testing.assert_allclose(network(images, training=False), chosen, rtol=1e-4, atol=1e-4)
    with pytest.raises(ValueError, match="not the one that was projected"):
        start.extract(supernet.space.heaviest())


@pytest.mark.parametrize(
    ("formulation", "relaxation"), [("multi_path", "softmax"), ("random_search", "sigmoid")]
)
def test_other_formulations(
    read_tiny_single_path_config, made_up_table, tmp_path, formulation, relaxation
):
    config = read_tiny_single_path_config()
    config.space.overrides |= {"expansion_ratios": [2], "se_ratios": [0]}
    (tmp_path / "given.json").write_text(made_up_table(method_space(config), 10).to_json())
    config.device.latency_table = str(tmp_path / "given.json")
    config.single_path.formulation, config.single_path.relaxation = formulation, relaxation
    config.single_path.epochs, config.single_path.random_networks = 0.02, 3
    pipeline.run(config, tmp_path, STAGES, log=lambda line: None)
    search, projection = (
        json.loads((tmp_path / name).read_text()) for name in ("search.json", "projection.json")
    )
    assert search["formulation"] == formulation
    both = projection["candidates"]
    assert both["search"]["configurations"] == search["end"]["configurations"]
    assert both["search"]["one_shot_accuracy"] == search["accuracy"]["test"]
    assert both["exact"]["keeps_limits"]
    supernet = single_path_stages.read_supernet(Context(config, tmp_path))
    assert supernet.configurations().tolist() == search["end"]["configurations"]
    rows = search["trajectory"]
    if formulation == "multi_path":
        assert np.shape(rows[-1]["norms"]["expansion"]) == (2, 1) and not search["evaluated"]
        return
    assert both["search"] == both["exact"]  # what random search finds keeps the limit
    assert len(search["evaluated"]) == 3 and "norms" not in rows[-1]
    # Another limit searches again.
    assert "limits." in stages_of(config)[1].settings
