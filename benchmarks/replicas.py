"""Each training and search step on several devices against one device, at the same global batch.

    python -m benchmarks.replicas                       # 4 logical CPU devices, float32
    python -m benchmarks.replicas --precision=mixed_bfloat16

Runs ten steps of each phase of HardCoRe-NAS, Single-Path NAS and TF-NAS, on spaces of two blocks
and digits, once on one device and once on several, from the same start, and prints by how much what
the phase keeps differs: weights, batch-norm statistics, optimizer, averages, probabilities; and by
how much the devices differ from one another. The last line is all of it as JSON. Where rounding
puts an activation on the other side of its threshold, a difference of 1e-7 becomes one of 1e-3 in
a step, and another `--seed` shows whether it was that.

In bfloat16, one device in float32 comes as well: several devices should differ from one by less
than the precision itself makes.
"""

from __future__ import annotations

import dataclasses
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from absl import app, flags

from keras_nas.config import DataConfig, RecipeConfig, SearchConfig, TFNASConfig
from keras_nas.config.single_path import SinglePathConfig
from keras_nas.data.examples import Examples, load_examples
from keras_nas.experiment import staged_costs
from keras_nas.methods import frank_wolfe_search, hardcore_nas, multi_path, single_path, tf_nas
from keras_nas.methods.runtime import Runtime
from keras_nas.methods.superkernel_one_shot import train_one_shot
from keras_nas.methods.tf_nas_schedule import WEIGHT_STEPS
from keras_nas.models import Supernet
from keras_nas.resources import RuntimeModel, cost_model, piece_macs
from keras_nas.resources.width_latency import Curve, WidthLatency
from keras_nas.space import ElasticStage, Head, SearchSpace, Stem, TFNASOperation, TFNASSpace
from keras_nas.training.precision import dtype_policy
from tpu.phase import Metrics, Phase
from tpu.strategy import strategy_for

_DEVICES = flags.DEFINE_integer("devices", 4, "How many logical CPU devices.", lower_bound=2)
_STEPS = flags.DEFINE_integer("steps", 10, "Of each phase.", lower_bound=1)
_PRECISION = flags.DEFINE_enum(
    "precision", "float32", ["float32", "mixed_bfloat16"], "Of training."
)
_PHASES = flags.DEFINE_list("phases", [], "Only these; empty runs all.")
_SEED = flags.DEFINE_integer("seed", 0, "Of the images' order and of what is held out.")

BATCH_SIZE = 32
SPACE = SearchSpace(
    name="small",
    stem=Stem(channels=8, stride=2),
    stages=(ElasticStage(8, 2, min_depth=1, max_depth=2),),
    kernel_sizes=(3, 5),
    expansion_ratios=(2, 3),
    se_ratios=(0, 0.25),
    head=Head(features=16),
    resolution=8,
)
TF_NAS_SPACE = TFNASSpace(
    name="small",
    stem=Stem(4, 3, 2, "relu"),
    stages=(ElasticStage(4, 1, "swish", 1, 2),),
    operations=(TFNASOperation(3, 2, 4, 1), TFNASOperation(5, 2, 4)),
    head=Head(0, "swish"),
    resolution=8,
)


@dataclasses.dataclass(frozen=True)
class RecordingRuntime(Runtime):
    """Keeps what a phase leaves behind.

    Attributes:
      values: of the phase's variables, in order; [device][variable].
    """

    values: list[list[np.ndarray]] = dataclasses.field(default_factory=list)

    def run(self, phase: Phase) -> list[Metrics]:
        history = super().run(phase)
        variables = [v.value if isinstance(v, keras.Variable) else v for v in phase.variables]
        local = [self.strategy.experimental_local_results(v) for v in variables]
        self.values[:] = [
            [np.asarray(v, np.float64) for v in row] for row in zip(*local, strict=True)
        ]
        return history


def recipe(examples: Examples, **changes: Any) -> RecipeConfig:
    """Mixup, weight average and momentum as in the experiments."""
    epochs = _STEPS.value * BATCH_SIZE / len(examples.fitted)
    settings = {"batch_size": BATCH_SIZE, "learning_rate": 0.05, "weight_average": 0.9}
    return RecipeConfig(epochs=epochs, **(settings | changes))


def pretrain(examples: Examples, runtime: Runtime) -> None:
    hardcore_nas.pretrain(SPACE, examples, recipe(examples), runtime)


def supernet(sampling: str) -> Callable[[Examples, Runtime], None]:
    def run(examples: Examples, runtime: Runtime) -> None:
        settings = recipe(examples, sampling=sampling)
        hardcore_nas.train_supernet(SPACE, examples, settings, runtime)

    return run


def finetune(examples: Examples, runtime: Runtime) -> None:
    with runtime.strategy.scope():
        keras.utils.set_random_seed(0)
        start = Supernet(SPACE, 10)
        teacher = hardcore_nas.heaviest_network(SPACE, 10, seed=1)
    settings = recipe(examples.rejoined(), distillation=1.0)
    hardcore_nas.final_network(
        SPACE.heaviest(), SPACE, examples, settings, runtime,
        batch_norm_images=64, supernet=start, heaviest=teacher,
    )  # fmt: skip


def search(solve_on_device: bool) -> Callable[[Examples, Runtime], None]:
    def run(examples: Examples, runtime: Runtime) -> None:
        with runtime.strategy.scope():
            keras.utils.set_random_seed(0)
            start = Supernet(SPACE, 10)
        settings = SearchConfig(
            epochs=_STEPS.value * BATCH_SIZE / len(examples.held_out),
            batch_size=BATCH_SIZE,
            solve_on_device=solve_on_device,
        )
        costs = staged_costs(SPACE, [cost_model(SPACE, piece_macs, 10, name="macs")])
        limits = (costs.smallest_cost() + costs.largest_cost()) / 2
        frank_wolfe_search.search(start, costs, np.atleast_1d(limits), settings, examples, runtime)

    return run


def search_tf_nas(share_weights: bool) -> Callable[[Examples, Runtime], None]:
    def run(examples: Examples, runtime: Runtime) -> None:
        # Two epochs: between them widths change.
        epochs = 2
        used = _STEPS.value * WEIGHT_STEPS * BATCH_SIZE // epochs
        settings = TFNASConfig(
            epochs=epochs, warmup_epochs=0, batch_size=BATCH_SIZE, share_weights=share_weights
        )
        bounds = np.stack([TF_NAS_SPACE.smallest_widths(), TF_NAS_SPACE.largest_widths()], 2)
        # A millisecond a channel, a tenth more with the larger kernel.
        curves = tuple(
            tuple(Curve(widths, (1.0 + 0.1 * o) * widths) for o, widths in enumerate(row))
            for row in bounds.astype(np.float64)
        )
        latency = WidthLatency(TF_NAS_SPACE, 1.0, curves)
        few = dataclasses.replace(examples, fitted=examples.fitted[:used])
        tf_nas.search_tf_nas(
            TF_NAS_SPACE, latency, sum(latency.range_ms()) / 2, settings, few, runtime
        )

    return run


def search_paths(method: Callable[..., Any], **changes: Any) -> Callable[[Examples, Runtime], None]:
    """A formulation of Single-Path NAS, half of it warm-up."""

    def run(examples: Examples, runtime: Runtime) -> None:
        settings = SinglePathConfig(
            epochs=_STEPS.value * BATCH_SIZE / len(examples.fitted),
            warmup_share=0.5,
            batch_size=BATCH_SIZE,
            weight_average=0.9,
            **changes,
        )
        costs = cost_model(SPACE, piece_macs, 10, name="macs")
        method(
            SPACE, RuntimeModel(SPACE, costs.fixed, costs.block_costs), examples, settings, runtime
        )

    return run


def one_shot(space: SearchSpace, _: RuntimeModel, *arguments: Any) -> None:
    train_one_shot(space, *arguments)


PHASES: dict[str, Callable[[Examples, Runtime], None]] = {
    "pretrain": pretrain,
    "stratified": supernet("stratified"),
    "independent": supernet("independent"),
    "single_path": supernet("single_path"),
    "finetune": finetune,
    "search": search(False),
    "search_on_device": search(True),
    "single_path_nas": search_paths(single_path.search),
    "multi_path_softmax": search_paths(multi_path.search, relaxation="softmax"),
    "multi_path_sigmoid": search_paths(multi_path.search, relaxation="sigmoid"),
    "superkernel_one_shot": search_paths(one_shot),
    "tf_nas": search_tf_nas(False),
    "tf_nas_share_weights": search_tf_nas(True),
}


def largest_difference(one: list[np.ndarray], other: list[np.ndarray]) -> float:
    """Over all variables, relative to a variable's largest value where that is above 1."""
    return max(
        float(np.abs(a - b).max() / max(1.0, np.abs(a).max()))
        for a, b in zip(one, other, strict=True)
    )


def values_after(
    name: str, examples: Examples, strategy: tf.distribute.Strategy, precision: str
) -> list[list[np.ndarray]]:
    """What a phase leaves behind, [device][variable]."""
    keras.config.set_dtype_policy(dtype_policy(precision))
    with tempfile.TemporaryDirectory() as folder:
        runtime = RecordingRuntime(Path(folder), strategy, save_every_seconds=1e9)
        PHASES[name](examples, runtime)
    return runtime.values


def main(_: list[str]) -> None:
    several_devices = strategy_for("cpu", num_devices=_DEVICES.value)
    one_device = strategy_for("cpu")
    precision = _PRECISION.value
    tf.config.experimental.enable_op_determinism()
    # Rewriting these graphs takes longer than running them.
    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})
    data = DataConfig(mean=(0.3,) * 3, std=(0.35,) * 3)
    examples = load_examples(data, SPACE.resolution, _SEED.value)
    results = {}
    titles = ("variables", "from one device", "among devices")
    titles += ("from float32",) if precision != "float32" else ()
    print(f"{'phase':<22}" + "".join(f"{title:>16}" for title in titles))
    for name in _PHASES.value or PHASES:
        several = values_after(name, examples, several_devices, precision)
        (alone,) = values_after(name, examples, one_device, precision)
        results[name] = row = {
            "variables": len(alone),
            "from_one": largest_difference(alone, several[0]),
            "among": max(largest_difference(several[0], device) for device in several),
        }
        if precision != "float32":
            (exact,) = values_after(name, examples, one_device, "float32")
            row["precision"] = largest_difference(exact, alone)
        print(f"{name:<22}" + "".join(f"{value:>16.3g}" for value in row.values()), flush=True)
    print(json.dumps(results))


if __name__ == "__main__":
    app.run(main)
