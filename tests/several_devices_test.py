"""Latency limits on several devices at once: stages, feasible set, and what runs again.

That both are measured is tested in stages_test.py."""

import dataclasses

import pytest

from keras_nas import pipeline, stages
from keras_nas.config import DeviceConfig, LimitsConfig, OtherDeviceConfig
from keras_nas.experiment import OtherLatency, limited_resources, load_space, staged_costs
from keras_nas.report_files import result_names
from keras_nas.stage_list import stages_of

LATENCIES = ["latency_ms", "latency_ms@small"]


@pytest.fixture
def small_table(tiny_table):
    """Of the same space in int8, where what is fast in float32 is slow."""
    largest = max(tiny_table.entries.values())
    entries = {key: 1.1 * largest - value for key, value in tiny_table.entries.items()}
    return dataclasses.replace(tiny_table, precision="int8", entries=entries)


@pytest.fixture
def config(tiny_config, tiny_table, small_table, tmp_path):
    """The tiny experiment with int8 on the same machine as a second device, and given tables."""
    tables = {"first": tiny_table, "small": small_table}
    for name, table in tables.items():
        (tmp_path / f"{name}.json").write_text(table.to_json())
    tiny_config.device.latency_table = str(tmp_path / "first.json")
    int8 = DeviceConfig(precision="int8", latency_table=str(tmp_path / "small.json"))
    tiny_config.other_devices = {"small": OtherDeviceConfig(int8, latency_fraction=0.6)}
    return tiny_config


def limited(config, tiny_table, small_table, **limits):
    others = [OtherLatency("small", small_table, config.other_devices["small"])]
    space = load_space(config.space)
    return limited_resources(space, tiny_table, LimitsConfig(**limits), others)


def test_every_device_is_a_resource_with_its_limit(config, tiny_table, small_table):
    models, limits = limited(config, tiny_table, small_table, latency_fraction=0.6, parameters=3000)
    assert [limit.name for limit in limits] == [*LATENCIES, "parameters"]
    space = load_space(config.space)
    architecture = space.random(3)
    for model, limit, table in zip(models, limits, (tiny_table, small_table), strict=False):
        assert limit.limit == pytest.approx(0.4 * limit.smallest + 0.6 * limit.largest)
        depths, configurations = space.encode(architecture)
        entries = [space.depths[s].index(depth) for s, depth in enumerate(depths)]
        assert model.exact(entries, configurations) == pytest.approx(
            table.latency_ms(architecture, space.input_shape, 10)
        )
    assert staged_costs(space, models).block_costs.shape[0] == 3


def test_a_device_with_the_name_of_a_precision_lists_its_file_once(config):
    config.other_devices = {"int8": config.other_devices["small"]}
    names = result_names(config)
    assert {"network_int8.tflite", "latency_table_int8.json"} < set(names)
    assert len(set(names)) == len(names)


def test_limits_that_no_network_keeps_on_all_devices_are_refused(config, tiny_table, small_table):
    config.other_devices["small"].latency_fraction = 0.01
    message = (
        r"no network .*keeps latency_ms <= .* and latency_ms@small <= .* together, though one "
        r"keeps each; raise latency_ms to .*, or raise latency_ms@small to .*\nresource"
    )
    with pytest.raises(ValueError, match=message):
        limited(config, tiny_table, small_table, latency_fraction=0.01)


def test_stages_of_several_devices(config):
    found = {stage.key: stage for stage in stages_of(config)}
    profile, measure = found["profile_small"], found["measure_small"]
    assert profile.writes == ("latency_table_small.json",)
    assert measure.writes == ("measurement_small.json",)
    assert "latency_table_small.json" in measure.reads
    assert "latency_table.json" not in measure.reads
    for name in ("search", "project"):
        assert {"latency_table.json", "latency_table_small.json"} <= set(found[name].reads)
    assert {"latency_table_small.json", "measurement_small.json"} <= set(found["report"].reads)
    one = dataclasses.replace(config, other_devices={})
    assert [s.key for s in stages_of(one) if s.device] == []
    for stage in stages_of(one):
        if stage.key in ("profile", "pretrain", "supernet", "finetune", "export", "measure"):
            assert stage == found[stage.key]
    several = dataclasses.replace(config, limits=LimitsConfig(latency_fraction=(0.3, 0.5)))
    found = {stage.key: stage for stage in stages_of(several)}
    assert "limit_0.3_of_range/measure_small" in found
    assert "latency_table_small.json" in found["limit_0.5_of_range/project"].reads
    assert "latency_table_small.json" in found["baselines"].reads


def test_only_what_depends_on_a_device_runs_again(config, tmp_path, monkeypatch, small_table):
    ran = []

    def stand_in(name, context):
        ran.append(f"{name}:{context.device_name}" if context.device_name else name)
        if name == "profile":
            return real(name, context)
        writes = [w for s in stages_of(config) if s.name == name for w in s.writes]
        return dict.fromkeys(writes, "made up")

    real = stages.run
    monkeypatch.setattr(stages, "run", stand_in)
    lines = []
    pipeline.run(config, tmp_path / "work", log=lines.append)
    assert ran[:2] == ["profile", "profile:small"] and ran[-3:-1] == ["measure", "measure:small"]
    assert [line.split()[0] for line in next(ln for ln in lines if "\n" in ln).split("\n")] == [
        "resource",
        *LATENCIES,
    ]

    def again():
        ran.clear()
        pipeline.run(config, tmp_path / "work", log=lambda line: None)
        return list(ran)

    assert again() == []
    config.other_devices["small"].latency_fraction = 0.7
    assert again() == ["search", "project", "report"]
    file = tmp_path / "small.json"
    file.write_text(dataclasses.replace(small_table, overhead_ms=0.002).to_json())
    assert again()[:3] == ["profile:small", "search", "project"]
    config.other_devices["tiny"] = dataclasses.replace(config.other_devices["small"])
    assert again()[0] == "profile:tiny"


def test_a_table_of_another_precision_is_refused(config, tmp_path):
    config.other_devices["small"].device.precision = "float16"
    with pytest.raises(ValueError, match="made for precision 'int8', and is asked for 'float16'"):
        pipeline.run(config, tmp_path / "work", ["profile"], log=lambda line: None)
