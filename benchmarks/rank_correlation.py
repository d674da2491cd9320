"""Does accuracy in the one-shot network rank networks as training them alone does? (HC Figure 4)

    python -m benchmarks.rank_correlation --dataset=fashion_mnist --data_dir=DIR --minutes=45

18 networks, each uniform throughout: depth {2, 3, 4} x expansion ratio {3, 4, 6} x kernel size
{3, 5}, with squeeze-and-excitation. Their accuracy in w* (extracted weights, batch norm
re-estimated) against their accuracy trained alone from scratch: Kendall's tau and Spearman's rho,
for w* trained with stratified, independent and single-path sampling in equally many steps. Writes
`rank_correlation.png`. Run again, it goes on with what it did not reach.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib
import numpy as np
from absl import app, flags
from scipy import stats

from benchmarks import common
from keras_nas import files
from keras_nas.config.ranges import SAMPLINGS
from keras_nas.context import Context
from keras_nas.methods import hardcore_nas
from keras_nas.models import Supernet
from keras_nas.models.weights import weights_from_bytes, weights_to_bytes
from keras_nas.space import Architecture, SearchSpace

matplotlib.use("Agg")
import matplotlib.pyplot as plt

_SAMPLINGS = flags.DEFINE_multi_enum("samplings", list(SAMPLINGS), SAMPLINGS, "How w* is trained.")


def uniform_networks(space: SearchSpace) -> list[Architecture]:
    """Every depth, expansion ratio and kernel size, the same in all stages and blocks."""
    networks = []
    for depth in space.depths[0]:
        for c, choice in enumerate(space.configurations):
            if choice.se_ratio == max(space.se_ratios):
                name = f"d{depth}_e{choice.expansion_ratio:g}_k{choice.kernel_size}"
                depths, blocks = [depth] * len(space.stages), [c] * len(space.stage_of_block)
                networks.append(space.architecture(depths, blocks, name))
    return networks


def trained_supernet(context: Context, sampling: str) -> Supernet:
    """w* trained from w-bar with a way of sampling; kept in the output folder."""
    if sampling == context.config.supernet.sampling:
        return context.supernet()
    path = context.folder / f"supernet_{sampling}.npz"
    classes = context.examples.source.classes
    if path.exists():
        with context.strategy.scope():
            supernet = Supernet(context.space, classes)
        weights_from_bytes(supernet, path.read_bytes(), str(path))
        return supernet
    common.log(f"training w* with {sampling} sampling")
    recipe = dataclasses.replace(context.config.supernet, sampling=sampling)
    with common.temporary_runtime(context, f"supernet_{sampling}") as runtime:
        supernet, _ = hardcore_nas.train_supernet(
            context.space, context.examples, recipe, runtime, context.heaviest()
        )
    files.write_bytes(path, weights_to_bytes(supernet))
    return supernet


def evaluate_all(
    context: Context, networks: Sequence[Architecture], rows: common.Rows, budget: common.Budget
) -> None:
    """Trains w* in every way and every network alone, as far as the budget goes."""
    for sampling in _SAMPLINGS.value:
        keys = {f"{sampling}/{a.name}": a for a in networks}
        missing = {key: a for key, a in keys.items() if key not in rows}
        if not missing or not budget.allows(f"w* with {sampling} sampling"):
            continue
        supernet = trained_supernet(context, sampling)
        for key, architecture in missing.items():
            if budget.allows(key):
                rows[key] = common.one_shot_accuracy(context, supernet, architecture)
                common.log(f"{key}: {rows[key]:.2%}")
    # A fixed shuffled order, so that a short budget still covers the whole range.
    for number in np.random.default_rng(0).permutation(len(networks)):
        architecture = networks[number]
        key = f"alone/{architecture.name}"
        if key not in rows and budget.allows(key):
            rows[key] = common.trained_accuracy(context, architecture, seed=0)
            common.log(f"{key}: {rows[key]:.2%}")


def pairs(
    networks: Sequence[Architecture], rows: common.Rows, sampling: str
) -> tuple[np.ndarray, np.ndarray]:
    """Accuracy in w* and alone, of the networks for which both were reached."""
    both = [
        (rows[f"{sampling}/{a.name}"], rows[f"alone/{a.name}"])
        for a in networks
        if f"{sampling}/{a.name}" in rows and f"alone/{a.name}" in rows
    ]
    return np.array([x for x, _ in both]), np.array([y for _, y in both])


def correlation(one_shot: np.ndarray, alone: np.ndarray) -> tuple[float, float]:
    """Kendall's tau and Spearman's rho."""
    tau = stats.kendalltau(one_shot, alone).statistic
    return float(tau), float(stats.spearmanr(one_shot, alone).statistic)


def draw(points: Mapping[str, tuple[np.ndarray, np.ndarray]], path: Path) -> None:
    """One panel a way of sampling, as the paper's Figure 4."""
    figure, panels = plt.subplots(
        1, len(points), figsize=(4.2 * len(points), 4), sharey=True, squeeze=False
    )
    for panel, (sampling, (one_shot, alone)) in zip(panels[0], points.items(), strict=True):
        tau, rho = correlation(one_shot, alone)
        panel.scatter(100 * one_shot, 100 * alone, color="tab:blue")
        panel.set_title(f"{sampling}: tau {tau:.2f}, rho {rho:.2f}, n {len(alone)}")
        panel.set_xlabel("accuracy in w*, %")
        panel.grid(alpha=0.3)
    panels[0][0].set_ylabel("accuracy trained alone, %")
    figure.tight_layout()
    figure.savefig(path, dpi=120)


def main(_: Sequence[str]) -> None:
    budget = common.Budget()
    context = common.prepare()
    networks = uniform_networks(context.space)
    rows = common.open_rows(context, "rank_correlation", ("train",))
    evaluate_all(context, networks, rows, budget)
    columns = (*_SAMPLINGS.value, "alone")
    print(f"\n{common.describe(context)}")
    print(f"{'network':12}" + "".join(f"{column:>14}" for column in columns))
    for a in networks:
        keys = [f"{column}/{a.name}" for column in columns]
        cells = [f"{rows[k]:14.2%}" if k in rows else f"{'not reached':>14}" for k in keys]
        print(f"{a.name:12}{''.join(cells)}")
    points = {sampling: pairs(networks, rows, sampling) for sampling in _SAMPLINGS.value}
    points = {sampling: pair for sampling, pair in points.items() if len(pair[0]) > 2}
    for sampling, (one_shot, alone) in points.items():
        tau, rho = correlation(one_shot, alone)
        print(
            f"{sampling}: Kendall's tau {tau:.3f}, Spearman's rho {rho:.3f} "
            f"({len(alone)} networks); accuracy in w* {one_shot.min():.2%} to "
            f"{one_shot.max():.2%}, alone {alone.min():.2%} to {alone.max():.2%}"
        )
    if points:
        path = context.folder / "rank_correlation.png"
        draw(points, path)
        print(f"plot: {path}")
    print(budget.summary())


if __name__ == "__main__":
    app.run(main)
