"""Tables coloured by probability: alpha and beta at the start and end of a search (HC Figure 7)."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

from keras_nas.report.text import DASH, escape, finite
from keras_nas.space import SearchSpace, StagedSpace


@dataclasses.dataclass(frozen=True)
class Chosen:
    """The found network inside the space: depths [S] and choices [B], from
    `StagedSpace.choices_of`."""

    depths: tuple[int, ...]
    choices: tuple[int, ...]


def alpha_map(space: StagedSpace, alpha: Any, chosen: Chosen | None, caption: str) -> str | None:
    """Alpha [B, C] as a table: one row a block, grouped by stage; None unless it has that shape."""
    if not _has_shape(alpha, [len(space.choice_names)] * len(space.stage_of_block)):
        return None
    groups = []
    for s, (stage, first) in enumerate(zip(space.stages, space.first_blocks, strict=True)):
        rows = []
        for i in range(stage.max_depth):
            runs = chosen is None or i < chosen.depths[s]
            mark = chosen.choices[first + i] if chosen and runs else None
            name = f"block {s + 1}.{i + 1}"
            cells = "".join(
                _cell(p, f"{name}, {choice}", n == mark)
                for n, (p, choice) in enumerate(
                    zip(alpha[first + i], space.choice_names, strict=True)
                )
            )
            label = f'<th scope="row">{s + 1}.{i + 1}</th>'
            rows.append(
                f"<tr>{label}{cells}</tr>"
                if runs
                else f'<tr class="unused" title="{name} is not used">{label}{cells}</tr>'
            )
        groups.append(f"<tbody>{''.join(rows)}</tbody>")
    return _table(caption, _alpha_head(space), "".join(groups))


def beta_map(space: StagedSpace, beta: Any, chosen: Chosen | None, caption: str) -> str | None:
    """Beta [S, D] as a table: a row a stage, a column a depth; None unless it has that shape."""
    if not _has_shape(beta, [len(row) for row in space.depths]):
        return None
    columns = sorted({depth for row in space.depths for depth in row if depth})
    rows = []
    for s, depths in enumerate(space.depths):
        cells = []
        for depth in columns:
            if depth in depths:
                marked = chosen is not None and chosen.depths[s] == depth
                title = f"stage {s + 1}, depth {depth}"
                cells.append(_cell(beta[s][depths.index(depth)], title, marked))
            else:
                cells.append("<td></td>")
        rows.append(f'<tr><th scope="row">{s + 1}</th>{"".join(cells)}</tr>')
    head = "".join(f'<th scope="col">{depth}</th>' for depth in columns)
    head = (
        f'<tr><th scope="col" rowspan="2">stage</th>'
        f'<th scope="colgroup" colspan="{len(columns)}">depth</th></tr><tr>{head}</tr>'
    )
    return _table(caption, head, f"<tbody>{''.join(rows)}</tbody>")


def scale_legend() -> str:
    """What the colours mean."""
    cells = "".join(
        f'<i style="--p:{_shade(p):.3f}"{_dark(p)}>{p:g}</i>'
        for p in (0.02, 0.1, 0.25, 0.5, 0.75, 1)
    )
    return (
        f'<p class="scale">probability <span class="ramp">{cells}</span> '
        '<span class="key"><i class="swatch mark"></i>chosen</span>'
        '<span class="key"><i class="swatch fade">1.1</i>block not used</span></p>'
    )


def _alpha_head(space: StagedSpace) -> str:
    """Three header rows: expansion ratio, kernel size, squeeze-and-excitation; of spaces that are
    no such product the names of the choices."""
    if not isinstance(space, SearchSpace):
        cells = "".join(f'<th scope="col">{escape(name)}</th>' for name in space.choice_names)
        return f'<tr><th scope="col">block</th>{cells}</tr>'
    kernels, se = len(space.kernel_sizes), len(space.se_ratios)
    several = sum(ratio > 0 for ratio in space.se_ratios) > 1

    def spanned(labels: Sequence[str], span: int) -> str:
        scope = "col" if span == 1 else "colgroup"
        return "".join(f'<th scope="{scope}" colspan="{span}">{x}</th>' for x in labels)

    ratios = [f"e{ratio:g}" for ratio in space.expansion_ratios]
    sizes = [f"k{size}" for size in space.kernel_sizes] * len(ratios)
    names = [(f"se{r:g}" if several else "se") if r else DASH for r in space.se_ratios]
    return (
        f'<tr><th scope="col" rowspan="3">block</th>{spanned(ratios, kernels * se)}</tr>'
        f"<tr>{spanned(sizes, se)}</tr><tr>{spanned(names * len(sizes), 1)}</tr>"
    )


def _cell(probability: Any, title: str, chosen: bool) -> str:
    p = finite(probability)
    if p is None:
        return f'<td class="p" title="{title}: unknown">{DASH}</td>'
    classes = "p" + (" chosen" if chosen else "") + (" high" if _shade(p) > _HIGH else "")
    shown = "" if p < 0.005 else "1" if p > 0.995 else f"{p:.2f}".lstrip("0")
    note = ", chosen" if chosen else ""
    style = f"--p:{_shade(p):.3f}"
    return f'<td class="{classes}" style="{style}" title="{title}: {p:.4f}{note}">{shown}</td>'


_HIGH = 0.62
"""Shades above this carry light text."""


def _shade(probability: float) -> float:
    """The square root shows the small probabilities of a start apart from 0."""
    return math.sqrt(min(max(probability, 0.0), 1.0))


def _dark(probability: float) -> str:
    return ' class="high"' if _shade(probability) > _HIGH else ""


def _table(caption: str, head: str, body: str) -> str:
    return (
        f'<table class="heat"><caption>{escape(caption)}</caption>'
        f"<thead>{head}</thead>{body}</table>"
    )


def _has_shape(rows: Any, widths: Sequence[int]) -> bool:
    return (
        isinstance(rows, Sequence)
        and len(rows) == len(widths)
        and all(
            isinstance(row, Sequence) and len(row) == width
            for row, width in zip(rows, widths, strict=True)
        )
    )
