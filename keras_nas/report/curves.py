"""Curves from the rows of a record."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from keras_nas.report import charts
from keras_nas.report.svg import Point
from keras_nas.report.text import number


def points(rows: Iterable[Mapping[str, Any]], key: str, factor: float = 1.0) -> list[Point]:
    """Step and `factor` times the value of every row that has both."""
    pairs = ((number(row, "step"), number(row, key)) for row in rows)
    return [(x, factor * y) for x, y in pairs if x is not None and y is not None]


def chart(
    title: str,
    series: Mapping[str, Sequence[Point]],
    y_label: str,
    limit: tuple[float, str] | None = None,
) -> str:
    """A line chart, or nothing where no series has a point."""
    if not any(series.values()):
        return ""
    return charts.line_chart(title, series, y_label=y_label, limit=limit)
