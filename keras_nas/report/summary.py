"""The plain text that ends a run in the terminal."""

from __future__ import annotations

from collections.abc import Sequence

from keras_nas.report.data import Kept, ReportData, limits_kept, resource_totals
from keras_nas.report.text import (
    count,
    distance,
    file_size,
    milliseconds,
    number,
    percent,
    resource_label,
    resource_value,
    with_spread,
)
from keras_nas.resources.limits import LATENCY, latency_on


def summary(data: ReportData) -> str:
    """Limits, predicted and measured latency, accuracy by stage, size, files, and the verdict.

    Raises:
      ValueError: the number of piece latencies does not fit the architecture.
    """
    totals = resource_totals(data)
    kept = limits_kept(data)
    limits = [f"{resource_label(k.resource)} {resource_value(k.resource, k.limit)}" for k in kept]
    rows = [
        ("limit", ", ".join(limits) or "none"),
        ("predicted", predicted_text(data)),
        ("measured", measured_text(data)),
        *_other_devices(data),
        *_both_results(data),
        *_accuracy(data),
        ("MACs", count(totals["macs"])),
        ("parameters", count(totals["parameters"])),
        ("memory", file_size(totals["peak_memory_bytes"]) + " of activations"),
        ("keeps limit", _verdict(kept)),
    ]
    lines = [data.title, *_aligned(rows)]
    if data.files:
        lines += ["", f"Files in {data.directory}" if data.directory else "Files"]
        lines += _aligned([(name, file_size(size)) for name, size in data.files])
    return "\n".join(lines) + "\n"


def _both_results(data: ReportData) -> list[tuple[str, str]]:
    """Of a search that trades softly: what it found, and the exact result under the limits."""
    if "gates" not in data.search:
        return []
    limits = {kept.resource: kept.limit for kept in limits_kept(data)}
    results = {"soft result": "search"} | ({"exact result": "exact"} if limits else {})
    rows = []
    for label, name in results.items():
        latency = number(data.projection, "candidates", name, LATENCY)
        if latency is None:
            continue
        text = f"{milliseconds(latency)} predicted"
        if LATENCY in limits:
            text += f" ({distance(latency, limits[LATENCY])} the limit)"
        accuracy = number(data.projection, "candidates", name, "one_shot_accuracy")
        rows.append((label, f"{text}, {percent(accuracy)} before training"))
    return rows


def predicted_text(data: ReportData) -> str:
    """`8.20 ms`, and where the table was refitted on the found network what it says then."""
    predicted, scale = data.predicted_ms(), number(data.projection, "table_scale") or 1.0
    text = milliseconds(predicted)
    if predicted is None or scale == 1.0:
        return text
    return f"{text}, {milliseconds(scale * predicted)} by the table as refitted on it"


def measured_text(data: ReportData, resource: str = LATENCY) -> str:
    """`7.95 ms ± 0.04 ms`, or that there is no measurement."""
    measurement = data.measured_on(resource)
    measured = number(measurement, "latency_ms")
    if measured is None:
        return "not measured"
    return with_spread(measured, number(measurement, "spread_ms"))


def verdict_text(kept: Kept) -> str:
    """In one clause, whether and by how much a limit is kept."""
    if kept.measured is not None:
        how, value = "measured", kept.measured
    elif kept.predicted is not None:
        how, value = "predicted", kept.predicted
    else:
        return "unknown, neither predicted nor measured"
    detail = f"{how} {distance(value, kept.limit)}"
    if kept.within_spread():
        return f"no, {detail}, which is less than the measurement's spread"
    return f"{'yes' if kept.yes() else 'no'}, {detail}"


def _other_devices(data: ReportData) -> list[tuple[str, str]]:
    rows = []
    for device in data.others:
        resource = latency_on(device)
        predicted = milliseconds(number(data.projection, "resources", resource))
        rows += [("predicted", f"{predicted} on {device}")]
        rows += [("measured", f"{measured_text(data, resource)} on {device}")]
    return rows


def _accuracy(data: ReportData) -> list[tuple[str, str]]:
    stages = [(stage, number(row, "accuracy")) for stage, row in data.training.items()]
    known = [f"{stage} {percent(accuracy)}" for stage, accuracy in stages if accuracy is not None]
    return [("accuracy", ", ".join(known) or "unknown")]


def _verdict(kept: Sequence[Kept]) -> str:
    if not kept:
        return "no limit was set"
    if len(kept) == 1:
        return verdict_text(kept[0])
    return "; ".join(f"{resource_label(row.resource)}: {verdict_text(row)}" for row in kept)


def _aligned(rows: Sequence[tuple[str, str]]) -> list[str]:
    width = max(len(name) for name, _ in rows)
    return [f"  {name:{width}}  {value}" for name, value in rows]
