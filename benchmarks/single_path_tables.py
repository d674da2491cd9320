"""Table, figure and verdicts of `single_path_formulations`, from its rows.

A row has `accuracy` of the found network trained from scratch, `inherited_accuracy` on held-out
images with the weights of the search, `runtime_ms`, CPU seconds, and `history`: by compiled loop
the network that is decided there, its `held_out_accuracy` and `runtime_ms`. Of random search that
is in `evaluated`, a network after the other.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from numpy.typing import NDArray

Row = Mapping[str, Any]
Found = Mapping[str, Sequence[Row]]
"""Formulation -> a row a seed."""

REFERENCE = "single-path sigmoid"
LAST_SHARE = 0.3
"""Of a run, in which its spread is taken."""


def trace(row: Row) -> NDArray[np.float64]:
    """Held-out accuracy and runtime of the network that a run would end in, [T, 2].

    Of random search the best so far.
    """
    if row["evaluated"]:
        pairs = [(one["accuracy"], one["runtime_ms"]) for one in row["evaluated"]]
        best = [max(pairs[: t + 1], key=lambda pair: pair[0]) for t in range(len(pairs))]
        return np.array(best)
    return np.array([(one["held_out_accuracy"], one["runtime_ms"]) for one in row["history"]])


def within(row: Row) -> NDArray[np.float64]:
    """Standard deviation of accuracy and of runtime over the last part of a run, [2]."""
    values = trace(row)
    last = values[-max(2, math.ceil(LAST_SHARE * len(values))) :]
    return last.std(axis=0, ddof=1)


def report(found: Found) -> Iterator[str]:
    """The table, and what follows from it."""
    yield "\nFormulations (Figure 8): mean and standard deviation between runs; within a run"
    yield (
        f"{'':30}{'runs':>5}{'accuracy':>17}{'worst':>9}{'best':>9}{'runtime ms':>19}"
        f"{'search weights':>16}{'within: accuracy':>18}{'runtime ms':>12}{'CPU s':>7}"
    )
    for name, rows in found.items():
        if not rows:
            yield f"{name:30}{0:5}"
            continue
        accuracy, runtime, inherited, seconds = (
            np.array([row[key] for row in rows])
            for key in ("accuracy", "runtime_ms", "inherited_accuracy", "search_cpu_seconds")
        )
        moved = np.mean([within(row) for row in rows], axis=0)
        yield (
            f"{name:30}{len(rows):5}{accuracy.mean():9.2%} ± {_spread(accuracy):5.2%}"
            f"{accuracy.min():9.2%}{accuracy.max():9.2%}"
            f"{runtime.mean():10.4f} ± {_spread(runtime):6.4f}{inherited.mean():16.2%}"
            f"{moved[0]:18.2%}{moved[1]:12.4f}{seconds.mean():7.0f}"
        )
    yield f"\nAgainst {REFERENCE}, by seed (+- one standard error):"
    yield from verdicts(found)


def _spread(values: NDArray[np.float64]) -> float:
    return float(values.std(ddof=1)) if len(values) > 1 else math.nan


QUANTITIES: dict[str, tuple[Callable[[Row], float], Callable[[float], str]]] = {
    "accuracy": (lambda row: float(row["accuracy"]), lambda value: f"{value:+.2%}"),
    "log runtime": (lambda row: math.log(row["runtime_ms"]), lambda value: f"{value:+.3f}"),
    "log CPU time": (lambda row: math.log(row["search_cpu_seconds"]), lambda v: f"{v:+.3f}"),
}


def verdicts(found: Found) -> Iterator[str]:
    """One line a formulation and quantity, decided beyond two standard errors only."""
    for name, rows in found.items():
        if name == REFERENCE:
            continue
        for quantity, (value, shown) in QUANTITIES.items():
            pairs = list(zip(rows, found[REFERENCE], strict=False))
            if len(pairs) < 2:
                yield f"  {name}, {quantity}: not decided, {len(pairs)} runs"
                continue
            differences = np.array([value(a) - value(b) for a, b in pairs])
            mean, error = differences.mean(), differences.std(ddof=1) / math.sqrt(len(pairs))
            word = "higher" if mean > 2 * error else "lower" if mean < -2 * error else "not decided"
            yield (
                f"  {name}, {quantity}: {word}, {shown(mean)} +- {shown(error)[1:]} over "
                f"{len(pairs)} runs"
            )


def figure_8(found: Found) -> Figure:
    """Accuracy over runtime of all runs; both within the runs."""
    matplotlib.use("svg")
    figure, (runs, accuracies, runtimes) = plt.subplots(
        1, 3, figsize=(16, 4.5), layout="constrained"
    )
    for number, (name, rows) in enumerate(found.items()):
        if not rows:
            continue
        colour = f"C{number}"
        x, y = (np.array([row[key] for row in rows]) for key in ("runtime_ms", "accuracy"))
        runs.plot(x, 100 * y, "o", color=colour, markersize=3, alpha=0.6)
        if len(rows) > 1:
            runs.errorbar(
                x.mean(), 100 * y.mean(), 100 * y.std(ddof=1), x.std(ddof=1),
                fmt="s", color=colour, label=name, capsize=3,
            )  # fmt: skip
        traces = np.array([trace(row) for row in rows])  # [seeds, T, 2]
        share = np.linspace(0, 1, traces.shape[1] + 1)[1:]
        for axis, values in ((accuracies, 100 * traces[..., 0]), (runtimes, traces[..., 1])):
            axis.plot(share, values.T, color=colour, linewidth=0.4)
            axis.plot(share, values.mean(axis=0), color=colour, linewidth=2, label=name)
    runs.set(
        title="between runs: mean, standard deviation, and runs",
        xlabel="runtime by the table, ms", ylabel="test accuracy trained from scratch, %",
    )  # fmt: skip
    accuracies.set(
        title="within a run: accuracy with the search's weights",
        xlabel="share of the search", ylabel="held-out accuracy, %",
    )  # fmt: skip
    runtimes.set(title="within a run: runtime", xlabel="share of the search", ylabel="ms")
    if runtimes.get_legend_handles_labels()[0]:
        runtimes.legend(fontsize="x-small")
    return figure
