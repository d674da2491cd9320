"""Shows a network block by block: shapes, configuration, MACs, parameters, latency.

    python -m keras_nas.tools.inspect hardcorenas_a
    python -m keras_nas.tools.inspect runs/quickstart
    python -m keras_nas.tools.inspect found.json --resolution=160 --classes=10 --json

The network is a published one by its name, an architecture's JSON file, or a work directory, which
brings its latency table, image size and classes. Needs no TensorFlow.
"""

from __future__ import annotations

import dataclasses
import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from absl import app, flags

from keras_nas.report.text import DASH, TIMES, decimals_for, percent
from keras_nas.resources import LatencyTable, piece_macs, piece_parameters
from keras_nas.space import Architecture, Block, Head, Piece, pieces
from keras_nas.space.pieces import Shape
from keras_nas.tools.networks import NamedNetwork, named_network, read_table

_COLUMNS = (
    "stage", "block", "input", "output", "kernel", "stride", "expansion", "SE", "activation",
    "MACs", "parameters",
)  # fmt: skip
_LATENCY_COLUMNS = ("ms", "share")
_LEFT = ("stage", "block", "activation")
"""Columns of words; numbers are flush right."""

Row = dict[str, Any]


def inspect_network(
    network: NamedNetwork,
    *,
    resolution: int | None = None,
    classes: int | None = None,
    table: LatencyTable | None = None,
) -> dict[str, Any]:
    """What a network consists of and costs, as a JSON object.

    Args:
      network: which.
      resolution, classes: in place of the table's, else of the network's own.
      table: latencies; None: those of the network's work directory, if any.

    Returns:
      `network`, `input_shape`, `classes`; `blocks`, a row for the stem, each block and the head;
      totals `macs`, `parameters`; with a table `latency_ms`, in which `overhead_ms` is the
      runtime's and belongs to no block, and `latency_table`, where and how it was measured;
      `published`, what is printed for a published network.

    Raises:
      ValueError: the table was made for another input shape or number of classes, or lacks a block.
    """
    table = table or network.table
    shape = table.input_shape if table else network.input_shape
    if resolution is not None:
        shape = (resolution, resolution, shape[2])
    if classes is None:
        classes = table.classes if table else network.classes
    if table and table is network.table and (shape, classes) != (table.input_shape, table.classes):
        raise ValueError(
            f"work directory {network.name} has latencies for input shape {table.input_shape} and "
            f"{table.classes} classes, asked for are {shape} and {classes}. Leave these out, or "
            f"name {network.folder}/architecture.json to see it without latencies."
        )
    rows = block_rows(network.architecture, shape, classes, table)
    result: dict[str, Any] = {
        "network": network.name,
        "input_shape": shape,
        "classes": classes,
        "blocks": rows,
        "macs": sum(row["macs"] for row in rows),
        "parameters": sum(row["parameters"] for row in rows),
    }
    if table:
        total = table.latency_ms(network.architecture, shape, classes)
        result["latency_ms"] = total
        result["overhead_ms"] = total - math.fsum(row["latency_ms"] for row in rows)
        result["latency_table"] = {
            "device": dataclasses.asdict(table.device),
            "precision": table.precision,
            "threads": table.threads,
            "method": table.method,
            "date": table.date,
        }
    if network.published:
        result["source"] = network.published.source
        result["published"] = [dataclasses.asdict(row) for row in network.published.results]
    return result


def block_rows(
    architecture: Architecture, input_shape: Shape, classes: int, table: LatencyTable | None = None
) -> list[Row]:
    """A row for the stem, each block and the head.

    Keys: `stage` (`stem`, `1.2` for the second block of the first stage, `head`), `block` (kind),
    `input_shape`, `output_shape`, `kernel_sizes`, `stride`, `middle_channels`, `expansion_ratio`
    (middle / input channels), `se_ratio`, `se_channels` (width of squeeze-and-excitation),
    `activation`, `residual`, `macs`, `parameters`, and with a table `latency_ms` and `share` of the
    network's. What a part does not have is None.

    Raises:
      ValueError: bad input shape or number of classes, or the table does not fit.
    """
    names = ["stem"]
    for number, stage in enumerate(architecture.stages, start=1):
        names += [f"{number}.{index}" for index in range(1, len(stage) + 1)]
    total = table.latency_ms(architecture, input_shape, classes) if table else None
    rows = []
    parts = pieces(architecture, input_shape, classes)
    for name, piece in zip([*names, "head"], parts, strict=True):
        row = {"stage": name, **_configuration(piece)}
        row |= {"macs": piece_macs(piece), "parameters": piece_parameters(piece)}
        if table and total:
            latency_ms = table.piece_ms(piece)
            row |= {"latency_ms": latency_ms, "share": latency_ms / total}
        rows.append(row)
    return rows


def _configuration(piece: Piece) -> Row:
    part, channels = piece.part, piece.input_shape[2]
    row: Row = {
        "block": part.kind if isinstance(part, Block) else type(part).__name__.lower(),
        "input_shape": piece.input_shape,
        "output_shape": piece.output_shape,
        "kernel_sizes": None if isinstance(part, Head) else part.kernel_sizes,
        "stride": None if isinstance(part, Head) else part.stride,
        "middle_channels": None,
        "expansion_ratio": None,
        "se_ratio": None,
        "se_channels": None,
        "activation": part.activation,
        "residual": isinstance(part, Block) and part.has_residual(channels),
    }
    if isinstance(part, Head):
        row["middle_channels"] = part.features or None
    if isinstance(part, Block) and part.has_expansion:
        middle = part.middle_channels(channels)
        row |= {"middle_channels": middle, "expansion_ratio": middle / channels}
    if isinstance(part, Block) and part.se_ratio:
        row |= {"se_ratio": part.se_ratio, "se_channels": part.se_channels(channels)}
    return row


def format_table(result: dict[str, Any]) -> str:
    """What `inspect_network` returns, as text."""
    total_ms = result.get("latency_ms")
    columns = _COLUMNS + (_LATENCY_COLUMNS if total_ms else ())
    lines = [dict(zip(columns, columns, strict=True))]
    lines += [_cells(row, total_ms) for row in result["blocks"]]
    if total_ms:
        lines.append({"stage": "runtime", **_latency_cells(result["overhead_ms"], total_ms)})
    lines.append({"stage": "total", **_cost_cells(result, total_ms)})
    widths = {name: max(len(line.get(name, "")) for line in lines) for name in columns}
    shape = TIMES.join(map(str, result["input_shape"]))
    text = [f"{result['network']}, input {shape}, {result['classes']} classes", ""]
    for line in lines:
        cells = (
            line.get(name, "").ljust(width) if name in _LEFT else line.get(name, "").rjust(width)
            for name, width in widths.items()
        )
        text.append("  ".join(cells).rstrip())
    return "\n".join([*text, *_footer(result)])


def _footer(result: dict[str, Any]) -> list[str]:
    lines = []
    if "latency_table" in result:
        table = result["latency_table"]
        lines += [
            "",
            f"latency predicted for {table['device']['processor']}, "
            f"{table['device']['runtime']} {table['device']['runtime_version']}, "
            f"{table['precision']}, threads: {table['threads']}; measured {table['date']}: "
            f"{table['method']}",
        ]
    if "source" in result:
        lines += ["", f"blocks: {result['source']}"]
    for row in result.get("published", ()):
        figures = [f"top-1 {row['top1']:g}%"] if row["top1"] else []
        figures += [f"{ms:g} ms on {device}" for device, ms in row["latencies_ms"]]
        if row["macs_millions"]:
            figures.append(f"{row['macs_millions']:g} M MACs")
        if row["parameters_millions"]:
            figures.append(f"{row['parameters_millions']:g} M parameters")
        lines.append(f"published: {', '.join(figures)} ({row['source']})")
    return lines


def _cells(row: Row, total_ms: float | None) -> dict[str, str]:
    kernels, expansion = row["kernel_sizes"], row["expansion_ratio"]
    return {
        "stage": row["stage"],
        "block": row["block"],
        "input": TIMES.join(map(str, row["input_shape"])),
        "output": TIMES.join(map(str, row["output_shape"])),
        "kernel": ",".join(map(str, kernels)) if kernels else DASH,
        "stride": str(row["stride"] or DASH),
        "expansion": f"{expansion:.4g}" if expansion else DASH,
        "SE": str(row["se_channels"] or DASH),
        "activation": row["activation"],
        **_cost_cells(row, total_ms),
    }


def _cost_cells(row: Row, total_ms: float | None) -> dict[str, str]:
    cells = {"MACs": f"{row['macs']:,}", "parameters": f"{row['parameters']:,}"}
    return cells | (_latency_cells(row["latency_ms"], total_ms) if total_ms else {})


def _latency_cells(latency_ms: float, total_ms: float) -> dict[str, str]:
    shown = f"{latency_ms:.{decimals_for(total_ms)}f}"
    return {"ms": shown, "share": percent(latency_ms / total_ms)}


def define_flags() -> None:
    """Called by the program only: tools share names of flags, and absl allows each name once."""
    flags.DEFINE_integer(
        "resolution",
        None,
        "Height and width of the images; by default the latency table's, else what the network "
        "was published for, else 224.",
        lower_bound=1,
    )
    flags.DEFINE_integer(
        "classes", None, "Classes; by default the latency table's, else 1000.", lower_bound=1
    )
    flags.DEFINE_string(
        "latency_table", None, "Latency table's file; by default the work directory's, if any."
    )
    flags.DEFINE_boolean("json", False, "Print JSON instead of a table.")


def main(arguments: Sequence[str]) -> None:
    """Prints one network; ends with one line where something is wrong."""
    options = flags.FLAGS
    try:
        if len(arguments) != 2:
            raise ValueError(
                "name one network: a published one, an architecture's JSON file or a work "
                f"directory; received {len(arguments) - 1}."
            )
        file = options.latency_table
        result = inspect_network(
            named_network(arguments[1]),
            resolution=options.resolution,
            classes=options.classes,
            table=None if file is None else read_table(Path(file)),
        )
    except (OSError, ValueError) as error:
        sys.exit(f"error: {error}")
    print(json.dumps(result, indent=1) if options.json else format_table(result))


if __name__ == "__main__":
    define_flags()
    app.run(main)
