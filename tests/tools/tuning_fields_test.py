"""Which fields are tuned over what, read from a command line."""

from pathlib import Path

import pytest

from keras_nas.config.ranges import METHODS
from keras_nas.tools.tuning_fields import (
    DEFAULT_FIDELITY,
    DEFAULT_FIELDS,
    Field,
    read_fields,
    read_rungs,
    with_values,
)
from keras_nas.tools.tuning_trial import Evaluator


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ("search.epochs:0.5:2", Field("search.epochs", 0.5, 2.0)),
        ("config.search.epochs:1:2", Field("search.epochs", 1.0, 2.0)),
        ("pretrain.learning_rate:log:0.01:1", Field("pretrain.learning_rate", 0.01, 1.0, True)),
        ("search.batch_size:8:64", Field("search.batch_size", 8, 64)),
        ("search.batch_size:8,16", Field("search.batch_size", choices=(8, 16))),
        ("search.start:balanced,lightest", Field("search.start", choices=("balanced", "lightest"))),
        ("data.flip:true,false", Field("data.flip", choices=(True, False))),
        ("limits.macs:1000:2000", Field("limits.macs", 1000.0, 2000.0)),
    ],
)
def test_fields_are_read(tiny_config, text, field):
    (found,) = read_fields([text], tiny_config)
    assert found == field
    assert [type(end) for end in found.corners] == [type(end) for end in field.corners]
    assert read_fields([str(found)], tiny_config) == (field,)


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["search.epoch:1:2"], "config.search has no field 'epoch'; it has batch_size, epochs"),
        (["serach.epochs:1:2"], "config has no field 'serach'"),
        (["search:1:2"], "config.search is a group of fields"),
        (["data.mean:0:1"], "config.data.mean holds neither a number"),
        (["method:tf_nas,hardcore_nas"], "a study is of one method"),
        (["limits.latency_ms:1:2"], "--target_ms says it"),
        (["search.epochs"], "--tune should be FIELD:LOW:HIGH, FIELD:log:LOW:HIGH or"),
        (["search.epochs:1:2:3"], "--tune should be FIELD:LOW:HIGH"),
        (["search.epochs:lin:1:2"], "--tune should be FIELD:LOW:HIGH"),
        (["search.epochs:2:1"], "LOW < HIGH"),
        (["search.epochs:log:0:1"], "0 < LOW < HIGH"),
        (["search.epochs:1:inf"], "a finite number"),
        (["search.epochs:1:many"], "'many' should be a number"),
        (["search.batch_size:1.5:3"], "'1.5' should be an integer"),
        (["search.start:1:2"], "is no number and has no range"),
        (["data.flip:true,perhaps"], "should have the values true,false"),
        (["search.start:balanced,balanced"], "has a value twice"),
        (["search.start:balanced,best"], "goes too far: config.search.start should be one of"),
        (["search.epochs:-1:2"], "goes too far: config.search.epochs should be above 0"),
        (["search.epochs:1:2", "search.epochs:2:3"], "names search.epochs twice"),
    ],
)
def test_bad_fields_say_what_would_do(tiny_config, texts, message):
    with pytest.raises(ValueError) as error:
        read_fields(texts, tiny_config)
    assert message in str(error.value)


def test_values_go_into_a_copy(tiny_config):
    changed = with_values(tiny_config, {"search.epochs": 7.0, "seed": 3})
    assert (changed.search.epochs, changed.seed) == (7.0, 3)
    assert (tiny_config.search.epochs, tiny_config.seed) == (0.3, 0)


def test_rungs_shorten_all_lengths_together(tiny_config):
    config = with_values(tiny_config, {"tf_nas.epochs": 90, "tf_nas.warmup_epochs": 10})
    rungs = read_rungs(config, ("tf_nas.epochs", "tf_nas.warmup_epochs", "search.epochs"), 3, 3)
    assert [rung.step for rung in rungs] == [1, 3, 9]
    assert [rung.share for rung in rungs] == pytest.approx([1 / 9, 1 / 3, 1])
    assert rungs[1].values == {
        "tf_nas.epochs": 30,
        "tf_nas.warmup_epochs": 3,
        "search.epochs": pytest.approx(0.1),
    }
    assert rungs[2].values == {}


@pytest.mark.parametrize(
    ("paths", "count", "message"),
    [
        (["search.epoch"], 3, "config.search has no field 'epoch'"),
        (["search.start"], 3, "--fidelity should name lengths"),
        (["tf_nas.warmup_epochs"], 4, "config.tf_nas.warmup_epochs=10 is too short"),
        (["search.epochs"], 1, "--rungs and --reduction should be at least 2"),
    ],
)
def test_bad_lengths(tiny_config, paths, count, message):
    with pytest.raises(ValueError) as error:
        read_rungs(tiny_config, paths, count, 3)
    assert message in str(error.value)


@pytest.mark.parametrize("method", METHODS)
def test_every_method_has_defaults(method, request):
    fixture = {"hardcore_nas": "tiny_config"}.get(method, f"tiny_{method}_config")
    config = request.getfixturevalue(fixture)
    assert read_fields(DEFAULT_FIELDS[method], config)
    paths = DEFAULT_FIDELITY[method]
    long = with_values(config, {path: 90 // (i + 1) for i, path in enumerate(paths)})
    assert set(read_rungs(long, paths, 3, 3)[0].values) == set(paths)
    evaluator = Evaluator(config, Path("unused"), "search", paths)
    evaluator.check()
    assert evaluator.common_stages()[0].name == "profile"
