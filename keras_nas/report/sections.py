"""The sections of the page that draw: network, search, latency, training."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from keras_nas.report import charts, gates, heat_map
from keras_nas.report.curves import chart, points
from keras_nas.report.data import ROUNDING, ReportData, limits_kept
from keras_nas.report.heat_map import Chosen
from keras_nas.report.network import network_table
from keras_nas.report.tables import missing
from keras_nas.report.text import (
    duration,
    lookup,
    number,
    percent,
    resource_label,
    resource_value,
)
from keras_nas.resources.limits import LATENCY, is_latency

_CHOICES = {
    "alpha": (heat_map.alpha_map, "Configurations (alpha)"),
    "beta": (heat_map.beta_map, "Depths (beta)"),
}


def network(data: ReportData) -> str:
    """The network block by block."""
    note = (
        ""
        if data.piece_latencies_ms()
        else missing("No latency of its pieces: there is no latency table.")
    )
    return note + network_table(data)


def choices(data: ReportData) -> str:
    """Alpha and beta at start and end (HC Figure 7), or what gates were decided on."""
    if "gates" in data.search:
        return gates.choices(data)
    if not any(
        lookup(data.search, *path) for path in itertools.product(("start", "end"), _CHOICES)
    ):
        return missing("The search recorded no probabilities.")
    chosen = _chosen(data)
    parts = [
        "<p>Each row is one block, each column one choice: expansion ratio, kernel size, "
        "squeeze-and-excitation. Rows add up to 1.</p>",
        heat_map.scale_legend(),
    ]
    for name, (draw, title) in _CHOICES.items():
        tables = []
        for end, when in (("start", "at the start"), ("end", "at the end")):
            values = lookup(data.search, end, name)
            drawn = draw(data.space, values, chosen, f"{title} {when}")
            reason = "are not recorded" if values is None else "do not have the space's shape"
            tables.append(f"<div>{drawn or missing(f'{title} {when} {reason}.')}</div>")
        parts.append(f'<div class="grid">{"".join(tables)}</div>')
    if chosen is None:
        parts.append(missing("The network is not in this space, so no cell is marked."))
    return "".join(parts)


def trajectory(data: ReportData) -> str:
    """Loss, accuracy, expected cost of each limited resource, and entropies over steps."""
    if "gates" in data.search:
        return gates.trajectory(data)
    rows = data.search.get("trajectory") or []
    limits = {kept.resource: kept.limit for kept in limits_kept(data)}
    resources = [name for name in {LATENCY: 0, **limits} if points(rows, name)]
    drawn = [
        chart("Loss on the search images", {"loss": points(rows, "loss")}, "loss"),
        chart(
            "Accuracy on the search images",
            {"accuracy": points(rows, "accuracy", 100)},
            "accuracy, %",
        ),
    ]
    drawn += [_cost_chart(rows, name, limits.get(name)) for name in resources]
    entropies = {"alpha": points(rows, "alpha_entropy"), "beta": points(rows, "beta_entropy")}
    drawn.append(chart("Entropy of the choices", entropies, "entropy"))
    if not any(drawn):
        return missing("The search recorded no trajectory.")
    return f'<div class="grid">{"".join(drawn)}</div>' + _timing(data)


def accuracy(data: ReportData) -> str:
    """Test accuracy by stage, and the curves of each training."""
    if not data.training:
        return missing("No stage trained in this run.")
    rows = []
    for stage, result in data.training.items():
        value = number(result, "accuracy")
        seconds = number(result, "seconds")
        rows.append((stage, value or 0.0, (percent(value), duration(seconds))))
    parts = [
        charts.bars(
            rows,
            "Accuracy on the test images, and the time a stage took",
            ("stage", "test accuracy", "time"),
        )
    ]
    for stage, result in data.training.items():
        drawn = _training_charts(result.get("history") or [], stage)
        parts.append(
            f'<div class="grid">{drawn}</div>'
            if drawn
            else missing(f"Stage {stage} recorded no history.")
        )
    return "".join(parts)


def _chosen(data: ReportData) -> Chosen | None:
    try:
        return Chosen(*data.space.choices_of(data.architecture))
    except ValueError:  # the network was not searched in this space; nothing is marked then
        return None


def _cost_chart(rows: Sequence[Mapping[str, Any]], resource: str, limit: float | None) -> str:
    """Expected cost over steps; the title says whether any step exceeds the limit."""
    label = f"expected {resource_label(resource)}"
    y_label = label + (", ms" if is_latency(resource) else "")
    costs = points(rows, resource)
    if limit is None:
        return chart(f"E{label[1:]}", {label: costs}, y_label)
    over = any(y > limit * (1 + ROUNDING) for _, y in costs)
    title = f"E{label[1:]} {'exceeds' if over else 'stays within'} the limit"
    line = (limit, f"limit {resource_value(resource, limit)}")
    return chart(title, {label: costs}, y_label, limit=line)


def _training_charts(history: Sequence[Mapping[str, Any]], stage: str) -> str:
    keys = list({key: None for row in history for key in row})
    losses = {key: points(history, key) for key in keys if "loss" in key}
    accuracies = {key: points(history, key, 100) for key in keys if "accuracy" in key}
    return chart(f"{stage}: loss", losses, "loss") + chart(
        f"{stage}: accuracy", accuracies, "accuracy, %"
    )


def _timing(data: ReportData) -> str:
    gradients = number(data.search, "timing", "gradient_seconds")
    programs = number(data.search, "timing", "program_seconds")
    if gradients is None or programs is None or not gradients + programs > 0:
        return missing("The search recorded no times.")
    share = programs / (gradients + programs)
    stack = charts.bar(1 - share) + charts.bar(share, "programs")
    return (
        f'<h3>Where the time went</h3><div class="stack" aria-hidden="true">{stack}</div>'
        f"<p>Gradients {duration(gradients)}, linear programs {duration(programs)}: "
        f"{percent(share, 2)} of the search.</p>"
    )
