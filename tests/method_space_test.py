"""What a method searches: its kind of space, its limits, and what a found network costs there."""

import dataclasses

import pytest

from keras_nas.config import LimitsConfig, SpaceConfig
from keras_nas.experiment import load_space
from keras_nas.method_space import (
    SPACE_KINDS,
    checked_limits,
    method_space,
    space_of,
    width_limit,
)
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


def test_stages(tiny_tf_nas_config, tiny_config):
    tiny_tf_nas_config.validate()
    names = [stage.name for stage in stages_of(tiny_tf_nas_config)]
    assert names == ["profile", "search", "project", "train", "export", "measure", "report"]
    reads = set(stages_of(tiny_tf_nas_config)[-1].reads)
    assert {"search.json", "projection.json", "train.json"} <= reads
    assert "pretrain.json" not in reads
    names = [stage.name for stage in stages_of(tiny_config)]
    assert names[1:5] == ["pretrain", "supernet", "search", "project"]
    for config in (tiny_config, tiny_tf_nas_config):
        written = set()
        for stage in stages_of(config):
            assert set(stage.reads) <= written
            written |= set(stage.writes)
