"""Tables, figures and verdicts of `tf_nas_findings`, from its rows.

A row has `seed`, `accuracy` (NaN where that was not reached) and `epochs`; an epoch has
`operations` [B] and `kept` [B] of the most probable network, its latency over the target `before`
and `after` elasticity-scaling, and `alpha_entropy`.
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
"""Search -> a row a seed."""

SAMPLERS = {
    "paper": "random",
    "second gumbel": "Gumbel",
    "second minimum": "minimum",
    "second maximum": "maximum",
    "second none": "none (no bi-sampling)",
}
DEPTHS = {
    "paper": "sink-connecting",
    "depth skip_in": "skip in candidates",
    "depth skip_out": "skip out of candidates",
}
SHARING = {"paper": "weights of their own", "shared weights": "shared weights"}
OBJECTIVES = {
    name + suffix: label + how
    for name, label in (("paper", "with target"), ("C1", "C1"), ("C2", "C2"))
    for suffix, how in (("", ", scaled"), (" unscaled", ", not scaled"))
}


def operation_shares(epoch: Mapping[str, Any], count: int) -> NDArray[np.float64]:
    """Share [O] of each operation in the blocks of the most probable network."""
    used = np.array(epoch["operations"])[np.array(epoch["kept"], bool)]
    return np.bincount(used, minlength=count) / len(used)


def entropy(shares: NDArray[np.float64]) -> float:
    """In nats."""
    positive = shares[shares > 0]
    return -float(np.sum(positive * np.log(positive)))


def pooled_shares(rows: Sequence[Row], count: int) -> NDArray[np.float64]:
    """Shares [E, O] by epoch, over all seeds and blocks; a network counts as one."""
    by_seed = [[operation_shares(epoch, count) for epoch in row["epochs"]] for row in rows]
    return np.mean(by_seed, axis=0)


def depth(row: Row) -> float:
    """Blocks of the found network."""
    return float(sum(row["epochs"][-1]["kept"]))


def misses(row: Row) -> float:
    """Mean over epochs of |latency / target - 1| of the most probable network."""
    return float(np.mean([abs(epoch["after"] - 1) for epoch in row["epochs"]]))


def report(found: Found, names: Sequence[str]) -> Iterator[str]:
    """All tables, and what follows from them; `names` of the operations."""
    yield from _table("Second sampler (Table 3, Figure 2)", SAMPLERS, found, names)
    yield from _table("Depth space (Table 4, Figure 4a)", DEPTHS, found, names)
    yield from _table(
        "Objective and elasticity-scaling (Table 5, Figures 4b and 5)", OBJECTIVES, found, names
    )
    yield from _table("Weights of operations", SHARING, found, names)
    yield "\nFindings of the paper, here:"
    yield from verdicts(found, len(names))


def _table(
    title: str, kinds: Mapping[str, str], found: Found, names: Sequence[str]
) -> Iterator[str]:
    yield f"\n{title}"
    yield (
        f"{'':24}{'seeds':>6}{'trained':>9}{'accuracy':>10}{'worst':>9}{'best':>9}{'depth':>7}"
        f"{'latency/T':>11}"
        f"{'miss by epoch':>15}{'most frequent operation':>26}{'entropy: derived, alpha':>25}"
    )
    for name, label in kinds.items():
        rows = found[name]
        if not rows:
            yield f"{label:24}{0:6}"
            continue
        accuracies = [row["accuracy"] for row in rows if not math.isnan(row["accuracy"])]
        of_all = (np.mean(accuracies), min(accuracies), max(accuracies)) if accuracies else ()
        shown = "".join(f"{value:9.2%}" for value in of_all) or "-"
        last = pooled_shares(rows, len(names))[-1]
        most = f"{names[int(last.argmax())]} {last.max():.0%}"
        alpha = np.mean([row["epochs"][-1]["alpha_entropy"] for row in rows])
        used = np.mean([row["epochs"][-1]["after"] for row in rows])
        yield (
            f"{label:24}{len(rows):6}{len(accuracies):9}{shown:>28}"
            f"{np.mean(list(map(depth, rows))):7.2f}{used:11.3f}"
            f"{np.mean(list(map(misses, rows))):15.1%}{most:>26}{entropy(last):14.2f}{alpha:11.2f}"
        )


def verdicts(found: Found, count: int) -> Iterator[str]:
    """One line a finding: the difference over seeds that both have, and its standard error."""

    def collapse(row: Row) -> float:
        return float(np.mean([operation_shares(e, count).max() for e in row["epochs"]]))

    def accuracy(row: Row) -> float:
        return float(row["accuracy"])

    paper = found["paper"]
    yield compare(
        "without bi-sampling one operation takes a larger share (Figure 2)",
        *(found["second none"], paper, collapse, 1.0),
    )
    for name, label in SAMPLERS.items():
        if name != "paper":
            finding = f"random second path: more accurate than {label} (Table 3)"
            yield compare(finding, paper, found[name], accuracy, 100.0)
    for name, label in DEPTHS.items():
        if name != "paper":
            finding = f"sink-connecting: more accurate than {label} (Table 4)"
            yield compare(finding, paper, found[name], accuracy, 100.0)
    for name in ("paper", "C1", "C2"):
        yield compare(
            f"{OBJECTIVES[name]}: nearer to the target than without scaling (Figure 5)",
            *(found[f"{name} unscaled"], found[name], misses, 100.0),
        )


def compare(
    finding: str,
    larger: Sequence[Row],
    smaller: Sequence[Row],
    value: Callable[[Row], float],
    scale: float,
) -> str:
    """Whether `value` is larger in the first rows; decided beyond two standard errors only."""
    others = {row["seed"]: row for row in smaller}
    pairs = [(row, others[row["seed"]]) for row in larger if row["seed"] in others]
    both = np.array([scale * (value(a) - value(b)) for a, b in pairs])
    differences = both[~np.isnan(both)]
    if len(differences) < 2:
        return f"  not decided, {len(differences)} seeds: {finding}"
    mean, error = differences.mean(), differences.std(ddof=1) / math.sqrt(len(differences))
    holds = "holds" if mean > 2 * error else "does not hold" if mean < -2 * error else "not decided"
    return f"  {holds}: {finding}; {mean:+.2f} +- {error:.2f} over {len(differences)} seeds"


def figures(found: Found, names: Sequence[str]) -> dict[str, Figure]:
    """The figures of the searches that were reached, by file name."""
    matplotlib.use("svg")
    return {
        "figure_2": _operations_figure(found, names),
        "figure_4a": _lines_figure(found, DEPTHS, "blocks of the network", _kept),
        "figure_5": _lines_figure(found, OBJECTIVES, "latency / target", _latency),
    }


def _operations_figure(found: Found, names: Sequence[str]) -> Figure:
    """Shares of derived operations by epoch, and their entropy."""
    figure, axes = plt.subplots(1, 3, figsize=(14, 4), layout="constrained")
    for axis, name in zip(axes[:2], ("paper", "second none"), strict=True):
        axis.set(title=SAMPLERS[name], xlabel="epoch", ylabel="share of derived operations")
        if rows := found[name]:
            shares = pooled_shares(rows, len(names))
            axis.stackplot([e["epoch"] for e in rows[0]["epochs"]], shares.T, labels=names)
            axis.legend(fontsize="x-small", loc="lower left")
    for name, label in SAMPLERS.items():
        if rows := found[name]:
            entropies = [entropy(shares) for shares in pooled_shares(rows, len(names))]
            axes[2].plot([e["epoch"] for e in rows[0]["epochs"]], entropies, label=label)
    axes[2].set(title="entropy of them", xlabel="epoch", ylabel="nats", ylim=(0, None))
    axes[2].legend(fontsize="x-small")
    return figure


def _kept(epoch: Mapping[str, Any]) -> float:
    return float(sum(epoch["kept"]))


def _latency(epoch: Mapping[str, Any]) -> float:
    return float(epoch["after"])


def _lines_figure(
    found: Found, kinds: Mapping[str, str], label: str, value: Callable[[Mapping], float]
) -> Figure:
    """A line a kind: the mean over seeds by epoch; thin lines are seeds."""
    figure, axis = plt.subplots(figsize=(7, 4.5), layout="constrained")
    for number, (name, kind) in enumerate(kinds.items()):
        if rows := found[name]:
            epochs = [e["epoch"] for e in rows[0]["epochs"]]
            by_seed = np.array([[value(epoch) for epoch in row["epochs"]] for row in rows])
            style: dict[str, Any] = {
                "color": f"C{number}",
                "linestyle": "--" if "unscaled" in name else "-",
            }
            axis.plot(epochs, by_seed.T, linewidth=0.4, **style)
            axis.plot(epochs, by_seed.mean(axis=0), linewidth=2, label=kind, **style)
    axis.set(xlabel="epoch", ylabel=label)
    if axis.get_legend_handles_labels()[0]:
        axis.legend(fontsize="small")
    return figure
