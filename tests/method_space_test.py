"""What a method searches: its kind of space, its limits, and what a found network costs there."""

import dataclasses
import json
import math

import pytest

from keras_nas.config import LimitsConfig, SpaceConfig
from keras_nas.experiment import load_space
from keras_nas.method_space import (
    SPACE_KINDS,
    checked_limits,
    method_space,
    runtime_model,
    space_of,
    width_limit,
)
from keras_nas.resources.limits import range_table
from keras_nas.space import SearchSpace, TFNASSpace
from keras_nas.stage_list import SEARCHES, stages_of


@pytest.fixture
def space(tiny_tf_nas_config):
    return method_space(tiny_tf_nas_config)


@pytest.fixture
def table(space, made_up_table):
    return made_up_table(space, 10)


def test_every_method_has_a_kind_of_space_and_stages():
    assert set(SPACE_KINDS) == set(SEARCHES)


@pytest.mark.parametrize(
    ("method", "name", "message"),
    [
        (
            "tf_nas",
            "hardcore_nas",
            "spaces like tf_nas, .* received 'hardcore_nas'",
        ),
        ("hardcore_nas", "tf_nas", "spaces like hardcore_nas, .* received 'tf_nas'"),
    ],
)
def test_a_space_of_another_method_is_refused(tiny_config, method, name, message):
    tiny_config.method, tiny_config.space = method, SpaceConfig(name)
    with pytest.raises(ValueError, match=f"config.method='{method}' searches {message}"):
        method_space(tiny_config)


def test_spaces_of_their_kind(space, tiny_config):
    assert space_of(TFNASSpace, space, "tf_nas") is space
    assert isinstance(method_space(tiny_config), SearchSpace)


def test_a_tf_nas_space_from_a_file(space, tmp_path):
    (tmp_path / "space.json").write_text(space.to_json())
    assert load_space(SpaceConfig(f"file:{tmp_path / 'space.json'}", space.resolution)) == space


def test_limits_of_free_widths(space, table):
    latency, limit = width_limit(space, table, LimitsConfig(latency_fraction=0.25))
    fastest, slowest = latency.range_ms()
    assert limit.limit == pytest.approx(0.75 * fastest + 0.25 * slowest)
    assert checked_limits(space, table, LimitsConfig(latency_fraction=0.25)) == [limit]
    assert checked_limits(space, table, LimitsConfig(latency_fraction=1.0))[0].limit == slowest
    ends = f"smallest is {fastest:.6g}, the largest {slowest:.6g}"
    with pytest.raises(ValueError, match=f"no network of the space keeps .*{ends}"):
        checked_limits(space, table, LimitsConfig(latency_ms=0.9 * fastest))
    other = dataclasses.replace(space, knot_spacing=3)
    with pytest.raises(ValueError, match=r"lacks .* pieces of space 'tiny_tf_nas'"):
        checked_limits(other, table, LimitsConfig(latency_fraction=0.25))


def test_single_path_spaces_and_runtimes(tiny_single_path_config, made_up_table, tmp_path):
    config = tiny_single_path_config
    space = method_space(config)
    table = made_up_table(space, 10)
    model = runtime_model(config, space, table)
    heaviest = model.network_ms(space.heaviest())
    assert heaviest == pytest.approx(table.latency_ms(space.heaviest(), space.input_shape, 10))
    with pytest.raises(ValueError, match=r"made for input_shape \(32, 32, 3\), and is asked"):
        runtime_model(config, space, made_up_table(dataclasses.replace(space, resolution=32), 10))

    config.space.overrides["expansion_ratios"] = [2, 2.2]
    with pytest.raises(ValueError, match=r"in block 0 the expansion ratios .* round to \[16, 16\]"):
        method_space(config)

    path = tmp_path / "pixel.json"
    config.single_path.runtime_table = str(path)
    config.space = SpaceConfig("single_path")
    with pytest.raises(FileNotFoundError, match=r"no runtime table at .*pixel\.json"):
        method_space(config)
    row = {"0": 1.0, "1": 2.0, "2": 1.5, "3": 3.0}
    entries = {str(b): row for b in range(1, 21)}
    path.write_text(json.dumps(entries | {"fixed_ms": 4.0}))
    space = method_space(config)
    assert runtime_model(config, space, table).network_ms(space.heaviest()) == 4 + 20 * 3
    path.write_text(json.dumps(entries | {"7": {"0": 1.0}}))
    with pytest.raises(ValueError, match=r"pixel\.json lacks operations 0, 1, 2, 3 of block 7"):
        method_space(config)
    path.write_text(json.dumps(entries | {"7": row | {"3": -1}}))
    with pytest.raises(ValueError, match="block 7, operation 3 should be milliseconds above 0"):
        method_space(config)
    path.write_text("{")
    with pytest.raises(ValueError, match=r"runtime_table .* is damaged or truncated"):
        method_space(config)
    path.write_text(json.dumps(entries))
    config.space.resolution = 32
    with pytest.raises(ValueError, match="was measured for resolution 224, and is asked for 32"):
        method_space(config)


def test_a_range_without_a_limit(tiny_single_path_config, made_up_table):
    space = method_space(tiny_single_path_config)
    (limit,) = checked_limits(space, made_up_table(space, 10), LimitsConfig())
    assert limit.limit == math.inf and limit.smallest < limit.largest
    assert range_table([limit]).endswith("none")


def test_limits_of_configurations(tiny_config, made_up_table):
    space = method_space(tiny_config)
    (limit,) = checked_limits(space, made_up_table(space, 10), LimitsConfig(latency_fraction=1.0))
    assert limit.name == "latency_ms" and limit.limit == limit.largest


def test_the_table_predicts_what_the_latency_by_width_does(space, table):
    latency, _ = width_limit(space, table, LimitsConfig(latency_fraction=0.5))
    for widths in (space.initial_widths() + 1, space.smallest_widths(), space.largest_widths()):
        network = space.architecture((0, 1), (2,), widths)
        predicted = table.latency_ms(network, space.input_shape, 10)
        assert predicted == pytest.approx(latency.network_ms((0, 1), (2,), widths), rel=1e-13)


def test_stages(tiny_tf_nas_config, tiny_single_path_config, tiny_config):
    tiny_tf_nas_config.validate()
    names = [stage.name for stage in stages_of(tiny_tf_nas_config)]
    assert names == ["profile", "search", "project", "train", "export", "measure", "report"]
    reads = set(stages_of(tiny_tf_nas_config)[-1].reads)
    assert {"search.json", "projection.json", "train.json"} <= reads
    assert "pretrain.json" not in reads
    assert [stage.name for stage in stages_of(tiny_single_path_config)] == names
    names = [stage.name for stage in stages_of(tiny_config)]
    assert names[1:5] == ["pretrain", "supernet", "search", "project"]
    fine_tuned = dataclasses.replace(tiny_single_path_config, final="finetune")
    assert "projection.json" in stages_of(fine_tuned)[3].reads
    for config in (tiny_config, tiny_tf_nas_config, tiny_single_path_config, fine_tuned):
        written = set()
        for stage in stages_of(config):
            assert set(stage.reads) <= written
            written |= set(stage.writes)
