"""A work directory on cloud storage, with stages that only write."""

import pytest

from keras_nas import pipeline, stages
from keras_nas.experiment import load_space
from keras_nas.stage_list import stages_of


@pytest.fixture
def ran(monkeypatch, made_up_table):
    """Names of the stages that ran, in order; filled by stand-ins."""
    names = []

    def stand_in(name, context):
        names.append(name)
        stage = next(stage for stage in stages_of(context.config) if stage.name == name)
        outputs = dict.fromkeys(stage.writes, f"{name} made this")
        if name == "profile":
            table = made_up_table(load_space(context.config.space), 10)
            outputs["latency_table.json"] = table.to_json()
        return outputs

    monkeypatch.setattr(stages, "run", stand_in)
    return names


def run(config, folder):
    pipeline.run(config, folder, log=lambda line: None)


def test_a_work_directory_on_an_object_store(tiny_config, object_store, ran):
    run(tiny_config, object_store)
    everything = [stage.name for stage in stages_of(tiny_config)]
    assert ran == everything
    table = object_store / "latency_table.json"
    assert table.read_text()
    run(tiny_config, str(object_store))
    assert ran == everything
    table.unlink()
    run(tiny_config, object_store)
    assert ran == [*everything, "profile"]  # made anew, it is the same: nothing after it is stale


def test_on_an_object_store_the_last_process_to_begin_owns_it(
    tiny_config, object_store, monkeypatch, ran
):
    stand_in = stages.run

    def overtaken(name, context):
        if name == "pretrain":
            (object_store / pipeline.RECORDS / "owner").unlink()
            (object_store / pipeline.RECORDS / "owner").write_text("another, process 7")
        return stand_in(name, context)

    monkeypatch.setattr(stages, "run", overtaken)
    with pytest.raises(OSError, match=r"was taken over by another, process 7; this run ends"):
        run(tiny_config, object_store)
    assert ran == ["profile", "pretrain"]
    assert not (object_store / "heaviest.npz").exists()
    monkeypatch.setattr(stages, "run", stand_in)
    run(tiny_config, object_store)
    later = [stage.name for stage in stages_of(tiny_config)][1:]
    assert ran == ["profile", "pretrain", *later]
