"""The table of compile results: its rows, what is kept, and errors. Nothing is compiled."""

import dataclasses
import json

import pytest
from absl import app

from keras_nas.tools import compile_for_tpu
from tpu import aot

RESULT = aot.CompileResult(
    flops=2.5e11,
    bytes_accessed=4.56e10,
    memory_bytes=3 * 2**30,
    chip_bytes=16 * 2**30,
    aliased_bytes=10**8,
    all_reduces=2,
    estimated_cycles=96_000_000,
    compile_seconds=61.4,
)
STEP = {"step": "hardcore_nas/search", "topology": "v5e:2x4", "batch_per_core": 96, "effort": "O2"}


OPTIONS = compile_for_tpu.Options(steps=("hardcore_nas/search",))


def run(folder, **changes):
    compile_for_tpu.compile_all(dataclasses.replace(OPTIONS, output=str(folder), **changes))


@pytest.fixture
def compiler(monkeypatch):
    """Stands for the environment; gives (step, batch, topology) of what was compiled."""
    compiled = []

    def compile_step(hlo, topology, effort):
        compiled.append((*hlo, topology))
        if hlo[1] > 100:
            raise aot.AotError("the compiler refuses: Used 43.76G of 15.75G hbm")
        return RESULT

    monkeypatch.setattr(aot, "prepare_environment", lambda: None)
    monkeypatch.setattr(aot, "topology_devices", lambda topology: [None] * 8)
    monkeypatch.setattr(aot, "compile_step", compile_step)
    monkeypatch.setattr(
        compile_for_tpu, "_lowered", lambda options, name, batch, replicas: (name, batch, replicas)
    )
    return compiled


def test_the_table():
    rows = [STEP | dataclasses.asdict(RESULT), STEP | {"refused": "too large"}]
    head, rule, row, refused = compile_for_tpu.table(rows).splitlines()
    assert head.startswith("| step | TPU | images a core | effort | GFLOP | GB accessed |")
    assert rule == "| --- | --- | --: | --- | --: | --: | --: | --: | --: | --: | --: |"
    assert row == (
        "| hardcore_nas/search | v5e:2x4 | 96 | O2 | 250.0 | 45.6 | 3.00 of 16 | 2 | 96.00 "
        "| 1,000,000 | 61 |"
    )
    assert "| too large |" in refused
    assert {line.count("|") for line in (head, rule, row, refused)} == {12}
    no_cycles = dataclasses.replace(RESULT, estimated_cycles=0)
    assert "| not given | not given |" in compile_for_tpu.table(
        [STEP | dataclasses.asdict(no_cycles)]
    )


def test_what_is_there_is_not_compiled_again(compiler, tmp_path, capsys):
    run(tmp_path)
    assert compiled_topologies(compiler) == ["v3:2x2", "v5e:2x4"]
    assert compiler[0][:3] == ("hardcore_nas/search", 96, 8)
    first = capsys.readouterr().out
    run(tmp_path)
    assert len(compiler) == 2
    assert capsys.readouterr().out == first == (tmp_path / "table.md").read_text()
    run(tmp_path, resolution=128, topologies=("v5e:2x4",))
    assert len(compiler) == 3
    rows = json.loads((tmp_path / "results.json").read_text())
    assert len(rows) == 3
    assert all(row["flops"] == 2.5e11 for row in rows.values())


def compiled_topologies(compiled):
    return [topology for *_, topology in compiled]


def test_a_refusal_is_a_row(compiler, tmp_path, capsys):
    run(tmp_path, batch_per_core=("96", "512"), topologies=("v5e:2x4",))
    lines = capsys.readouterr().out.splitlines()
    assert "| 96 | O2 | 250.0 |" in lines[2]
    assert "| 512 | O2 | the compiler refuses: Used 43.76G of 15.75G hbm |" in lines[3]


def test_steps_are_chosen_by_their_beginning(compiler, tmp_path):
    run(tmp_path, steps=("hardcore_nas/supernet",), topologies=("v3:2x2",))
    assert [name.rpartition("/")[2] for name, *_ in compiler] == [
        "stratified", "independent", "single_path",
    ]  # fmt: skip


def test_a_whole_name_is_one_step(compiler, tmp_path):
    run(tmp_path, steps=("tf_nas/search",), topologies=("v3:2x2",))
    assert [name for name, *_ in compiler] == ["tf_nas/search"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"steps": ("hardcore_nas/dance",)}, "no step 'hardcore_nas/dance'; there are"),
        ({"batch_per_core": ("many",)}, "should be positive numbers"),
        ({"batch_per_core": ("0",)}, "should be positive numbers"),
    ],
)
def test_bad_options(compiler, tmp_path, changes, message):
    with pytest.raises(app.UsageError, match=message):
        run(tmp_path, **changes)
    assert compiler == []


def test_without_its_environment_it_says_what_it_needs(monkeypatch, tmp_path):
    monkeypatch.setitem(aot.VERSIONS, "jax", "0.0.1")
    with pytest.raises(aot.AotError, match=r"compiling for a TPU needs jax 0\.0\.1"):
        run(tmp_path)
