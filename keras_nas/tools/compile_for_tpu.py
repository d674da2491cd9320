"""Compiles every step for TPUs that are not there, and shows what it needs.

    make tpu-aot
    python -m keras_nas.tools.compile_for_tpu --steps=hardcore_nas/search --topologies=v5e:2x4
    python -m keras_nas.tools.compile_for_tpu --batch_per_core=96,192

The first makes the environment and compiles everything at the papers' settings: hours on two
cores, since a step takes minutes. Each result is kept in `--output` as soon as it is there, and
what is there is not compiled again. All numbers are the compiler's; nothing is run.
"""

from __future__ import annotations

import dataclasses
import functools
import gc
import itertools
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from absl import app, flags

from keras_nas import files
from keras_nas.config import SpaceConfig
from keras_nas.experiment import NAMED, load_space
from tpu import aot

_STEPS = flags.DEFINE_list("steps", [], "Which steps, by name or its beginning; all by default.")
_TOPOLOGIES = flags.DEFINE_list("topologies", ["v3:2x2", "v5e:2x4"], "TPUs: kind and chips.")
_BATCHES = flags.DEFINE_list("batch_per_core", ["96"], "Images of a step on each core.")
_SPACE = flags.DEFINE_string("space", "", "Name, or file:PATH; the method's own by default.")
_RESOLUTION = flags.DEFINE_integer("resolution", 224, "Side of the images.", lower_bound=8)
_CLASSES = flags.DEFINE_integer("classes", 1000, "Number of classes.", lower_bound=2)
_PRECISION = flags.DEFINE_string("precision", "mixed_bfloat16", "Keras' dtype policy.")
_OUTPUT = flags.DEFINE_string("output", "runs/tpu_aot", "Folder for results.json and table.md.")

Row = dict[str, Any]

_COLUMNS = (
    "step", "TPU", "images a core", "GFLOP", "GB accessed", "GiB of memory", "all-reduces",
    "million cycles", "cycles an image", "compile s",
)  # fmt: skip


def compile_row(name: str, topology: str, batch_per_core: int) -> Row:
    """Compiles one step for all cores of a topology.

    Returns:
      The step's name, topology and batch, with either the fields of `aot.CompileResult` or the
      compiler's reason in `refused`.

    Raises:
      aot.AotError: there is no such topology.
    """
    replicas = len(aot.topology_devices(topology))
    row: Row = {"step": name, "topology": topology, "batch_per_core": batch_per_core}
    hlo = _lowered(name, batch_per_core, replicas)
    try:
        return row | dataclasses.asdict(aot.compile_step(hlo, topology))
    except aot.AotError as error:
        return row | {"refused": str(error)}


@functools.lru_cache(maxsize=1)  # the same for TPUs with as many cores
def _lowered(name: str, batch_per_core: int, replicas: int) -> bytes:
    import keras

    from keras_nas.tools.compiled_steps import STEPS, Setting
    from keras_nas.training.precision import dtype_policy
    from tpu.lowering import TracedStep

    keras.utils.clear_session()
    gc.collect()
    keras.config.set_dtype_policy(dtype_policy(_PRECISION.value))
    setting = Setting(
        space=load_space(SpaceConfig(_space_name(name), _RESOLUTION.value)),
        classes=_CLASSES.value,
        batch_size=batch_per_core * replicas,
        strategy=aot.replica_strategy(replicas),
    )
    step = STEPS[name](setting)
    return TracedStep(step.function, step.specs).program(serialized=True)


def _space_name(step: str) -> str:
    """The flag's, or that of the paper of the step's method."""
    method = step.partition("/")[0]
    return _SPACE.value or (method if method in NAMED else "hardcore_nas")


def table(rows: Iterable[Row]) -> str:
    """Rows as a Markdown table."""
    lines = [_COLUMNS, tuple("---" if c in ("step", "TPU") else "--:" for c in _COLUMNS)]
    lines += map(_cells, rows)
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _cells(row: Row) -> tuple[str, ...]:
    batch = row["batch_per_core"]
    first = (row["step"], row["topology"], str(batch))
    if "refused" in row:
        return (*first, row["refused"], *[""] * (len(_COLUMNS) - len(first) - 1))
    used, available = row["memory_bytes"] / 2**30, row["chip_bytes"] / 2**30
    cycles = row["estimated_cycles"]
    return (
        *first,
        f"{row['flops'] / 1e9:.1f}",
        f"{row['bytes_accessed'] / 1e9:.1f}",
        f"{used:.2f} of {available:g}",
        str(row["all_reduces"]),
        f"{cycles / 1e6:.2f}" if cycles else "not given",
        f"{cycles / batch:,.0f}" if cycles else "not given",
        f"{row['compile_seconds']:.0f}",
    )


def _batches() -> list[int]:
    try:
        batches = [int(text) for text in _BATCHES.value]
    except ValueError:
        batches = [0]
    if min(batches) < 1:
        raise app.UsageError(
            f"--batch_per_core should be positive numbers, as 96,192; received {_BATCHES.value}."
        )
    return batches


def _names() -> list[str]:
    from keras_nas.tools.compiled_steps import STEPS

    wanted = tuple(_STEPS.value)
    for name in wanted:
        if not any(step.startswith(name) for step in STEPS):
            raise app.UsageError(f"no step {name!r}; there are {', '.join(STEPS)}.")
    return [step for step in STEPS if not wanted or step.startswith(wanted)]


def _run() -> None:
    aot.prepare_environment()
    results = Path(_OUTPUT.value) / "results.json"
    rows: dict[str, Row] = files.read_json(results, "results") if results.exists() else {}
    made_with = f"{_RESOLUTION.value}, {_CLASSES.value}, {_PRECISION.value}"
    for batch, name, topology in itertools.product(_batches(), _names(), _TOPOLOGIES.value):
        key = f"{name}, {topology}, {batch}, {_space_name(name)}, {made_with}"
        if key not in rows:
            print(f"compiling {key}", file=sys.stderr, flush=True)
            rows[key] = compile_row(name, topology, batch)
            files.write_json(results, rows)
            files.write_text(results.with_name("table.md"), table(rows.values()))
    print(table(rows.values()), end="")


def main(argv: list[str]) -> None:
    if len(argv) > 1:
        raise app.UsageError(f"no arguments but flags, received {argv[1:]}.")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    try:
        _run()
    except (aot.AotError, ValueError, OSError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    app.run(main)
