"""Which formulation of a differentiable search is worth its cost (Single-Path NAS, Figure 8)?

    python -m benchmarks.single_path_formulations --dataset=fashion_mnist --data_dir=DIR

Searches with several seeds by each formulation of Single-Path NAS, with the same steps on the same
images: a single path with sigmoid, straight-through and softmax gradients, multi-path with softmax
and sigmoid, and random search under a limit. Of each run: the found network's accuracy after
training from scratch, all in the same way; its runtime by the table; and how both moved within the
run. Writes `formulations.txt` and `figure_8.svg` next to its results, one file a run. Run again, it
goes on with what it did not reach, and names it.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from absl import app, flags

from benchmarks import common, single_path_tables
from benchmarks.single_path_common import (
    BATCH_NORM_IMAGES,
    HELD_OUT_IMAGES,
    SEEDS,
    STEPS,
    rewrite_no_graphs,
    search_settings,
    small_config,
)
from keras_nas import files, pipeline
from keras_nas.config import Config, LimitsConfig
from keras_nas.config.single_path import SinglePathConfig
from keras_nas.context import Context
from keras_nas.data.examples import Examples
from keras_nas.experiment import limited_resources
from keras_nas.methods import hardcore_nas
from keras_nas.methods.classification import accuracy
from keras_nas.methods.one_shot_accuracy import configuration_accuracy
from keras_nas.methods.runtime import Runtime
from keras_nas.resources import CostModel
from keras_nas.resources.runtime_model import RuntimeModel
from keras_nas.single_path_formulations import AnySupernet, search
from keras_nas.space import Architecture, SearchSpace
from keras_nas.space.single_path_gates import architecture_of_configurations
from tpu.phase import Metrics

_NETWORKS = flags.DEFINE_integer(
    "random_networks", 16, "That random search evaluates.", lower_bound=1
)
_WEIGHT = flags.DEFINE_float(
    "runtime_weight", None, "lambda; by default each formulation's own.", lower_bound=0.0
)
_NAMES = flags.DEFINE_list("formulations", [], "Which to run; by default all.")
_FIRST = flags.DEFINE_integer("first_seed", 1, "Of the runs.", lower_bound=0)
_LIMIT = flags.DEFINE_float(
    "random_limit", 0.4, "Of random search, between smallest and largest ms."
)

LOOPS = 6
"""Times that a search is looked at."""

FORMULATIONS: dict[str, dict[str, Any]] = {
    "single-path sigmoid": {"relaxation": "sigmoid", "runtime_weight": 3.0},
    "single-path straight-through": {"relaxation": "straight_through", "runtime_weight": 2.0},
    "single-path softmax": {"relaxation": "softmax", "runtime_weight": 1.0},
    "multi-path softmax": {
        "formulation": "multi_path", "relaxation": "softmax", "runtime_weight": 0.06
    },
    "multi-path sigmoid": {
        "formulation": "multi_path", "relaxation": "sigmoid", "runtime_weight": 0.06
    },
    "random search": {"formulation": "random_search"},
}  # fmt: skip
"""The settings of each. One lambda for all would compare nothing: what leaves a sigmoid's gates in
the middle of the space shuts nearly all of a softmax's. Those of sigmoid and softmax on a single
path left searches with seed 0 away from both ends. Multi-path ended next to the smallest network
with 3, 1 and 0.25 (softmax with 0.06 too) and has the smallest that was tried; 2 for
straight-through lies between them, untried. The seeds that are compared begin at 1."""


def config() -> Config:
    """The experiment, with the limit of random search."""
    limits = LimitsConfig(latency_fraction=_LIMIT.value)
    return dataclasses.replace(small_config(), name="single_path_formulations", limits=limits)


def settings_of(name: str, examples: Examples) -> SinglePathConfig:
    """The settings of a formulation's searches."""
    chosen = FORMULATIONS[name]
    if _WEIGHT.value is not None:
        chosen = chosen | {"runtime_weight": _WEIGHT.value}
    return dataclasses.replace(
        search_settings(examples),
        random_networks=_NETWORKS.value,
        random_images=HELD_OUT_IMAGES,
        **chosen,
    )


@dataclasses.dataclass(frozen=True)
class Bench:
    """What all runs share.

    Attributes:
      context: of the experiment.
      space: the search space.
      costs: its latency by the table.
      limit_ms: of random search.
    """

    context: Context
    space: SearchSpace
    costs: CostModel
    limit_ms: float

    def row(self, name: str, seed: int) -> dict[str, Any]:
        """Searches, trains what was found, and returns what is kept of it."""
        began = time.process_time()
        examples = dataclasses.replace(self.context.examples, seed=seed)
        settings = settings_of(name, examples)
        model = RuntimeModel(
            self.space, self.costs.fixed, self.costs.block_costs, settings.runtime_form
        )
        with common.temporary_runtime(self.context, f"{name}_{seed}".replace(" ", "_")) as runtime:
            runtime = dataclasses.replace(runtime, steps_per_loop=STEPS.value // LOOPS)
            watch = Watch(self, examples, runtime)
            supernet, result = search(
                self.space,
                model,
                examples,
                settings,
                runtime,
                resources=[self.costs],
                limits=[self.limit_ms],
                evaluation_batch_size=common.TEST_BATCH_SIZE,
                batch_norm_images=self.context.config.batch_norm_images,
                observe=watch.look,
            )
            inherited = watch.accuracy(supernet)(result.configurations)
        searched = time.process_time()
        architecture = architecture_of_configurations(
            self.space, result.configurations, f"{name}_{seed}"
        )
        return {
            "configurations": result.configurations.tolist(),
            "runtime_ms": result.runtime_ms,
            "accuracy": self.trained_accuracy(architecture, seed),
            "inherited_accuracy": inherited,
            "history": result.history,
            "evaluated": result.evaluated,
            "search_cpu_seconds": searched - began,
            "cpu_seconds": time.process_time() - began,
        }

    def trained_accuracy(self, architecture: Architecture, seed: int) -> float:
        """Test accuracy after training from scratch."""
        config = self.context.config
        examples = dataclasses.replace(self.context.examples, seed=seed)
        with common.temporary_runtime(self.context, f"alone_{architecture.name}") as runtime:
            network, _ = hardcore_nas.final_network(
                architecture,
                self.space,
                examples,
                config.train,
                runtime,
                batch_norm_images=config.batch_norm_images,
            )
            return accuracy(network, examples, runtime, common.TEST_BATCH_SIZE)


class Watch:
    """Looks at a search, which goes on as if nobody did."""

    def __init__(self, bench: Bench, examples: Examples, runtime: Runtime):
        self._bench, self._examples, self._runtime = bench, examples, runtime
        self._accuracy: Callable[..., float] | None = None

    def accuracy(self, supernet: AnySupernet) -> Callable[..., float]:
        """Of networks with the supernet's weights; compiled once."""
        if self._accuracy is None:
            self._accuracy = configuration_accuracy(
                supernet,
                self._examples,
                self._runtime,
                common.TEST_BATCH_SIZE,
                batch_norm_images=BATCH_NORM_IMAGES,
                held_out_images=HELD_OUT_IMAGES,
            )
        return self._accuracy

    def look(self, supernet: AnySupernet) -> Metrics:
        """Accuracy on held-out images of the network that is decided now."""
        kept = [(variable, variable.numpy()) for variable in supernet.non_trainable_variables]
        value = self.accuracy(supernet)(supernet.configurations())
        for variable, before in kept:
            variable.assign(before)
        return {"held_out_accuracy": value}


def prepare() -> Bench:
    """Profiles the space where that is not done yet."""
    if not flags.FLAGS.data_dir:
        raise app.UsageError("--data_dir is missing: where TFDS sets are prepared.")
    experiment = config()
    folder = common.output_folder(experiment.name)
    pipeline.run(experiment, folder, ("profile",), log=common.log)
    context = Context(experiment, folder, folder / "checkpoints")
    space = context.space_of(SearchSpace)
    (costs,), (limit,) = limited_resources(space, context.table, experiment.limits)
    return Bench(context, space, costs, limit.limit)


def description(bench: Bench, names: Sequence[str]) -> Iterator[str]:
    """What the numbers were made with."""
    config, space, table = bench.context.config, bench.space, bench.context.table
    settings = settings_of("random search", bench.context.examples)
    yield (
        f"{config.data.source} at {space.resolution}x{space.resolution}; space {space.name}: "
        f"stages {[(s.channels, s.stride, s.max_depth) for s in space.stages]} (channels, stride, "
        f"largest depth), {len(space.configurations)} configurations a block, or skipped"
    )
    yield (
        f"searches of {STEPS.value} steps of {settings.batch_size} images, the first "
        f"{settings.warmup_share:.0%} without runtime; random search evaluates "
        f"{settings.random_networks} networks; found networks trained for "
        f"{config.train.epochs:.2g} epochs"
    )
    weights = {name: settings_of(name, bench.context.examples).runtime_weight for name in names}
    yield "lambda: " + ", ".join(
        f"{name} {weight:g}" for name, weight in weights.items() if name != "random search"
    )
    yield (
        f"runtime by the table of {table.device.processor}: {bench.costs.smallest():.4f} to "
        f"{bench.costs.largest():.4f} ms; limit of random search {bench.limit_ms:.4f} ms"
    )


def main(_: Sequence[str]) -> None:
    names = _NAMES.value or list(FORMULATIONS)
    if unknown := sorted(set(names) - set(FORMULATIONS)):
        raise app.UsageError(f"--formulations: {unknown} are none of {list(FORMULATIONS)}.")
    budget = common.Budget()
    rewrite_no_graphs()
    bench = prepare()
    context, folder = bench.context, common.output_folder("single_path_formulations")
    settings = {
        "table": context.table.to_json(),
        "train": dataclasses.asdict(context.config.train),
        "limit": bench.limit_ms,
        "loops": LOOPS,
    }
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
    for seed in range(_FIRST.value, _FIRST.value + SEEDS.value):
        for name in names:
            key = f"{name}/{seed}"
            search_of = dataclasses.asdict(settings_of(name, context.examples))
            path = folder / "runs" / f"{key.replace(' ', '_')}.json"
            rows = common.Rows(path, settings | {"search": search_of})
            if key not in rows:
                if not budget.allows(key):
                    continue
                rows[key] = bench.row(name, seed)
                row = rows[key]
                common.log(
                    f"{key}: {row['accuracy']:.2%}, {row['runtime_ms']:.4f} ms, "
                    f"{row['search_cpu_seconds']:.0f} of {row['cpu_seconds']:.0f} CPU s for the "
                    f"search, {row['configurations']}"
                )
            found[name].append(rows[key])
    text = "\n".join(
        [*description(bench, names), *single_path_tables.report(found), budget.summary()]
    )
    files.write_text(folder / "formulations.txt", f"{text}\n")
    single_path_tables.figure_8(found).savefig(folder / "figure_8.svg")
    print(f"\n{text}\nfigure: {folder}/figure_8.svg")


if __name__ == "__main__":
    app.run(main)
