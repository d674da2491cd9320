"""Which findings of TF-NAS (arXiv 2008.05314) hold at the size of two CPU cores?

    python -m benchmarks.tf_nas_findings --dataset=fashion_mnist --data_dir=DIR --minutes=45

Searches with several seeds: the paper's, and that with one thing changed. They share runs: figures
and tables are made of the same searches.

- Operation collapse with and without bi-sampling (Figure 2), and five second samplers (Table 3).
- Three depth spaces (Figure 4a, Table 4).
- Latency by epoch for three objectives, with and without elasticity-scaling (Figures 4b and 5,
  Table 5). At the target all objectives pull as strongly as the paper's.
- What is not the paper's: operations that share weights.

Every found network is trained from scratch in the same way and tested. Writes `findings.txt`,
`figure_2.svg`, `figure_4a.svg` and `figure_5.svg` next to its results. Run again, it goes on with
what it did not reach, and names it. Searches that differ in seed and elasticity-scaling alone run
one after another, since they share traced steps.
"""

from __future__ import annotations

import dataclasses
import gc
import itertools
import math
import time
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from absl import app, flags

from benchmarks import common, tf_nas_tables
from benchmarks.tf_nas_searches import as_traced, config, in_microseconds, variants
from keras_nas import files, pipeline
from keras_nas.config import TFNASConfig
from keras_nas.context import Context
from keras_nas.data.examples import Examples
from keras_nas.method_space import width_limit
from keras_nas.methods import hardcore_nas
from keras_nas.methods.classification import accuracy
from keras_nas.methods.tf_nas import TFNASResult, TFNASSearch
from keras_nas.resources.width_latency import WidthLatency
from keras_nas.space import Architecture, TFNASSpace

_SEEDS = flags.DEFINE_integer("seeds", 3, "Searches of each kind.", lower_bound=1)
_IMAGES = flags.DEFINE_integer("images", 256, "Fitted images of an epoch.", lower_bound=64)


@dataclasses.dataclass(frozen=True)
class Bench:
    """What all searches share.

    Attributes:
      context: of the experiment.
      latency: by width, microseconds.
      target: microseconds.
    """

    context: Context
    latency: WidthLatency
    target: float

    def few_examples(self, seed: int) -> Examples:
        """What a search sees."""
        examples = self.context.examples
        share = 1 - self.context.config.data.held_out_fraction
        return dataclasses.replace(
            examples,
            fitted=examples.fitted[: _IMAGES.value],
            held_out=examples.held_out[: round(_IMAGES.value * (1 - share) / share)],
            seed=seed,
        )

    def searches(
        self, settings: TFNASConfig, wanted: Sequence[tuple[str, int, bool]]
    ) -> Iterator[dict[str, Any]]:
        """Searches one after another, which share traced steps; yields what is kept of each.

        Args:
          settings: of all, but for elasticity-scaling.
          wanted: name, seed, and whether widths are scaled.
        """
        began, search = time.process_time(), None
        for name, seed, scales in wanted:
            examples = self.few_examples(seed)
            with common.temporary_runtime(self.context, f"{name}_{seed}") as runtime:
                if search is None:
                    first = dataclasses.replace(settings, elasticity_scaling=scales)
                    search = TFNASSearch(
                        self.latency.space, self.latency, self.target, first, examples, runtime
                    )
                else:
                    search.restart(examples, runtime, elasticity_scaling=scales)
                row = self._describe(search.run(runtime))
            yield row | {"cpu_seconds": time.process_time() - began}
            began = time.process_time()

    def _describe(self, result: TFNASResult) -> dict[str, Any]:
        epochs = []
        for epoch in result.epochs:
            p = epoch.alpha / epoch.alpha.sum(axis=1, keepdims=True)
            logs = np.log(p, out=np.zeros_like(p), where=p > 0)
            epochs.append(
                {
                    "epoch": epoch.epoch,
                    "operations": epoch.operations.tolist(),
                    "kept": epoch.kept.tolist(),
                    "before": epoch.before_ms / self.target,
                    "after": epoch.latency_ms / self.target,
                    "alpha_entropy": -float(np.sum(p * logs, axis=1).mean()),
                }
            )
        return {"epochs": epochs, "architecture": result.architecture.to_json()}

    def trained(self, architecture: str, seed: int) -> dict[str, Any]:
        """Test accuracy of a found network after training from scratch."""
        began = time.process_time()
        config = self.context.config
        examples = dataclasses.replace(self.context.examples, seed=seed)
        with common.temporary_runtime(self.context, f"alone_{seed}") as runtime:
            network, _ = hardcore_nas.final_network(
                Architecture.from_json(architecture),
                self.latency.space,
                examples,
                config.train,
                runtime,
                batch_norm_images=config.batch_norm_images,
            )
            tested = accuracy(network, examples, runtime, common.TEST_BATCH_SIZE)
        return {"accuracy": tested, "cpu_seconds": time.process_time() - began}


def prepare() -> Bench:
    """Profiles the space where that is not done yet."""
    if not flags.FLAGS.data_dir:
        raise app.UsageError("--data_dir is missing: where TFDS sets are prepared.")
    experiment = config()
    folder = common.output_folder(experiment.name)
    pipeline.run(experiment, folder, ("profile",), log=common.log)
    context = Context(experiment, folder, folder / "checkpoints")
    space = context.space_of(TFNASSpace)
    latency, limit = width_limit(space, context.table, experiment.limits)
    return Bench(context, in_microseconds(latency), 1000 * limit.limit)


def description(bench: Bench) -> Iterator[str]:
    """What the numbers were made with."""
    context, space, settings = bench.context, bench.latency.space, bench.context.config.tf_nas
    smallest, largest = bench.latency.range_ms()
    yield (
        f"{context.config.data.source} at {space.resolution}x{space.resolution}; space "
        f"{space.name}: stages {[(s.channels, s.stride, s.max_depth) for s in space.stages]} "
        f"(channels, stride, largest depth), {len(space.operations)} operations"
    )
    yield (
        f"searches of {settings.epochs} epochs of {_IMAGES.value} images, the first "
        f"{settings.warmup_epochs} without the architecture; batch {settings.batch_size}, weight "
        f"of latency {settings.latency_weight:g}; found networks trained for "
        f"{flags.FLAGS.training_steps} steps of {context.config.train.batch_size}"
    )
    yield (
        f"target {bench.target:.4g} us by the table; networks of the space take {smallest:.4g} to "
        f"{largest:.4g} us"
    )


def search_all(
    bench: Bench, searches: dict[str, TFNASConfig], rows: common.Rows, budget: common.Budget
) -> None:
    """Runs the searches that are not there yet, and trains what they found.

    What scaling and objectives do to latency shows without training: those networks come last.
    """
    later = [name for name in searches if name.endswith("unscaled") or name.startswith("C")]
    for settings, names in itertools.groupby(searches, lambda name: as_traced(searches[name])):
        group = list(names)
        runs = [
            (name, seed)
            for seed, name in itertools.product(range(_SEEDS.value), group)
            if f"{name}/{seed}" not in rows
        ]
        if runs:
            wanted = [(*run, searches[run[0]].elasticity_scaling) for run in runs]
            found = bench.searches(settings, wanted)
            for name, seed in runs:
                if budget.allows(f"{name}/{seed}"):
                    row = rows[f"{name}/{seed}"] = next(found)
                    common.log(
                        f"{name}/{seed}: latency / target {row['epochs'][-1]['after']:.3f}, "
                        f"{row['cpu_seconds']:.0f} CPU s"
                    )
            del found
            gc.collect()
        train_all(bench, [name for name in group if name not in later], rows, budget)
    train_all(bench, later, rows, budget)


def train_all(bench: Bench, names: Sequence[str], rows: common.Rows, budget: common.Budget) -> None:
    """Trains the networks that these searches found, where that is not done yet."""
    for seed, name in itertools.product(range(_SEEDS.value), names):
        key = f"{name}/{seed}"
        if key in rows and f"{key}/trained" not in rows and budget.allows(f"{key}/trained"):
            row = rows[f"{key}/trained"] = bench.trained(rows[key]["architecture"], seed)
            common.log(f"{key}: {row['accuracy']:.2%}, {row['cpu_seconds']:.0f} CPU s")


def found_rows(searches: Sequence[str], rows: common.Rows) -> dict[str, list[dict[str, Any]]]:
    """What is there, by search; no number for an accuracy that is not."""
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in searches}
    for seed, name in itertools.product(range(_SEEDS.value), searches):
        key = f"{name}/{seed}"
        if key in rows:
            trained = f"{key}/trained"
            tested = rows[trained]["accuracy"] if trained in rows else math.nan
            found[name].append(rows[key] | {"seed": seed, "accuracy": tested})
    return found


def main(_: Sequence[str]) -> None:
    budget = common.Budget()
    bench = prepare()
    context, folder = bench.context, common.output_folder("tf_nas_findings")
    searches = variants(context.config.tf_nas, bench.target)
    settings = {
        "table": context.table.to_json(),
        "tf_nas": dataclasses.asdict(context.config.tf_nas),
        "train": dataclasses.asdict(context.config.train),
        "images": _IMAGES.value,
        "target": bench.target,
    }
    rows = common.Rows(folder / "findings.json", settings)
    search_all(bench, searches, rows, budget)
    found = found_rows(list(searches), rows)
    names = bench.latency.space.choice_names
    text = "\n".join([*description(bench), *tf_nas_tables.report(found, names), budget.summary()])
    files.write_text(folder / "findings.txt", f"{text}\n")
    for name, figure in tf_nas_tables.figures(found, names).items():
        figure.savefig(folder / f"{name}.svg")
    print(f"\n{text}\nfigures: {folder}/figure_*.svg")


if __name__ == "__main__":
    app.run(main)
