"""Sections of a search over gates: norms against thresholds, runtime, and both networks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from keras_nas.report import svg
from keras_nas.report.charts import legend
from keras_nas.report.curves import chart, points
from keras_nas.report.data import LATENCY, ReportData, limits_kept
from keras_nas.report.svg import Point
from keras_nas.report.tables import missing, table
from keras_nas.report.text import DASH, escape, lookup, milliseconds
from keras_nas.space import SearchSpace
from keras_nas.space.single_path_gates import SKIP, gate_names, gate_shapes, skippable

_WIDTH, _HEIGHT, _MARGIN = 150, 40, 3


def choices(data: ReportData) -> str:
    """Norms against thresholds of every gate over steps, and the networks they were read as."""
    rows = [row for row in data.search.get("trajectory") or [] if "norms" in row]
    space = data.space
    margins = lookup(data.search, "end", "margins")
    if not isinstance(space, SearchSpace) or not _fits(space, margins):
        return missing("The search recorded no gates of this space.")
    if not rows:
        return f"<p>Random search decides at its end.</p>{_networks(data, space)}"
    if data.search.get("formulation") == "multi_path":
        mixed = (
            "<p>All configurations of a block are mixed by their shares. What is drawn as a "
            "gate's norm is its margin: its logit, or, with a softmax, the best logit beyond the "
            "gate less the best one that stops at it. The gate is open where that is at least "
            "0.</p>"
        )
        return f"{mixed}{_gate_table(space, rows, margins)}{_networks(data, space)}"
    return (
        "<p>A group of weights is kept where its norm reaches its threshold; a gate counts only "
        "where those before it in its group of columns are open. Every curve has an axis of its "
        "own. Below it is where the search ended, after its moving average: norm minus "
        "threshold.</p>"
        f'<p class="scale">{legend([("s0", "norm"), ("s1", "threshold")])}</p>'
        f"{_gate_table(space, rows, margins)}{_networks(data, space)}"
    )


def trajectory(data: ReportData) -> str:
    """Loss, accuracy, and the runtime of the gates against the limit, over steps."""
    rows = data.search.get("trajectory") or []
    if not rows:
        return missing("The search recorded no trajectory.")
    weight = lookup(data.search, "runtime", "weight")
    parts = [
        chart(
            "Loss on the training images",
            {"loss": points(rows, "loss"), "cross entropy": points(rows, "cross_entropy")},
            "loss",
        ),
        chart(
            "Accuracy on the training images",
            {"accuracy": points(rows, "accuracy", 100)},
            "accuracy, %",
        ),
        _runtime_chart(data, rows),
        chart("Blocks that are skipped", {"blocks": points(rows, "skipped_blocks")}, "blocks"),
    ]
    explained = (
        f"<p>The loss is cross entropy + {weight} * log(runtime in ms); in the first steps runtime "
        "does not count, and groups of weights are dropped at random. Sampled is what a step ran, "
        "decoded what the weights say after it.</p>"
    )
    return f'{explained}<div class="grid">{"".join(parts)}</div>'


def _runtime_chart(data: ReportData, rows: Sequence[Mapping[str, Any]]) -> str:
    source = lookup(data.search, "runtime", "table")
    series = {"sampled": points(rows, "sampled_ms"), "decoded": points(rows, "runtime_ms")}
    if source != "latency_table.json":
        return chart(f"Runtime by {source}", series, "runtime, ms")
    limits = {kept.resource: kept.limit for kept in limits_kept(data)}
    line = None
    if LATENCY in limits:
        line = (limits[LATENCY], f"limit {milliseconds(limits[LATENCY])}")
    return chart("Runtime by the device's table", series, "runtime, ms", limit=line)


def _fits(space: SearchSpace, margins: Any) -> bool:
    return isinstance(margins, Mapping) and all(
        np.shape(margins.get(field, ())) == shape for field, shape in gate_shapes(space).items()
    )


def _gate_table(
    space: SearchSpace, rows: Sequence[Mapping[str, Any]], margins: Mapping[str, Any]
) -> str:
    names = gate_names(space)
    labels = {"kernel": "kernel", "expansion": "expansion", "squeeze_excite": "SE"}
    groups = "".join(
        f'<th scope="colgroup" colspan="{len(names[field])}">{label}</th>'
        for field, label in labels.items()
        if names[field]
    )
    heads = "".join(
        f'<th scope="col">{escape(name)}</th>' for field in labels for name in names[field]
    )
    may_skip = skippable(space)
    bodies = []
    for s, (stage, first) in enumerate(zip(space.stages, space.first_blocks, strict=True)):
        lines = []
        for i in range(stage.max_depth):
            name, b = f"{s + 1}.{i + 1}", first + i
            cells = _block_cells(space, rows, margins, b, name, bool(may_skip[b]))
            lines.append(f'<tr><th scope="row">{name}</th>{cells}</tr>')
        bodies.append(f"<tbody>{''.join(lines)}</tbody>")
    return (
        '<div class="scroll"><table class="gates"><caption class="hidden">Gates of every block'
        f'</caption><thead><tr><th scope="col" rowspan="2">block</th>{groups}</tr>'
        f"<tr>{heads}</tr></thead>{''.join(bodies)}</table></div>"
    )


def _block_cells(
    space: SearchSpace,
    rows: Sequence[Mapping[str, Any]],
    margins: Mapping[str, Any],
    b: int,
    block: str,
    may_skip: bool,
) -> str:
    cells = []
    runs = not may_skip or margins["expansion"][b][0] >= 0
    for field, names in gate_names(space).items():
        counts = runs or field == "expansion"
        for g, name in enumerate(names):
            if field == "expansion" and g == 0 and not may_skip:
                cells.append("<td>always</td>")
                continue
            margin = margins[field][b][g]
            curves = {
                what: [(row["step"], lookup(row, what, field)[b][g]) for row in rows]
                for what in ("norms", "thresholds")
            }
            cells.append(_cell(f"block {block}, {name}", curves, margin, counts))
            counts = counts and margin >= 0
    return "".join(cells)


def _cell(name: str, curves: Mapping[str, list[Point]], margin: float, counts: bool) -> str:
    x = svg.axis([step for step, _ in curves["norms"]], _MARGIN, _WIDTH - _MARGIN, padding=0)
    values = [value for line in curves.values() for _, value in line]
    y = svg.axis(values, _HEIGHT - _MARGIN, _MARGIN, padding=0)
    drawn = "".join(
        svg.polyline(((x(step), y(mean)) for step, mean, _, _ in svg.thinned(line, 75)), class_)
        for line, class_ in ((curves["norms"], "line s0"), (curves["thresholds"], "line s1"))
    )
    state = "open" if margin >= 0 else "shut"
    label = f"{name}: ends {state}, norm minus threshold {margin:.3g}"
    if not counts:
        label += "; does not count, since a gate before it is shut"
    classes = f"{state}" + ("" if counts else " unused")
    return (
        f'<td class="{classes}">'
        f"{svg.drawing(_WIDTH, _HEIGHT, drawn, label)}{state} {margin:+.2g}</td>"
    )


def _networks(data: ReportData, space: SearchSpace) -> str:
    """Block by block what the gates say, and what keeps the limits."""
    candidates = lookup(data.projection, "candidates")
    found = [lookup(candidates, name, "configurations") for name in ("search", "exact")]
    blocks = len(space.stage_of_block)
    if any(not isinstance(row, Sequence) or len(row) != blocks for row in found):
        return missing("The networks that the gates were read as are not recorded.")
    names = {SKIP: "skipped"} | {
        c: f"e{choice.expansion_ratio:g} k{choice.kernel_size}"
        + (f" se{choice.se_ratio:g}" if choice.se_ratio else "")
        for c, choice in enumerate(space.configurations)
    }
    rows = []
    for b, pair in enumerate(zip(*found, strict=True)):
        s = space.stage_of_block[b]
        shown = [names.get(c, DASH) for c in pair]
        changed = "" if pair[0] == pair[1] else "changed"
        rows.append((f"{s + 1}.{b - space.first_blocks[s] + 1}", *shown, changed))
    headers = ("block", "the gates as they are", "within the limits", "")
    caption = "The network of the search, and the nearest one that keeps the limits"
    return f'<div class="narrow">{table(caption, headers, rows)}</div>'
