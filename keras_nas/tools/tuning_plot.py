"""The two pictures of a study, as in SP Figure 9: trials over what was spent, and the trade-off."""

from __future__ import annotations

import io
import itertools
from collections.abc import Mapping, Sequence

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from keras_nas.tools.tuning_results import TrialRow, best_row

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7")
MARKERS = ("o", "s", "^", "D")
TARGET_COLOUR = "#444444"

Studies = Mapping[str, Sequence[Sequence[TrialRow]]]
"""Name of an algorithm -> its studies (seeds) -> trials in the order in which they ended."""


def plot_trials(studies: Studies, target_ms: float) -> bytes:
    """Objective, accuracy and runtime of every trial over the evaluations spent, as SVG; the line
    is the best objective so far, of full length, and its mean over several seeds."""
    figure = Figure(figsize=(8.0, 8.0), dpi=72, layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(3, 1, sharex=True)
    for (name, seeds), colour, marker in _styled(studies):
        points = [row for rows in seeds for row in rows if row.objective is not None]
        for axes, field, factor in zip(
            panels, ("objective", "accuracy", "runtime_ms"), (1, 100, 1), strict=True
        ):
            for state, fill in (("complete", colour), ("pruned", "none")):
                drawn = [row for row in points if row.state == state]
                axes.plot(
                    [row.spent for row in drawn],
                    [factor * getattr(row, field) for row in drawn],
                    linestyle="none",
                    marker=marker,
                    markersize=4.5,
                    markerfacecolor=fill,
                    markeredgecolor=colour,
                    alpha=0.75,
                    label=_label(name, state) if field == "objective" and drawn else None,
                )
        steps = _mean_best([_best_so_far(rows) for rows in seeds])
        if steps:
            panels[0].plot(
                *zip(*steps, strict=True), color=colour, drawstyle="steps-post", linewidth=1.4
            )
    for axes, label in zip(panels, ("objective", "accuracy, %", "runtime, ms"), strict=True):
        axes.set_ylabel(label)
        axes.grid(color="#e5e5e5", linewidth=0.6)
    panels[2].axhline(target_ms, color=TARGET_COLOUR, linestyle="--", linewidth=1)
    panels[2].text(0.01, target_ms, f"target {target_ms:.4g} ms", va="bottom", fontsize=8,
                   transform=panels[2].get_yaxis_transform())  # fmt: skip
    panels[2].set_xlabel("evaluations spent, in trials of full length")
    panels[0].legend(fontsize=8, loc="lower right")
    return _svg(figure)


def plot_trade_off(studies: Studies, target_ms: float) -> bytes:
    """Accuracy over runtime of every trial, with the target and the best trial of every study, as
    SVG."""
    figure = Figure(figsize=(8.0, 5.0), dpi=72, layout="constrained")
    FigureCanvasAgg(figure)
    axes: Axes = figure.subplots()
    for (name, seeds), colour, marker in _styled(studies):
        for state, fill in (("complete", colour), ("pruned", "none")):
            drawn = [row for rows in seeds for row in rows
                     if row.state == state and row.objective is not None]  # fmt: skip
            axes.plot(
                [row.runtime_ms or 0.0 for row in drawn],
                [100 * (row.accuracy or 0.0) for row in drawn],
                linestyle="none",
                marker=marker,
                markersize=5,
                markerfacecolor=fill,
                markeredgecolor=colour,
                alpha=0.75,
                label=_label(name, state) if drawn else None,
            )
        best = [row for rows in seeds if (row := best_row(rows, target_ms)) is not None]
        axes.plot(
            [row.runtime_ms or 0.0 for row in best],
            [100 * (row.accuracy or 0.0) for row in best],
            linestyle="none",
            marker="*",
            markersize=13,
            markerfacecolor=colour,
            markeredgecolor="black",
            label=f"{name}, best" if best else None,
        )
    axes.axvline(target_ms, color=TARGET_COLOUR, linestyle="--", linewidth=1)
    axes.text(target_ms, 0.01, f" target {target_ms:.4g} ms", fontsize=8,
              transform=axes.get_xaxis_transform())  # fmt: skip
    axes.set_xlabel("runtime of the found network, ms")
    axes.set_ylabel("accuracy, %")
    axes.grid(color="#e5e5e5", linewidth=0.6)
    axes.legend(fontsize=8, loc="lower right")
    return _svg(figure)


def _styled(studies: Studies):
    return zip(studies.items(), itertools.cycle(COLOURS), itertools.cycle(MARKERS), strict=False)


def _label(name: str, state: str) -> str:
    return f"{name}, ended early" if state == "pruned" else name


def _best_so_far(rows: Sequence[TrialRow]) -> list[tuple[float, float]]:
    """(evaluations spent, best objective of full length) after each trial from the first one."""
    best, steps = None, []
    for row in rows:
        if row.state == "complete" and row.objective is not None:
            best = row.objective if best is None else max(best, row.objective)
        if best is not None:
            steps.append((row.spent, best))
    return steps


def _mean_best(seeds: Sequence[Sequence[tuple[float, float]]]) -> list[tuple[float, float]]:
    """The mean of step functions, from where all have begun."""
    seeds = [steps for steps in seeds if steps]
    if not seeds:
        return []
    begin = max(steps[0][0] for steps in seeds)
    places = sorted({x for steps in seeds for x, _ in steps if x >= begin})
    return [
        (x, sum([y for at, y in steps if at <= x][-1] for steps in seeds) / len(seeds))
        for x in places
    ]


def _svg(figure: Figure) -> bytes:
    file = io.BytesIO()
    with matplotlib.rc_context({"svg.hashsalt": "keras_nas"}):
        figure.savefig(file, format="svg", metadata={"Date": None})
    return file.getvalue()
