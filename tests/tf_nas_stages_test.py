"""TF-NAS through the pipeline: from a latency table to an architecture that keeps the limit."""

import copy
import json
import warnings

import pytest

from keras_nas import pipeline, tf_nas_stages
from keras_nas.config import LimitsConfig
from keras_nas.context import Context
from keras_nas.method_space import method_space, width_limit
from keras_nas.resources import LatencyTable
from keras_nas.space import Architecture


@pytest.fixture(scope="module")
def finished(read_tiny_tf_nas_config, made_up_table, tmp_path_factory):
    """A work directory after search and projection, and the experiment."""
    folder = tmp_path_factory.mktemp("tf_nas")
    config = read_tiny_tf_nas_config()
    (folder / "given.json").write_text(made_up_table(method_space(config), 10).to_json())
    config.device.latency_table = str(folder / "given.json")
    said = []
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        pipeline.run(config, folder / "work", ["profile", "search", "project"], log=said.append)
    return folder / "work", config, said


def read(finished, name):
    return json.loads((finished[0] / name).read_text())


def test_the_limit_is_checked_before_anything_is_trained(finished):
    said = finished[2]
    table = next(n for n, line in enumerate(said) if "smallest" in line)
    search = next(n for n, line in enumerate(said) if "] search" in line)
    assert table < search


def test_the_architecture_keeps_the_limit_exactly(finished):
    folder, config, _ = finished
    space = method_space(config)
    table = LatencyTable.from_json((folder / "latency_table.json").read_text())
    latency, limit = width_limit(space, table, config.limits)
    network = Architecture.from_json((folder / "architecture.json").read_text())
    predicted = latency.network_ms(*space.encode(network))
    assert predicted <= limit.limit
    assert network.name == "tiny_tf_nas_found"
    projection = read(finished, "projection.json")
    assert projection["resources"] == {"latency_ms": predicted}
    assert projection["candidates"]["elasticity_scaling"]["keeps_limits"] is True


def test_search_record(finished):
    record = read(finished, "search.json")
    config = finished[1]
    space = method_space(config)
    assert record["method"] == "tf_nas" and record["space"] == "tiny_tf_nas"
    assert record["start"] == {"alpha": [[0.5, 0.5]] * 2, "beta": [[0.5, 0.5]]}
    for row in [*record["end"]["alpha"], *record["end"]["beta"]]:
        assert sum(row) == pytest.approx(1) and min(row) > 0
    assert [row["epoch"] for row in record["epochs"]] == [1]
    last = record["epochs"][-1]
    assert last["latency_ms"] <= record["limits"]["latency_ms"]
    assert space.check_widths(last["widths"]).tolist() == last["widths"]
    steps = [row["step"] for row in record["trajectory"]]
    assert steps == list(range(1, len(steps) + 1))
    fields = {"loss", "accuracy", "weight_loss", "latency_ms", "alpha_entropy", "beta_entropy"}
    assert all(fields <= set(row) for row in record["trajectory"])
    found = Architecture.from_json(json.dumps(record["found"]))
    operations, depths, _ = space.encode(found)
    assert list(operations)[: depths[0]] == last["operations"][: depths[0]]


def test_a_second_run_has_nothing_to_do(finished):
    folder, config, _ = finished
    said = []
    pipeline.run(config, folder, ["profile", "search", "project"], log=said.append)
    assert sum("up to date" in line for line in said) == 3


def test_a_search_that_ends_in_a_network_too_wide_for_the_limit(finished, tmp_path):
    folder, config, _ = finished
    config = copy.deepcopy(config)
    space = method_space(config)
    table = LatencyTable.from_json((folder / "latency_table.json").read_text())
    latency, _ = width_limit(space, table, config.limits)
    largest = ((1, 1), (2,), space.smallest_widths())
    config.limits = LimitsConfig(latency_ms=0.999 * latency.network_ms(*largest))
    record = read(finished, "search.json")
    record["end"] = {"alpha": [[0.4, 0.6], [0.1, 0.9]], "beta": [[0.2, 0.8]]}
    record["found"] = json.loads(space.architecture(*largest).to_json())
    (tmp_path / "search.json").write_text(json.dumps(record))
    (tmp_path / "latency_table.json").write_text(table.to_json())
    with pytest.warns(
        UserWarning, match="at its smallest widths the network that the search found"
    ):
        outputs = tf_nas_stages.project(Context(config, tmp_path))
    network = Architecture.from_json(outputs["architecture.json"])
    operations, depths, widths = space.encode(network)
    assert (operations, depths) == ((0, 1), (2,))  # the block with the least to lose
    assert latency.network_ms(operations, depths, widths) <= config.limits.latency_ms
    candidates = outputs["projection.json"]["candidates"]
    assert [row["keeps_limits"] for row in candidates.values()] == [False, True]
