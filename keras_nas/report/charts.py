"""Charts as SVG text: lines over steps, predicted against measured, a resource's range, bars."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from keras_nas.report import svg
from keras_nas.report.svg import Axis, Point
from keras_nas.report.text import escape, milliseconds

WIDTH, HEIGHT = 460, 230
_LEFT, _RIGHT, _TOP, _BOTTOM = 62, 18, 10, 40
_COLOURS = 4


def line_chart(
    title: str,
    series: Mapping[str, Sequence[Point]],
    *,
    y_label: str,
    x_label: str = "step",
    limit: tuple[float, str] | None = None,
) -> str:
    """A figure with one line a series.

    Args:
      title: caption.
      series: name -> (x, y) points, finite, at least one in all. More points than can be seen are
        drawn as the mean and the range of neighbours.
      y_label, x_label: axes, with units.
      limit: a horizontal line and its label.
    """
    rows = {name: svg.thinned(points) for name, points in series.items() if points}
    xs = [row[0] for points in rows.values() for row in points]
    ys = [value for points in rows.values() for row in points for value in row[2:]]
    x = svg.axis(xs, _LEFT, WIDTH - _RIGHT, padding=0)
    top = _TOP + (14 if limit else 0)  # room for the label above the limit's line
    y = svg.axis(ys + ([limit[0]] if limit else []), HEIGHT - _BOTTOM, top, padding=0.06)
    parts = [_frame(x, y, x_label, y_label)]
    if limit:
        height = y(limit[0])
        parts.append(svg.line(_LEFT, height, WIDTH - _RIGHT, height, "limit"))
        parts.append(svg.text(WIDTH - _RIGHT, height - 6, limit[1], "end", "limit"))
    for index, points in enumerate(rows.values()):
        colour = f"s{index % _COLOURS}"
        if any(low < high for _, _, low, high in points):
            upper = [(x(step), y(high)) for step, _, _, high in points]
            lower = [(x(step), y(low)) for step, _, low, _ in reversed(points)]
            parts.append(svg.polygon(upper + lower, f"band {colour}"))
        drawn = [(x(step), y(mean)) for step, mean, _, _ in points]
        if len(drawn) == 1:
            parts.append(
                svg.element("circle", cx=drawn[0][0], cy=drawn[0][1], r=3.5, class_=f"dot {colour}")
            )
        parts.append(svg.polyline(drawn, f"line {colour}"))
    label = f"{title}: {y_label} over {x_label}. " + _ends(series)
    keys = legend([(f"s{i % _COLOURS}", name) for i, name in enumerate(rows)])
    return figure(
        title, svg.drawing(WIDTH, HEIGHT, "".join(parts), label), keys if len(rows) > 1 else ""
    )


def scatter(title: str, calibration: Sequence[Point], found: Point | None, spread: float) -> str:
    """A square figure of measured over predicted ms with the diagonal.

    Args:
      title: caption.
      calibration: (predicted, measured) of the networks the table was fitted on.
      found: the same of the found network.
      spread: of the found network's measurement, drawn as a whisker.
    """
    size, left, bottom, end = 400.0, 66.0, 350.0, 388.0
    every = [*calibration, *([found] if found else [])]
    values = [value for point in every for value in point]
    x, y = svg.axis(values, left, end), svg.axis(values, bottom, 12.0)
    parts = [_frame(x, y, "predicted, ms", "measured, ms")]
    parts.append(svg.line(x(x.low), y(y.low), x(x.high), y(y.high), "diagonal"))
    for predicted, measured in calibration:
        tip = svg.element(
            "title",
            escape(f"predicted {milliseconds(predicted)}, measured {milliseconds(measured)}"),
        )
        parts.append(
            svg.element("circle", tip, cx=x(predicted), cy=y(measured), r=4.5, class_="dot s0")
        )
    if found:
        across, up = x(found[0]), y(found[1])
        parts.append(
            svg.line(across, y(found[1] - spread), across, y(found[1] + spread), "whisker")
        )
        diamond = [(across, up - 8), (across + 8, up), (across, up + 8), (across - 8, up)]
        parts.append(svg.polygon(diamond, "found"))
    label = f"{title}: {len(calibration)} calibration networks"
    keys = [("s0 round", "calibration network")] if calibration else []
    if found:
        label += (
            f"; found network predicted {milliseconds(found[0])}, measured {milliseconds(found[1])}"
        )
        keys.append(("found round", "found network"))
    keys.append(("diagonal", "prediction = measurement"))
    return figure(title, svg.drawing(size, size, "".join(parts), label), legend(keys))


@dataclasses.dataclass(frozen=True)
class RangeRow:
    """One row of `range_chart`: `value` as a dot with a whisker of `spread`, or, with `ends`, a bar
    from the first to the second."""

    label: str
    shown: str
    value: float | None
    ends: tuple[float, float] | None = None
    spread: float = 0.0


def range_chart(title: str, rows: Sequence[RangeRow], limit: tuple[float, str] | None) -> str:
    """A figure of values on one axis, one a row, with everything above the limit shaded."""
    left, right, step, top = 124, 80, 26, 28
    width = WIDTH + 30
    height = top + step * len(rows) + 34
    values = [
        value for row in rows for value in (row.value, *(row.ends or ())) if value is not None
    ]
    x = svg.axis([*values, *([limit[0]] if limit else [])], left, width - right, padding=0.04)
    bottom = top + step * len(rows)
    parts = []
    if limit:
        edge = x(limit[0])
        parts.append(
            svg.element(
                "rect",
                x=edge,
                y=top,
                width=max(0.0, width - right - edge),
                height=bottom - top,
                class_="beyond",
            )
        )
    parts.append(_x_ticks(x, bottom, top, 5))
    for index, row in enumerate(rows):
        parts.append(_range_row(x, top + step * (index + 0.5), row, left - 12, width - right + 12))
    if limit:
        parts.append(svg.line(edge, top - 4, edge, bottom, "limit"))
        at_end = edge > (left + width - right) / 2
        parts.append(svg.text(edge, top - 10, limit[1], "end" if at_end else "start", "limit"))
    label = f"{title}: " + ", ".join(f"{row.label} {row.shown}" for row in rows)
    return figure(title, svg.drawing(width, height, "".join(parts), label))


def bars(
    rows: Sequence[tuple[str, float, Sequence[str]]], caption: str, headers: Sequence[str]
) -> str:
    """A table with one bar a row: (label, share of the full width 0..1, values to show)."""

    def numbers(values: Sequence[str]) -> str:
        return "".join(f'<td class="number">{escape(value)}</td>' for value in values)

    body = "".join(
        f'<tr><th scope="row">{escape(label)}</th>'
        f'<td class="wide"><span class="track">{bar(share)}</span></td>{numbers(shown)}</tr>'
        for label, share, shown in rows
    )
    first, *others = headers
    head = (
        f'<th scope="col">{escape(first)}</th><th scope="col"><span class="hidden">bar</span></th>'
    )
    head += "".join(f'<th scope="col" class="number">{escape(name)}</th>' for name in others)
    return (
        f'<table class="bars"><caption>{escape(caption)}</caption>'
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
    )


def bar(share: float, class_: str = "") -> str:
    """A horizontal bar of `share` of the width it is put in."""
    width = 100 * min(max(share, 0.0), 1.0)
    return f'<span class="bar {class_}" style="width:{width:.2f}%"></span>'


def figure(title: str, drawing: str, keys: str = "") -> str:
    """A drawing with its caption."""
    return f"<figure><figcaption>{escape(title)}{keys}</figcaption>{drawing}</figure>"


def legend(entries: Sequence[tuple[str, str]]) -> str:
    """Swatch classes and names."""
    items = "".join(
        f'<span class="key"><i class="swatch {class_}"></i>{escape(name)}</span>'
        for class_, name in entries
    )
    return f'<span class="legend">{items}</span>'


def _frame(x: Axis, y: Axis, x_label: str, y_label: str) -> str:
    """Grid, tick labels and axis labels."""
    values = y.ticks(5)
    parts = []
    for value, label in zip(values, svg.tick_labels(values), strict=True):
        parts.append(svg.line(x.start, y(value), x.end, y(value), "grid"))
        parts.append(svg.text(x.start - 7, y(value) + 4, label, "end"))
    parts.append(_x_ticks(x, y.start, y.end, 6, grid=False))
    parts.append(svg.text(x.end, y.start + 34, x_label, "end", "axis"))
    middle = (y.start + y.end) / 2
    parts.append(
        svg.element(
            "text",
            escape(y_label),
            text_anchor="middle",
            class_="axis",
            transform=f"translate(11 {middle:g}) rotate(-90)",
        )
    )
    return "".join(parts)


def _x_ticks(x: Axis, bottom: float, top: float, count: int, grid: bool = True) -> str:
    values = x.ticks(count)
    parts = [svg.line(x.start, bottom, x.end, bottom, "base")]
    for value, label in zip(values, svg.tick_labels(values), strict=True):
        end = top if grid else bottom + 4
        parts.append(svg.line(x(value), bottom, x(value), end, "grid"))
        parts.append(svg.text(x(value), bottom + 18, label, "middle"))
    return "".join(parts)


def _range_row(x: Axis, y: float, row: RangeRow, label_end: float, shown_start: float) -> str:
    parts = [
        svg.text(label_end, y + 4, row.label, "end"),
        svg.text(shown_start, y + 4, row.shown, "start", "value"),
    ]
    if row.ends:
        start, end = x(row.ends[0]), x(row.ends[1])
        parts.append(
            svg.element(
                "rect",
                x=start,
                y=y - 5,
                width=max(end - start, 1.0),
                height=10,
                rx=2,
                class_="span",
            )
        )
    elif row.value is not None:
        parts.append(
            svg.line(x(row.value - row.spread), y, x(row.value + row.spread), y, "whisker")
        )
        parts.append(svg.element("circle", cx=x(row.value), cy=y, r=5, class_="dot s0"))
    return "".join(parts)


def _ends(series: Mapping[str, Sequence[Point]]) -> str:
    return "; ".join(
        f"{name} from {points[0][1]:.4g} to {points[-1][1]:.4g}"
        for name, points in series.items()
        if points
    )
