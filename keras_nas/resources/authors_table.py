"""Reads the latency tables of TF-NAS' authors (AberHu/TF-NAS), from pickle turned into JSON.

A table holds `base`, the milliseconds of what is not searched, and for every signature of a block,
as `MBInvertedResBlock_56_24_48_40_k3_s2_swish` (input resolution, input channels, width of
squeeze-and-excitation, output channels, kernel size, stride, activation), the milliseconds at every
width. Between widths that were measured, eight channels apart, and below the block's input channels
they are linear continuations; the latter, some of them negative, are never read.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from keras_nas.resources.width_latency import Curve, WidthLatency
from keras_nas.space import TF_NAS, TFNASSpace

FIXED = ("stem", "first_stages", "final_stages", "head", "resolution")
"""Fields of a space that `base` was measured for."""
SPACING = 8
"""Channels between widths that were measured, at most."""


def authors_table(
    text: str, space: TFNASSpace = TF_NAS, where: str = "latency table"
) -> WidthLatency:
    """Latency by width from the authors' JSON text.

    Args:
      text: content of the file.
      space: TF-NAS' space, or one with other operations, depths or widths that the table has.
      where: names the origin in errors.

    Raises:
      ValueError: damaged JSON, another resolution or fixed part than the paper's, or a block or
        width of the space that the table lacks.
    """
    for field in FIXED:
        if getattr(space, field) != getattr(TF_NAS, field):
            raise ValueError(
                f"{where} was made for {field} {getattr(TF_NAS, field)}, and is asked for "
                f"{getattr(space, field)}. Measure a table of this space instead."
            )
    table = _parse(text, where)
    se, low, high = space.se_widths(), space.smallest_widths(), space.largest_widths()
    curves = []
    for b, block in enumerate(space.blocks):
        row = []
        for o, operation in enumerate(space.operations):
            key = (
                f"MBInvertedResBlock_{block.input_resolution}_{block.input_channels}_{se[b, o]}_"
                f"{block.output_channels}_k{operation.kernel_size}_s{block.stride}_"
                f"{block.activation}"
            )
            if key not in table:
                raise ValueError(
                    f"{where} lacks {key}, operation {operation.name} of block {b} in space "
                    f"{space.name!r}. Measure a table of this space instead."
                )
            if low[b, o] < block.input_channels:
                raise ValueError(
                    f"{where}, {key} was measured for widths from the block's input channels on, "
                    f"and is asked for {low[b, o]}. Choose expansion ratios of at least 1."
                )
            bounds = (int(low[b, o]), int(high[b, o]))
            row.append(_curve(table[key], bounds, f"{where}, {key}"))
        curves.append(tuple(row))
    return WidthLatency(space, _milliseconds(table["base"], f"{where}, base"), tuple(curves))


def _parse(text: str, where: str) -> dict[str, Any]:
    try:
        table = json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(
            f"{where} is damaged or truncated: {error.msg} at line {error.lineno}, column "
            f"{error.colno}. Download it anew."
        ) from None
    if not isinstance(table, dict) or "base" not in table:
        raise ValueError(
            f"{where} is not a table of TF-NAS' authors, which is a JSON object with an entry "
            "'base'. Choose their latency_gpu or latency_cpu."
        )
    return table


def _curve(entries: Any, bounds: tuple[int, int], where: str) -> Curve:
    """The part of a block's entries that lies in an operation's bounds."""
    if not isinstance(entries, Mapping) or not all(key.isdecimal() for key in entries):
        raise ValueError(f"{where} should hold milliseconds by width. Download it anew.")
    low, high = bounds
    widths = sorted(width for width in map(int, entries) if low <= width <= high)
    if {low, high} - set(widths) or max(np.diff(widths), default=0) > SPACING:
        raise ValueError(
            f"{where} should hold widths {low} to {high}, at most {SPACING} channels apart, and "
            f"holds {_summary(widths)}. Measure a table of this space instead."
        )
    ms = [_milliseconds(entries[str(width)], f"{where}, width {width}") for width in widths]
    return Curve(np.array(widths, np.float64), np.array(ms, np.float64))


def _summary(widths: list[int]) -> str:
    return f"{len(widths)} of them from {widths[0]} to {widths[-1]}" if widths else "none of them"


def _milliseconds(value: Any, where: str) -> float:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not math.isfinite(value) or value < 0:
        raise ValueError(f"{where} should be a number of milliseconds >= 0, received {value!r}.")
    return float(value)
