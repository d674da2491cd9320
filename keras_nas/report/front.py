"""The page and the summary of several latency limits: accuracy over latency, for every limit."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from keras_nas.report.charts import line_chart
from keras_nas.report.page import document
from keras_nas.report.tables import table
from keras_nas.report.text import escape, milliseconds, percent, with_spread

SEARCH = "search"
"""The `method` of the networks that the experiment's own search found."""


@dataclasses.dataclass(frozen=True)
class FrontPoint:
    """One network of the front.

    Attributes:
      method: `search`, or what it is compared with.
      name: of the limit, and of the folder with its files.
      limit_ms: what it has to keep.
      predicted_ms: latency by the table.
      one_shot_accuracy: on test images with the one-shot weights, 0..1.
      measured_ms, spread_ms: on the device, where it was measured.
      accuracy: on test images after its own training, 0..1, where it was trained.
      keeps_others: whether it keeps the latency limits of all other devices, where measured.
    """

    method: str
    name: str
    limit_ms: float
    predicted_ms: float
    one_shot_accuracy: float
    measured_ms: float | None = None
    spread_ms: float | None = None
    accuracy: float | None = None
    keeps_others: bool = True

    @property
    def latency_ms(self) -> float:
        """Measured where it was, else predicted."""
        return self.predicted_ms if self.measured_ms is None else self.measured_ms

    def keeps_limit(self) -> bool:
        """By measurement plus spread where there is one, else by prediction; on every device."""
        return self.keeps_others and self.latency_ms + (self.spread_ms or 0.0) <= self.limit_ms


HEADERS = (
    "network", "limit", "predicted", "measured", "keeps the limit", "one-shot accuracy",
    "final accuracy",
)  # fmt: skip


def front_page(title: str, points: Sequence[FrontPoint]) -> str:
    """One HTML page without external resources: a chart, a table, and links to every limit.

    Args:
      title: heading.
      points: of all methods and limits, at least one.
    """
    drawn = {
        f"{method}, {what}": sorted(
            (p.latency_ms, 100 * value)
            for p in points
            if p.method == method and (value := getattr(p, field)) is not None
        )
        for method in dict.fromkeys(p.method for p in points)
        for what, field in (("final", "accuracy"), ("one-shot", "one_shot_accuracy"))
    }
    chart = line_chart(
        "Accuracy over latency, a point a limit",
        {name: row for name, row in drawn.items() if row},
        y_label="test accuracy, %",
        x_label="latency, ms (measured where it was, else predicted)",
    )
    names = dict.fromkeys(p.name for p in points if p.method == SEARCH)
    links = "".join(
        f'<li><a href="{escape(name)}/report.html">{escape(name)}</a></li>' for name in names
    )
    body = (
        f'<section id="front"><h2>Accuracy and latency</h2>{chart}'
        f"{table('', HEADERS, [_row(p) for p in points], range(1, len(HEADERS)))}</section>\n"
        f'<section id="limits"><h2>Each limit by itself</h2><ul>{links}</ul></section>\n'
    )
    line = f"{len(names)} latency limits, searched over one set of one-shot weights"
    return document(title, f'<h1>{escape(title)}</h1><p class="soft">{escape(line)}</p>', body)


def front_summary(title: str, points: Sequence[FrontPoint]) -> str:
    """The table of the page as plain text."""
    rows = [HEADERS, *(_row(p) for p in points)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(HEADERS))]
    lines = [
        "  "
        + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
    return "\n".join([title, *lines]) + "\n"


def _row(point: FrontPoint) -> tuple[str, ...]:
    measured = point.measured_ms
    return (
        f"{point.method}, {point.name}",
        milliseconds(point.limit_ms),
        milliseconds(point.predicted_ms),
        "not measured" if measured is None else with_spread(measured, point.spread_ms),
        "yes" if point.keeps_limit() else "no",
        percent(point.one_shot_accuracy),
        "not trained" if point.accuracy is None else percent(point.accuracy),
    )
