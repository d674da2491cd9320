"""Small pieces of SVG: elements, axes with round ticks, points thinned out for drawing.

Colours, fonts and line widths are classes of the page's style sheet, so that a drawing follows
light mode, dark mode and print.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Iterable, Sequence

from keras_nas.report.text import escape

Point = tuple[float, float]
_LARGE = ((1e9, "G"), (1e6, "M"), (1e3, "k"))


def element(tag: str, content: str = "", **attributes: object) -> str:
    """One element; a trailing `_` in an attribute's name is dropped, other `_` become `-`."""
    written = "".join(
        f' {name.rstrip("_").replace("_", "-")}="{_attribute(value)}"'
        for name, value in attributes.items()
    )
    return f"<{tag}{written}>{content}</{tag}>"


def drawing(width: float, height: float, content: str, label: str, **attributes: object) -> str:
    """A whole drawing that scales with the page; `label` says in words what it shows."""
    return element(
        "svg",
        element("title", escape(label)) + content,
        viewBox=f"0 0 {width:g} {height:g}",
        role="img",
        aria_label=label,
        **attributes,
    )


def line(x1: float, y1: float, x2: float, y2: float, class_: str) -> str:
    """A straight line."""
    return element("line", x1=x1, y1=y1, x2=x2, y2=y2, class_=class_)


def text(x: float, y: float, content: str, anchor: str = "start", class_: str = "") -> str:
    """A line of text; escaped."""
    classes = {"class_": class_} if class_ else {}
    return element("text", escape(content), x=x, y=y, text_anchor=anchor, **classes)


def polyline(points: Iterable[Point], class_: str) -> str:
    """A path through the points; a point that is not finite breaks it."""
    commands, command = [], "M"
    for x, y in points:
        if not (math.isfinite(x) and math.isfinite(y)):
            command = "M"
            continue
        commands.append(f"{command}{x:.1f} {y:.1f}")
        command = "L"
    return element("path", d="".join(commands), class_=class_) if commands else ""


def polygon(points: Iterable[Point], class_: str) -> str:
    """A filled polygon."""
    return element(
        "path", d="M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points) + "Z", class_=class_
    )


@dataclasses.dataclass(frozen=True)
class Axis:
    """Values `low`..`high` drawn at `start`..`end`."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)

    def ticks(self, count: int) -> list[float]:
        """About `count` round values inside the axis."""
        return ticks(self.low, self.high, count)


def axis(values: Sequence[float], start: float, end: float, *, padding: float = 0.05) -> Axis:
    """An axis over finite `values` with a share of `padding` on both sides. It spans at least a
    thousandth of the values, so that rounding errors do not look like changes."""
    low, high = min(values), max(values)
    largest = max(abs(low), abs(high))
    if high - low < 1e-3 * largest or not largest:
        middle, half = (low + high) / 2, 0.5e-3 * largest or 0.5
        low, high = middle - half, middle + half
    margin = padding * (high - low)
    return Axis(low - margin, high + margin, start, end)


def ticks(low: float, high: float, count: int) -> list[float]:
    """Multiples of 1, 2 or 5 times a power of ten in [low, high], about `count` of them."""
    rough = (high - low) / max(count, 1)
    power = 10.0 ** math.floor(math.log10(rough))
    step = power * min((1, 2, 5, 10), key=lambda factor: abs(math.log(rough / power / factor)))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [index * step for index in range(first, last + 1)]


def tick_labels(values: Sequence[float]) -> list[str]:
    """Tick values with the decimals that their distance needs; from 10 000 on as `10k`, `10M`."""
    largest = max(map(abs, values), default=0.0)
    unit, name = next((row for row in _LARGE if largest >= 10 * row[0]), (1.0, ""))
    step = min((b - a for a, b in itertools.pairwise(values)), default=unit) / unit
    decimals = max(0, -math.floor(math.log10(step) + 1e-9))
    return [f"{value / unit:.{decimals}f}{name}" for value in values]


def thinned(points: Sequence[Point], most: int = 300) -> list[tuple[float, float, float, float]]:
    """Points for drawing: (x, mean, lowest, highest) of runs of neighbours, at most `most`.

    Where there are no more than `most` points each stands for itself.
    """
    size = max(1, math.ceil(len(points) / most))
    rows = []
    for first in range(0, len(points), size):
        run = points[first : first + size]
        values = [y for _, y in run]
        rows.append((run[-1][0], math.fsum(values) / len(run), min(values), max(values)))
    return rows


def _attribute(value: object) -> str:
    return f"{round(value, 2):g}" if isinstance(value, float) else escape(value)
