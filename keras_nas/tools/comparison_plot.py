"""Accuracy over measured latency as a picture."""

from __future__ import annotations

import dataclasses
import io
import math
from collections.abc import Sequence

import matplotlib
import numpy as np
from matplotlib import ticker
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray

from keras_nas.tools.comparison import Comparison

SIZE = (9.0, 6.0)
"""Inches, of 72 points."""
LABEL_SIZE = 7.0
"""Points."""
DOT = 8.0
"""Points around a dot that no label should cover."""
_PLACES = np.array(
    [
        (
            distance * math.cos(math.radians(angle)),
            distance * math.sin(math.radians(angle)),
            distance / 10,
        )
        for distance in (5, 11, 18, 27, 38, 50)
        for angle in (0, 180, 90, 270, 45, 315, 135, 225)
    ]
)
"""[P, 3] where a label's nearest edge or corner is tried: points right of and above its dot, best
first, and what being far costs, in square points that are covered."""


@dataclasses.dataclass(frozen=True)
class Dot:
    """One network in the picture.

    Attributes:
      name: its label.
      latency_ms, spread_ms: measured.
      accuracy: percent.
      own: the accuracy is the user's, not a published one.
    """

    name: str
    latency_ms: float
    spread_ms: float
    accuracy: float
    own: bool


def dots(comparison: Comparison) -> list[Dot]:
    """The networks whose accuracy is known at the resolution at which they were measured. The
    user's goes before a published one."""
    found = []
    for network in comparison.networks:
        accuracy = network.accuracy
        if accuracy is None and network.published and network.as_published:
            accuracy = network.published.top1
        if accuracy is not None:
            own = network.accuracy is not None
            found.append(Dot(network.name, network.latency_ms, network.spread_ms, accuracy, own))
    return found


def plot(points: Sequence[Dot], device: str) -> bytes:
    """The picture as SVG.

    Args:
      points: at least one.
      device: name for the axis.
    """
    figure = Figure(figsize=SIZE, dpi=72, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for own, marker, colour, label in (
        (False, "o", "#0072b2", "published accuracy (ImageNet; not measured here)"),
        (True, "D", "#d55e00", "own accuracy (on own test images)"),
    ):
        group = [dot for dot in points if dot.own == own]
        if group:
            axes.errorbar(
                [dot.latency_ms for dot in group],
                [dot.accuracy for dot in group],
                xerr=[dot.spread_ms for dot in group],
                fmt=marker,
                color=colour,
                markersize=5,
                elinewidth=1,
                label=label,
            )
    _name_axes(axes, points, device)
    canvas.draw()  # settles the layout, which labels are placed in
    _label(axes, canvas, points)
    written = io.BytesIO()
    with matplotlib.rc_context({"svg.hashsalt": "keras_nas"}):  # the same file from the same data
        figure.savefig(written, format="svg", metadata={"Date": None})
    return written.getvalue()


def _name_axes(axes: Axes, points: Sequence[Dot], device: str) -> None:
    latencies = [dot.latency_ms for dot in points]
    if max(latencies) > 4 * min(latencies):
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter(ticker.FormatStrFormatter("%g"))
        axes.xaxis.set_minor_formatter(ticker.NullFormatter())
    axes.margins(x=0.1, y=0.08)
    axes.set_xlabel(f"latency measured on {device}, ms")
    axes.set_ylabel("top-1 accuracy, %")
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right", fontsize=8)


def _label(axes: Axes, canvas: FigureCanvasAgg, points: Sequence[Dot]) -> None:
    """Puts every name next to its dot, joined by a thin line."""
    renderer = canvas.get_renderer()
    texts = [
        axes.annotate(
            dot.name,
            (dot.latency_ms, dot.accuracy),
            xytext=(0, 0),
            textcoords="offset points",
            fontsize=LABEL_SIZE,
            ha="center",
            va="center",
            arrowprops={"arrowstyle": "-", "color": "#999999", "linewidth": 0.5},
        )
        for dot in points
    ]
    middles = axes.transData.transform([(dot.latency_ms, dot.accuracy) for dot in points])
    sizes = [text.get_window_extent(renderer).size for text in texts]
    frame, legend = axes.get_window_extent(renderer), axes.get_legend()
    taken = [] if legend is None else [legend.get_window_extent(renderer).extents]
    boxes = place_labels(middles, np.array(sizes), frame.extents, taken)
    for text, offset in zip(texts, (boxes[:, :2] + boxes[:, 2:]) / 2 - middles, strict=True):
        text.set_position(offset)


def place_labels(
    middles: NDArray[np.float64],
    sizes: NDArray[np.float64],
    frame: ArrayLike,
    taken: Sequence[ArrayLike],
) -> NDArray[np.float64]:
    """Where labels cover least of dots and of one another, placed one by one from below.

    Args:
      middles: [N, 2] of the dots, points.
      sizes: [N, 2] width and height of their labels.
      frame: [4] left, bottom, right, top of the picture.
      taken: [4] each; what else must not be covered.

    Returns:
      [N, 4] boxes of the labels.
    """
    covered = [np.asarray(box) for box in taken]
    covered += [np.concatenate([middle - DOT / 2, middle + DOT / 2]) for middle in middles]
    boxes = np.zeros((len(middles), 4))
    for index in np.argsort(middles[:, 1], kind="stable"):
        size = sizes[index]
        centres = middles[index] + _PLACES[:, :2] + np.sign(_PLACES[:, :2].round(3)) * size / 2
        places = np.concatenate([centres - size / 2, centres + size / 2], axis=1)  # [P, 4]
        lost = _shared(places, np.stack(covered)).sum(axis=1)
        lost += size.prod() - _shared(places, np.asarray(frame)[np.newaxis])[:, 0]
        boxes[index] = places[np.argmin(lost + _PLACES[:, 2])]
        covered.append(boxes[index])
    return boxes


def _shared(one: NDArray[np.float64], other: NDArray[np.float64]) -> NDArray[np.float64]:
    """[P, Q] area that each of [P, 4] boxes shares with each of [Q, 4]."""
    low = np.maximum(one[:, np.newaxis, :2], other[np.newaxis, :, :2])  # [P, Q, 2]
    high = np.minimum(one[:, np.newaxis, 2:], other[np.newaxis, :, 2:])
    return np.clip(high - low, 0, None).prod(axis=2)
