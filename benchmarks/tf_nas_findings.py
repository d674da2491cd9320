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
what it did not reach, and names it.
"""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from absl import app, flags

from benchmarks import common, tf_nas_tables
from keras_nas import files, pipeline
from keras_nas.config import Config, LimitsConfig, RecipeConfig, SpaceConfig, TFNASConfig
from keras_nas.context import Context
from keras_nas.method_space import width_limit
from keras_nas.methods import hardcore_nas
from keras_nas.methods.classification import accuracy
from keras_nas.methods.tf_nas import TFNASResult, search_tf_nas
from keras_nas.resources.width_latency import Curve, WidthLatency
from keras_nas.space import Architecture, TFNASSpace

_SEEDS = flags.DEFINE_integer("seeds", 3, "Searches of each kind.", lower_bound=1)
_IMAGES = flags.DEFINE_integer("images", 640, "Fitted images of an epoch.", lower_bound=64)
_EPOCHS = flags.DEFINE_integer("epochs", 16, "Of a search.", lower_bound=2)
_WARMUP = flags.DEFINE_integer("warmup_epochs", 6, "First epochs, weights only.", lower_bound=0)
_WEIGHT = flags.DEFINE_float("latency_weight", 0.1, "Of the paper's objective.", lower_bound=0)
_LIMIT = flags.DEFINE_float("limit", 0.3, "Between the smallest latency (0) and the largest (1).")

EXPONENT = 0.6
"""Of C1."""


def config() -> Config:
    """The experiment: two stages of up to three blocks."""
    scaled = common.scaled_config()
    stages = [
        {"channels": 24, "stride": 2, "activation": "relu", "min_depth": 1, "max_depth": 3},
        {"channels": 40, "stride": 2, "activation": "swish", "min_depth": 1, "max_depth": 3},
    ]
    return dataclasses.replace(
        scaled,
        name="tf_nas_findings",
        method="tf_nas",
        space=SpaceConfig(
            name="tf_nas",
            resolution=scaled.space.resolution,
            overrides={
                "name": "tf_nas_2_stages",
                "stem": {"channels": 16, "kernel_size": 3, "stride": 2, "activation": "relu"},
                "first_stages": [],
                "stages": stages,
                "head": {"features": 128, "activation": "swish", "before_pooling": True},
                "knot_spacing": 64,
                "width_divisor": 8,
            },
        ),
        limits=LimitsConfig(latency_fraction=_LIMIT.value),
        tf_nas=TFNASConfig(
            epochs=_EPOCHS.value,
            warmup_epochs=_WARMUP.value,
            learning_rate=0.1,  # searches are short
            architecture_learning_rate=0.05,
            latency_weight=_WEIGHT.value,
        ),
        train=RecipeConfig(
            epochs=scaled.train.epochs,
            batch_size=scaled.train.batch_size,
            learning_rate=0.1,
            warmup_epochs=scaled.train.warmup_epochs,
            mixup=0.0,
            weight_average=0.98,
        ),
        final="train",
    )


def in_microseconds(latency: WidthLatency) -> WidthLatency:
    """Networks of this size take less than a millisecond, whose logarithm C1 could not raise to a
    power. What the search says of milliseconds is microseconds then."""
    curves = tuple(
        tuple(Curve(curve.widths, 1000 * curve.ms) for curve in row) for row in latency.curves
    )
    return WidthLatency(latency.space, 1000 * latency.fixed_ms, curves)


def variants(settings: TFNASConfig, target: float) -> dict[str, TFNASConfig]:
    """The searches, by name; the paper's first."""
    # d/dLAT of l |LAT / T - 1|, l1 log(LAT)^e and l2 LAT are equal at T.
    weight = settings.latency_weight
    objectives: dict[str, dict[str, Any]] = {
        "paper": {},
        "C1": {
            "objective": "log",
            "latency_weight": weight * math.log(target) ** (1 - EXPONENT) / EXPONENT,
            "latency_exponent": EXPONENT,
        },
        "C2": {"objective": "linear", "latency_weight": weight / target},
    }
    changes: dict[str, dict[str, Any]] = {"paper": {}, "second none": {"second_sampler": "none"}}
    changes |= {f"depth {kind}": {"depth_space": kind} for kind in ("skip_in", "skip_out")}
    for name, objective in objectives.items():
        changes.setdefault(name, objective)
        changes[f"{name} unscaled"] = objective | {"elasticity_scaling": False}
    for sampler in ("gumbel", "minimum", "maximum"):
        changes[f"second {sampler}"] = {"second_sampler": sampler}
    changes["shared weights"] = {"share_weights": True}
    return {name: dataclasses.replace(settings, **change) for name, change in changes.items()}


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

    def row(self, name: str, settings: TFNASConfig, seed: int) -> dict[str, Any]:
        """Searches, trains what was found, and returns what is kept of it."""
        began = time.process_time()
        examples = self.context.examples
        share = 1 - self.context.config.data.held_out_fraction
        few = dataclasses.replace(
            examples,
            fitted=examples.fitted[: _IMAGES.value],
            held_out=examples.held_out[: round(_IMAGES.value * (1 - share) / share)],
            seed=seed,
        )
        with common.temporary_runtime(self.context, f"{name}_{seed}") as runtime:
            result = search_tf_nas(
                self.latency.space, self.latency, self.target, settings, few, runtime
            )
            row = self._describe(result)
        row["accuracy"] = self._trained_accuracy(result.architecture, seed)
        return row | {"cpu_seconds": time.process_time() - began}

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
        return {"epochs": epochs, "architecture": result.architecture.to_block_strings()}

    def _trained_accuracy(self, architecture: Architecture, seed: int) -> float:
        """Test accuracy after training from scratch."""
        config = self.context.config
        examples = dataclasses.replace(self.context.examples, seed=seed)
        with common.temporary_runtime(self.context, f"alone_{seed}") as runtime:
            network, _ = hardcore_nas.final_network(
                architecture,
                self.latency.space,
                examples,
                config.train,
                runtime,
                batch_norm_images=config.batch_norm_images,
            )
            return accuracy(network, examples, runtime, common.TEST_BATCH_SIZE)


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
        f"{context.config.train.epochs:.2g} epochs"
    )
    yield (
        f"target {bench.target:.4g} us by the table; networks of the space take {smallest:.4g} to "
        f"{largest:.4g} us"
    )


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
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in searches}
    for seed in range(_SEEDS.value):
        for name, search in searches.items():
            key = f"{name}/{seed}"
            if key not in rows:
                if not budget.allows(key):
                    continue
                rows[key] = bench.row(name, search, seed)
                row = rows[key]
                common.log(
                    f"{key}: {row['accuracy']:.2%}, latency / target "
                    f"{row['epochs'][-1]['after']:.3f}, {row['cpu_seconds']:.0f} CPU s"
                )
            found[name].append(rows[key])
    names = bench.latency.space.choice_names
    text = "\n".join([*description(bench), *tf_nas_tables.report(found, names), budget.summary()])
    files.write_text(folder / "findings.txt", f"{text}\n")
    for name, figure in tf_nas_tables.figures(found, names).items():
        figure.savefig(folder / f"{name}.svg")
    print(f"\n{text}\nfigures: {folder}/figure_*.svg")


if __name__ == "__main__":
    app.run(main)
