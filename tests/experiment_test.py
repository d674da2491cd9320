"""What a configuration stands for: its space, limits and costs."""

import dataclasses
import json
import re

import numpy as np
import pytest

from keras_nas.config import LimitsConfig, SpaceConfig
from keras_nas.experiment import latency_limit, limited_resources, load_space, staged_costs
from keras_nas.resources import macs, parameters
from keras_nas.resources.activation_memory import peak_memory_bytes
from keras_nas.resources.tflite_size import tflite_bytes
from keras_nas.space import HARDCORE_NAS


def test_a_named_space_at_a_resolution_and_width():
    space = load_space(SpaceConfig(resolution=96, width_multiplier=0.5))
    assert space == dataclasses.replace(HARDCORE_NAS.scaled(0.5), resolution=96)
    assert load_space(SpaceConfig()) == HARDCORE_NAS


def test_overrides_replace_fields():
    space = load_space(
        SpaceConfig(
            overrides={
                "name": "mine",
                "kernel_sizes": (3, 5, 7),
                "stages": [{"channels": 192, "stride": 2, "activation": "relu"}],
            }
        )
    )
    assert space.name == "mine"
    assert space.kernel_sizes == (3, 5, 7)
    assert [stage.channels for stage in space.stages] == [192]
    assert space.head == HARDCORE_NAS.head
    assert space.fingerprint() != HARDCORE_NAS.fingerprint()


def test_a_space_from_a_file(tmp_path):
    file = tmp_path / "space.json"
    file.write_text(dataclasses.replace(HARDCORE_NAS, name="mine").to_json())
    assert load_space(SpaceConfig(name=f"file:{file}")).name == "mine"
    file.write_text(file.read_text()[:100])
    with pytest.raises(ValueError, match=r"search space .*space\.json.* damaged or truncated"):
        load_space(SpaceConfig(name=f"file:{file}"))
    file.unlink()
    with pytest.raises(FileNotFoundError, match=r"no search space at .*space\.json"):
        load_space(SpaceConfig(name=f"file:{file}"))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"name": "mine"}, "should be one of hardcore_nas, .*file:PATH; received 'mine'"),
        ({"name": "file:"}, "received 'file:'"),
        ({"overrides": {"kernels": [3]}}, "unknown field 'kernels'; a space has .*kernel_sizes"),
        ({"overrides": {"kernel_sizes": [4]}}, "kernel"),
        ({"overrides": {"kernel_sizes": []}}, "kernel_sizes should be"),
        ({"overrides": {"stages": [{"channels": 8}]}}, "config.space.overrides"),
        ({"overrides": {"stages": 3}}, "config.space.overrides"),
        ({"overrides": {"head": {1, 2}}}, "config.space.overrides should hold"),
    ],
)
def test_bad_spaces_are_refused_by_name(settings, message):
    with pytest.raises(ValueError, match=message):
        load_space(SpaceConfig(**settings))


def test_limited_resources_latency_first(tiny_config, tiny_table):
    space = load_space(tiny_config.space)
    heaviest = space.heaviest()
    limits = LimitsConfig(
        latency_fraction=1.0,
        macs=float(macs(heaviest, space.input_shape, 10)),
        parameters=float(parameters(heaviest, space.input_shape, 10)),
    )
    models, rows = limited_resources(space, tiny_table, limits)
    assert [row.name for row in rows] == ["latency_ms", "macs", "parameters"]
    assert rows[0].limit == rows[0].largest  # a fraction of 1 is the largest exactly
    costs = staged_costs(space, models)
    depths, configurations = space.encode(heaviest)
    entries = [space.depths[s].index(depth) for s, depth in enumerate(depths)]
    expected = [
        tiny_table.latency_ms(heaviest, space.input_shape, 10),
        limits.macs,
        limits.parameters,
    ]
    np.testing.assert_allclose(costs.exact_cost(entries, configurations), expected, rtol=1e-12)


@pytest.mark.parametrize("share", [1e-9, 0.25, 1.0])
def test_latency_fraction_lies_between_smallest_and_largest(
    tiny_config, tiny_table, share, recwarn
):
    space = load_space(tiny_config.space)
    _, (row,) = limited_resources(space, tiny_table, LimitsConfig(latency_fraction=share))
    expected = row.smallest + share * (row.largest - row.smallest)
    assert row.limit == pytest.approx(expected, rel=1e-12)
    assert row.smallest <= row.limit <= row.largest
    assert not recwarn


def test_limits_out_of_range(tiny_config, tiny_table):
    space = load_space(tiny_config.space)
    with pytest.raises(ValueError, match=r"latency_ms <= 0\.001: the smallest is .*, the largest"):
        limited_resources(space, tiny_table, LimitsConfig(latency_ms=0.001))
    with pytest.warns(UserWarning, match="latency_ms <= 1000 does not bind"):
        limited_resources(space, tiny_table, LimitsConfig(latency_ms=1000.0))
    other = load_space(SpaceConfig(resolution=16))
    with pytest.raises(ValueError, match="made for space 'tiny'"):
        limited_resources(other, tiny_table, LimitsConfig(latency_ms=1.0))
    assert json.loads(tiny_table.to_json())["space_name"] == "tiny"


def test_limits_that_no_network_keeps_together_show_what_would_do(tiny_config, tiny_table):
    """Latency is random in the made-up table, so that it often disagrees with the parameters."""
    space = load_space(tiny_config.space)
    models, _ = limited_resources(
        space, tiny_table, LimitsConfig(latency_fraction=1.0, parameters=3570.0)
    )
    asked = LimitsConfig(
        latency_ms=1.0001 * models[0].smallest(), parameters=1.0001 * models[1].smallest()
    )
    with pytest.raises(ValueError, match=r"together, though one keeps each; raise") as caught:
        limited_resources(space, tiny_table, asked)
    text = str(caught.value)
    assert "resource" in text.splitlines()[1]
    number = r"([\d.e+]+)"
    latency_ms = float(re.search(rf"raise latency_ms to {number}", text)[1])
    share = float(re.search(rf"all of them by {number}%", text)[1]) / 100
    for enough in (
        dataclasses.replace(asked, latency_ms=latency_ms * 1.00001),
        LimitsConfig(
            latency_ms=asked.latency_ms * (1.0001 + share),
            parameters=asked.parameters * (1.0001 + share),
        ),
    ):
        limited_resources(space, tiny_table, enough)
    with pytest.raises(ValueError, match="together"):
        limited_resources(
            space, tiny_table, dataclasses.replace(asked, latency_ms=latency_ms * 0.999)
        )


def test_file_size_and_memory_are_limits_like_the_others(tiny_config, tiny_table):
    space = load_space(tiny_config.space)
    everything = LimitsConfig(latency_fraction=1.0, tflite_bytes=22804.0)
    _, limits = limited_resources(space, tiny_table, everything)
    sizes = [tflite_bytes(a, space.input_shape, 10) for a in (space.lightest(), space.heaviest())]
    assert [limits[1].smallest, limits[1].largest] == sizes
    peak = peak_memory_bytes(space.heaviest(), space.input_shape, 10)
    assert peak_memory_bytes(space.lightest(), space.input_shape, 10) == peak  # that of the stem
    tight = dataclasses.replace(everything, peak_memory_bytes=float(peak))
    restricted, _ = limited_resources(space, tiny_table, tight)
    assert staged_costs(space, restricted).allowed_alpha.all()
    with pytest.raises(ValueError, match=f"peak_memory_bytes <= {peak - 1}"):
        limited_resources(
            space, tiny_table, dataclasses.replace(tight, peak_memory_bytes=float(peak - 1))
        )


@pytest.mark.parametrize("way", ["latency_ms", "latency_fraction"])
def test_several_latency_limits_are_taken_one_by_one(way):
    limits = LimitsConfig(**{way: (0.25, 0.5)})
    with pytest.raises(ValueError, match=r"several latency limits, \(0.25, 0.5\); take one"):
        latency_limit(limits, 1.0, 3.0)
    expected = {"latency_ms": [0.25, 0.5], "latency_fraction": [1.5, 2.0]}[way]
    assert [latency_limit(one, 1.0, 3.0) for one in limits.each().values()] == expected
