"""The sections of the page about cost: prediction and measurement, range, projection."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from keras_nas.report import charts
from keras_nas.report.charts import RangeRow
from keras_nas.report.data import ReportData, limits_kept, resource_totals
from keras_nas.report.tables import missing, table
from keras_nas.report.text import (
    DASH,
    escape,
    lookup,
    milliseconds,
    number,
    percent,
    resource_label,
    resource_value,
    signed_percent,
    with_spread,
)
from keras_nas.resources.limits import LATENCY, is_latency, latency_on

_ALSO_KNOWN: dict[str, tuple[str, Callable[[Any], str]]] = {
    "measured": (
        "measured_ms",
        lambda row: with_spread(number(row, "measured_ms"), number(row, "spread_ms")),
    ),
    "skipped blocks": ("skipped_blocks", lambda row: f"{number(row, 'skipped_blocks') or 0:g}"),
    "accuracy before training": (
        "one_shot_accuracy",
        lambda row: percent(number(row, "one_shot_accuracy")),
    ),
}
"""Heading of what some candidates have -> its key and how it is shown."""
_RANGE_WORDS = {
    "start": "expected, start of the search",
    "expected": "expected, end of the search",
}


def latency(data: ReportData) -> str:
    """Calibration networks and the found one, predicted and measured, on every device."""
    parts = [_on_device(data.table, data.predicted_ms(), data.measurement)]
    for device, other in data.others.items():
        predicted = number(data.projection, "resources", latency_on(device))
        parts.append(f"<h3>On {escape(device)}</h3>")
        parts.append(_on_device(other.table, predicted, other.measurement))
    return "".join(parts)


def _on_device(
    latency_table: Mapping[str, Any], predicted: float | None, measurement: Mapping[str, Any]
) -> str:
    """The section for one device, and the found network's predicted ms and measurement there."""
    rows, points = [], []
    for entry in latency_table.get("calibration") or []:
        fitted, held_out, timed = (
            number(entry, key) for key in ("predicted_ms", "held_out_ms", "measured_ms")
        )
        shown = fitted if held_out is None else held_out
        if shown is None or timed is None:
            continue
        points.append((shown, timed))
        name = lookup(entry, "architecture", "name") or lookup(entry, "name") or DASH
        rows.append(
            (
                str(name),
                milliseconds(fitted),
                milliseconds(held_out),
                milliseconds(timed),
                signed_percent(shown / timed - 1),
            )
        )
    measured = number(measurement, "latency_ms")
    spread = number(measurement, "spread_ms") or 0.0
    found = None if predicted is None or measured is None else (predicted, measured)
    if found:
        rows.append(
            (
                "found network",
                milliseconds(predicted),
                DASH,
                milliseconds(measured),
                signed_percent(found[0] / found[1] - 1),
            )
        )
    note = "" if measured is not None else missing("The found network is not measured yet.")
    if not points and not found:
        return note + missing("No network was both predicted and measured.")
    picture = charts.scatter("Networks timed as a whole", points, found, spread)
    headers = ("network", "predicted", "held out", "measured", "error")
    explained = (
        "<p>Held out: predicted from a scale fitted on the other networks only; where there is "
        f"such a prediction it is the one drawn. {_errors(latency_table)}</p>"
    )
    return (
        f'{note}<div class="grid"><div class="square">{picture}</div>'
        f"<div>{explained}{table('', headers, rows, numbers=(1, 2, 3, 4))}</div></div>"
    )


def limit(data: ReportData) -> str:
    """Each limited resource in the space, the projection's candidates (HC Table 2) and rounds."""
    ranges = data.search.get("resources") or {}
    limits = {kept.resource: kept.limit for kept in limits_kept(data)}
    parts = [_range(data, name, ranges[name] or {}, limits.get(name)) for name in ranges]
    if not parts:
        parts.append(missing("The search recorded no range of any resource."))
    parts.append(_candidates(data, list(limits) or [LATENCY]))
    parts.append(_rounds(data))
    return "".join(parts)


def _errors(latency_table: Mapping[str, Any]) -> str:
    mean, worst = (number(latency_table, key) for key in ("mean_error", "worst_error"))
    if mean is None or worst is None:
        return ""
    return f"Held-out error of the table: {percent(mean)} in the mean, {percent(worst)} at worst."


def _range(data: ReportData, name: str, values: Any, limit: float | None) -> str:
    smallest, typical, largest = (number(values, key) for key in ("smallest", "typical", "largest"))
    rows = []
    if smallest is not None and largest is not None:
        rows.append(RangeRow("smallest to largest", "", None, (smallest, largest)))
    final = resource_totals(data).get(name, number(data.projection, "resources", name))
    dots = [
        ("typical", typical, 0.0),
        ("start of the search", number(values, "start"), 0.0),
        ("end of the search", number(values, "expected"), 0.0),
        ("found, predicted", final, 0.0),
    ]
    if is_latency(name):
        measurement = data.measured_on(name)
        spread = number(measurement, "spread_ms") or 0.0
        dots.append(("found, measured", number(measurement, "latency_ms"), spread))
    rows += [
        RangeRow(label, resource_value(name, value), value, spread=spread)
        for label, value, spread in dots
        if value is not None
    ]
    if not rows:
        return missing(f"The range of {resource_label(name)} is not recorded.")
    line = None if limit is None else (limit, f"limit {resource_value(name, limit)}")
    label = resource_label(name)
    picture = charts.range_chart(f"{label[0].upper()}{label[1:]} of the space", rows, line)
    cells = [
        (_RANGE_WORDS.get(key, key), resource_value(name, number(values, key))) for key in values
    ]
    return (
        f'<div class="grid"><div>{picture}</div><div>'
        f"{table('The same in numbers', (label, 'value'), cells, numbers=(1,))}</div></div>"
    )


def _candidates(data: ReportData, resources: Sequence[str]) -> str:
    found = lookup(data.projection, "candidates")
    if not found:
        return missing("The projection recorded no candidates.")
    method = lookup(data.projection, "method")
    also = {
        header: shown
        for header, (key, shown) in _ALSO_KNOWN.items()
        if any(number(candidate, key) is not None for candidate in found.values())
    }
    rows = []
    for name, candidate in found.items():
        words = {True: "yes", False: "no"}
        kept = words.get(lookup(candidate, "keeps_limits"), DASH)
        costs = [resource_value(r, number(candidate, r)) for r in resources]
        more = [shown(candidate) for shown in also.values()]
        rows.append((name + (" (used)" if name == method else ""), *costs, kept, *more))
    headers = ("projection", *map(resource_label, resources), "keeps the limits", *also)
    caption = "One network from what the search left, by each projection"
    columns = [n for n, header in enumerate(headers) if n and header != "keeps the limits"]
    shown = table(caption, headers, rows, numbers=columns)
    return f'<div class="narrow">{shown}</div>'


def _rounds(data: ReportData) -> str:
    """The networks that were measured until one kept the limit."""
    rounds = lookup(data.projection, "rounds")
    if not rounds:
        return missing("The projected network was not measured before it was trained.")
    rows = []
    for index, row in enumerate(rounds, 1):
        for name, device in {LATENCY: row, **(lookup(row, "others") or {})}.items():
            kept = {True: "yes", False: "no"}.get(lookup(device, "keeps_limit"), DASH)
            values = (number(device, key) for key in ("target_ms", "predicted_ms"))
            measured = with_spread(number(device, "measured_ms"), number(device, "spread_ms"))
            on = f", {resource_label(name)}" if name != LATENCY else ""
            rows.append((f"{index}{on}", *map(milliseconds, values), measured, kept))
    headers = ("round", "projected under", "predicted", "measured", "keeps the limit")
    caption = "Projected, measured, and projected again until the limit is kept on the device"
    shown = table(caption, headers, rows, numbers=(0, 1, 2, 3))
    return f'<div class="narrow">{shown}</div>'
