"""Settings: what is refused, and how the message names it."""

import dataclasses
import math

import pytest

from keras_nas.config import Config, DeviceConfig, LimitsConfig, OtherDeviceConfig, flatten
from keras_nas.config.ranges import CHOICES, RANGES

OTHER = OtherDeviceConfig(latency_ms=3.0)


@pytest.fixture
def config():
    return Config(limits=LimitsConfig(latency_ms=12))


def set_field(config, path, value):
    *groups, field = path.split(".")
    for group in groups:
        config = getattr(config, group)
    setattr(config, field, value)


def test_defaults_with_a_limit_are_valid_and_integers_become_floats(config):
    config.pretrain.epochs = 3
    config.validate()
    assert config.limits.latency_ms == 12.0
    assert isinstance(config.limits.latency_ms, float)
    assert isinstance(config.pretrain.epochs, float)


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("seed", "3", r"config\.seed should be int, received '3'"),
        ("seed", True, r"config\.seed should be int, received True"),
        ("seed", 1.5, r"config\.seed should be int, received 1.5"),
        ("data.flip", 1, r"config\.data\.flip should be bool, received 1"),
        ("data.mean", (0.5, "a", 0.5), r"config\.data\.mean should be a tuple of numbers"),
        ("data.mean", (0.5,), r"config\.data\.mean should be three numbers"),
        ("data.std", (0.5, 0.0, 0.5), r"config\.data\.std should be three numbers, std above 0"),
        ("pretrain.epochs", None, r"config\.pretrain\.epochs should be a finite number, .* None"),
        ("pretrain.epochs", math.nan, r"config\.pretrain\.epochs should be a finite number"),
        ("limits.latency_ms", math.inf, r"latency_ms should be a finite number or several .* inf"),
        ("space.overrides", [], r"config\.space\.overrides should be dict"),
        ("space", {}, r"config\.space should be a SpaceConfig"),
        ("pretrain.distillation", 1.0, r"config\.pretrain\.distillation should be 0"),
    ],
)
def test_wrong_types_and_values_are_refused_by_name(config, path, value, message):
    set_field(config, path, value)
    with pytest.raises(ValueError, match=message):
        config.validate()


def test_unknown_fields_are_refused_with_a_list_of_what_exists(config):
    config.limits.latency = 3
    with pytest.raises(ValueError, match=r"config\.limits has no field 'latency'; it has .*macs"):
        config.validate()


@pytest.mark.parametrize("path", RANGES)
def test_every_range_is_checked(config, path):
    if path == "limits.latency_fraction":
        config.limits.latency_ms = None
    kind = type(flatten(config)[path])
    set_field(config, path, -1 if kind is int else -1.0)
    with pytest.raises(ValueError, match=rf"config\.{path} should be .*received -1"):
        config.validate()


@pytest.mark.parametrize("path", CHOICES)
def test_every_choice_is_checked(config, path):
    set_field(config, path, "nonsense")
    with pytest.raises(ValueError, match=rf"config\.{path} should be one of .*'nonsense'"):
        config.validate()
    if path == "method":  # not all methods have weights to fine-tune from
        set_field(config, "final", "train")
    for choice in CHOICES[path]:
        set_field(config, path, choice)
        config.validate()


def test_every_range_and_choice_is_of_an_existing_field(config):
    assert set(RANGES) | set(CHOICES) <= set(flatten(config))


@pytest.mark.parametrize("values", [(None, None), (10.0, 0.5)])
def test_the_latency_limit_is_stated_in_exactly_one_way(values):
    config = Config(limits=LimitsConfig(*values))
    with pytest.raises(ValueError, match=r"exactly one of .*latency_ms and .*latency_fraction"):
        config.validate()


def test_solving_on_the_device_takes_one_limit(config):
    config.search.solve_on_device = True
    config.validate()
    config.limits.macs = 1e6
    with pytest.raises(ValueError, match="solve_on_device works with one limit"):
        config.validate()


def test_flatten_gives_every_setting_by_path(config):
    settings = flatten(config)
    assert settings["limits.latency_ms"] == 12
    assert settings["pretrain.learning_rate"] == config.pretrain.learning_rate
    assert settings["device.android.wait_seconds"] == 600

    def count(group):
        types = [field.type for field in dataclasses.fields(group)]
        return sum(count(t) if dataclasses.is_dataclass(t) else 1 for t in types)

    others = 1  # a table, here an empty one
    assert len(settings) == count(Config) - others
    config.other_devices = {"phone": OtherDeviceConfig(latency_ms=3)}
    config.validate()
    more = {path: value for path, value in flatten(config).items() if path not in settings}
    assert len(more) == count(OtherDeviceConfig)
    assert more["other_devices.phone.latency_ms"] == 3.0
    assert more["other_devices.phone.device.android.wait_seconds"] == 600


def test_every_rule_is_of_a_setting(config):
    assert {*RANGES, *CHOICES} <= set(flatten(config))


@pytest.mark.parametrize(
    ("others", "message"),
    [
        ([], r"config\.other_devices should be a dict, received \[\]"),
        ({"Phone": OTHER}, r"other_devices should have names of small letters.*received 'Phone'"),
        ({"items": OTHER}, r"such as 'phone'; received 'items'"),
        ({3: OTHER}, "received 3"),
        ({"phone": DeviceConfig()}, r"other_devices\.phone should be a OtherDeviceConfig"),
        (
            {"phone": OtherDeviceConfig()},
            r"exactly one of config\.other_devices\.phone\.latency_ms",
        ),
        (
            {"phone": OtherDeviceConfig(latency_ms=(3.0, 4.0))},
            r"other_devices\.phone\.latency_ms should be a finite number or None",
        ),
        (
            {"phone": OtherDeviceConfig(latency_fraction=1.5)},
            r"other_devices\.phone\.latency_fraction should be above 0 and at most 1",
        ),
        (
            {"phone": OtherDeviceConfig(DeviceConfig(precision="int4"), 3)},
            r"other_devices\.phone\.device\.precision should be one of .*received 'int4'",
        ),
        (
            {"phone": OtherDeviceConfig(DeviceConfig(threads=0), 3)},
            r"other_devices\.phone\.device\.threads should be at least 1",
        ),
    ],
)
def test_other_devices_obey_the_rules_of_the_first(config, others, message):
    config.other_devices = others
    with pytest.raises(ValueError, match=message):
        config.validate()


def test_other_devices_need_several_limits_at_once(config):
    config.other_devices = {"phone": OTHER}
    config.search.solve_on_device = True
    with pytest.raises(ValueError, match=r"one limit; leave out other_devices\.phone"):
        config.validate()
    config.search.solve_on_device = False
    config.method = "tf_nas"
    with pytest.raises(ValueError, match=r"on one device; leave out other_devices\.phone"):
        config.validate()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tf_nas.warmup_epochs": 90}, r"warmup_epochs should be less .*received 90 and 90"),
        ({"limits.macs": 1e6}, "scales widths to one limit, on latency"),
        ({"limits.parameters": 1e6}, "scales widths to one limit, on latency"),
        ({"train.distillation": 0.5}, "without distillation"),
        ({"final": "finetune"}, "neither one-shot weights nor a heaviest network"),
    ],
)
def test_tf_nas_settings_fit_together(config, changes, message):
    for path, value in ({"method": "tf_nas", "final": "train"}).items():
        set_field(config, path, value)
    config.validate()
    for path, value in changes.items():
        set_field(config, path, value)
    with pytest.raises(ValueError, match=message):
        config.validate()
    set_field(config, "method", "hardcore_nas")
    config.validate()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"projection.method": "argmax"}, "leave config.projection.method at 'exact', .*'argmax'"),
        ({"final": "train", "train.distillation": 0.5}, r"set config\.train\.distillation to 0"),
        (
            {"single_path.formulation": "multi_path", "single_path.relaxation": "straight_through"},
            "'softmax' or 'sigmoid', received 'straight_through'",
        ),
        ({"finetune.distillation": 0.5}, r"no heaviest network .* config\.finetune\.distillation"),
        ({"limits.latency_ms": (8, 9)}, "searches under one limit"),
        ({"limits.latency_fraction": 0.5}, "exactly one of"),
    ],
)
def test_single_path_settings_fit_together(config, changes, message):
    config.method = "single_path"
    config.validate()
    for path, value in changes.items():
        set_field(config, path, value)
    with pytest.raises(ValueError, match=message):
        config.validate()


def test_single_path_needs_no_limit(config):
    config.method, config.limits = "single_path", LimitsConfig()
    config.validate()
    assert config.limits.each() == {"no_latency_limit": LimitsConfig()}


@pytest.mark.parametrize("way", ["latency_ms", "latency_fraction"])
def test_several_limits_are_floats_and_each_has_a_name(way):
    config = Config(limits=LimitsConfig(**{way: (1, 0.25)}, macs=5))
    config.search.batch_size = 10
    config.validate()
    values = getattr(config.limits, way)
    assert values == (1.0, 0.25)
    assert all(isinstance(value, float) for value in values)
    unit = {"latency_ms": "ms", "latency_fraction": "_of_range"}[way]
    assert config.limits.each() == {
        f"limit_1{unit}": LimitsConfig(**{way: 1.0}, macs=5.0),
        f"limit_0.25{unit}": LimitsConfig(**{way: 0.25}, macs=5.0),
    }


def test_one_limit_stays_a_number():
    for value in (8, (8,)):
        config = Config(limits=LimitsConfig(latency_ms=value))
        config.validate()
        assert config.limits.latency_ms == 8.0
        assert config.limits.each() == {"limit_8ms": LimitsConfig(latency_ms=8.0)}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"limits.latency_ms": ()}, r"latency_ms should be a finite number or several .* \(\)"),
        ({"limits.latency_ms": (8, "9")}, r"latency_ms should be a finite number or several"),
        ({"limits.latency_ms": (8, math.nan)}, r"latency_ms should be a finite number or several"),
        ({"limits.latency_ms": (8, 0)}, r"latency_ms should be above 0; received \(8.0, 0.0\)"),
        ({"limits.macs": (8, 9)}, r"config\.limits\.macs should be a finite number or None"),
        ({"limits.latency_ms": (8, 8.0000001)}, "differ in their first 6 digits"),
        ({"limits.latency_ms": (7, 8, 9)}, r"batch_size is 128, which 3 latency .* multiple of 3"),
        (
            {"limits.latency_ms": (7, 8), "baselines.evaluations": 5},
            r"should be 0, or at least config\.baselines\.population; received 5 and 8",
        ),
        ({"limits.latency_ms": (7, 8), "method": "tf_nas"}, "searches under one limit"),
    ],
)
def test_what_several_limits_cannot_be(config, settings, message):
    for path, value in settings.items():
        set_field(config, path, value)
    with pytest.raises(ValueError, match=message):
        config.validate()
