"""Compiles every step for TPUs that are not there, and shows what it needs.

    make tpu-aot
    python -m keras_nas.tools.compile_for_tpu --steps=hardcore_nas/search --topologies=v5e:2x4
    python -m keras_nas.tools.compile_for_tpu --batch_per_core=96,192
    python -m keras_nas.tools.compile_for_tpu --effort=O0

The first makes the environment and compiles everything at the papers' settings: hours on two
cores, since the compiler tries many windows for every convolution and then schedules its code. The
last takes a fifth of the time. Its FLOPs and all-reduces are the step's; its bytes and cycles are
not, and its memory is too high. Each result is kept in `--output` as soon as it is there, and what
is there is not compiled again. All numbers are the compiler's; nothing is run.
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

Row = dict[str, Any]

_COLUMNS = (
    "step", "TPU", "images a core", "effort", "GFLOP", "GB accessed", "GiB of memory",
    "all-reduces", "million cycles", "cycles an image", "compile s",
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Options:
    """What is compiled, see the flags of the same names."""

    steps: tuple[str, ...] = ()
    topologies: tuple[str, ...] = ("v3:2x2", "v5e:2x4")
    batch_per_core: tuple[str, ...] = ("96",)
    space: str = ""
    resolution: int = 224
    classes: int = 1000
    precision: str = "mixed_bfloat16"
    effort: str = "O2"
    output: str = "runs/tpu_aot"

    def space_name(self, step: str) -> str:
        """The space that was asked for, or that of the paper of the step's method."""
        method = step.partition("/")[0]
        return self.space or (method if method in NAMED else "hardcore_nas")


def define_flags() -> None:
    """Called by the program only: tools share names of flags, and absl allows each name once."""
    usual = Options()
    flags.DEFINE_list("steps", [], "Which steps, by name or beginning of names; all by default.")
    flags.DEFINE_list("topologies", list(usual.topologies), "TPUs: kind and chips.")
    flags.DEFINE_list("batch_per_core", list(usual.batch_per_core), "Images of a step on a core.")
    flags.DEFINE_string("space", "", "Name, or file:PATH; the method's own by default.")
    flags.DEFINE_integer("resolution", usual.resolution, "Side of the images.", lower_bound=8)
    flags.DEFINE_integer("classes", usual.classes, "Number of classes.", lower_bound=2)
    flags.DEFINE_string("precision", usual.precision, "Keras' dtype policy.")
    flags.DEFINE_enum("effort", usual.effort, aot.EFFORTS, "The compiler's; O2 is its usual one.")
    flags.DEFINE_string("output", usual.output, "Folder for results.json and table.md.")


def compile_row(options: Options, name: str, topology: str, batch_per_core: int) -> Row:
    """Compiles one step for all cores of a topology.

    Returns:
      The step's name, topology and batch, with either the fields of `aot.CompileResult` or the
      compiler's reason in `refused`.

    Raises:
      aot.AotError: there is no such topology.
    """
    replicas = len(aot.topology_devices(topology))
    row: Row = {"step": name, "topology": topology, "batch_per_core": batch_per_core}
    row["effort"] = options.effort
    hlo = _lowered(options, name, batch_per_core, replicas)
    try:
        return row | dataclasses.asdict(aot.compile_step(hlo, topology, options.effort))
    except aot.AotError as error:
        return row | {"refused": str(error)}


@functools.lru_cache(maxsize=1)  # the same for TPUs with as many cores
def _lowered(options: Options, name: str, batch_per_core: int, replicas: int) -> bytes:
    import keras

    from keras_nas.tools.compiled_steps import STEPS, Setting
    from keras_nas.training.precision import dtype_policy
    from tpu.lowering import TracedStep

    keras.utils.clear_session()
    gc.collect()
    keras.config.set_dtype_policy(dtype_policy(options.precision))
    setting = Setting(
        space=load_space(SpaceConfig(options.space_name(name), options.resolution)),
        classes=options.classes,
        batch_size=batch_per_core * replicas,
        strategy=aot.replica_strategy(replicas),
    )
    step = STEPS[name](setting)
    return TracedStep(step.function, step.specs).program(serialized=True)


def table(rows: Iterable[Row]) -> str:
    """Rows as a Markdown table."""
    lines = [_COLUMNS, tuple("---" if c in ("step", "TPU", "effort") else "--:" for c in _COLUMNS)]
    lines += map(_cells, rows)
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _cells(row: Row) -> tuple[str, ...]:
    batch = row["batch_per_core"]
    effort = row.get("effort", "O2")  # libtpu's default, which older results do not name
    first = (row["step"], row["topology"], str(batch), effort)
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


def _batches(options: Options) -> list[int]:
    try:
        batches = [int(text) for text in options.batch_per_core]
    except ValueError:
        batches = [0]
    if min(batches) < 1:
        raise app.UsageError(
            f"--batch_per_core should be positive numbers, as 96,192; received "
            f"{','.join(options.batch_per_core)}."
        )
    return batches


def _names(options: Options) -> list[str]:
    from keras_nas.tools.compiled_steps import STEPS

    chosen = set()
    for name in options.steps or ("",):
        found = [name] if name in STEPS else [step for step in STEPS if step.startswith(name)]
        if not found:
            raise app.UsageError(f"no step {name!r}; there are {', '.join(STEPS)}.")
        chosen.update(found)
    return [step for step in STEPS if step in chosen]


def compile_all(options: Options) -> None:
    """Compiles what is not there yet, keeps every row at once, and prints the table.

    Raises:
      aot.AotError: the environment cannot compile for TPUs, or there is no such topology.
      absl.app.UsageError: there is no such step, or a batch is not a positive number.
    """
    aot.prepare_environment()
    results = Path(options.output) / "results.json"
    rows: dict[str, Row] = files.read_json(results, "results") if results.exists() else {}
    made_with = f"{options.resolution}, {options.classes}, {options.precision}, {options.effort}"
    for batch, name, topology in itertools.product(
        _batches(options), _names(options), options.topologies
    ):
        key = f"{name}, {topology}, {batch}, {options.space_name(name)}, {made_with}"
        if key not in rows:
            print(f"compiling {key}", file=sys.stderr, flush=True)
            rows[key] = compile_row(options, name, topology, batch)
            files.write_json(results, rows)
            files.write_text(results.with_name("table.md"), table(rows.values()))
    print(table(rows.values()), end="")


def main(argv: list[str]) -> None:
    if len(argv) > 1:
        raise app.UsageError(f"no arguments but flags, received {argv[1:]}.")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    names = [field.name for field in dataclasses.fields(Options)]
    values: Row = {name: flags.FLAGS[name].value for name in names}
    lists: Row = {k: tuple(value) for k, value in values.items() if isinstance(value, list)}
    try:
        compile_all(Options(**values | lists))
    except (aot.AotError, ValueError, OSError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    define_flags()
    app.run(main)
