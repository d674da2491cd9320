"""The searches of `tf_nas_findings`: the experiment, and what is changed about it."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

from absl import flags

from benchmarks import common
from keras_nas.config import Config, LimitsConfig, RecipeConfig, SpaceConfig, TFNASConfig
from keras_nas.resources.width_latency import Curve, WidthLatency

_EPOCHS = flags.DEFINE_integer("epochs", 12, "Of a search.", lower_bound=2)
_WARMUP = flags.DEFINE_integer("warmup_epochs", 4, "First epochs, weights only.", lower_bound=0)
_BATCH = flags.DEFINE_integer("search_batch", 16, "Images in a step of a search.", lower_bound=1)
_TRAINING = flags.DEFINE_integer("training_steps", 150, "Of a found network.", lower_bound=1)
_WEIGHT = flags.DEFINE_float("latency_weight", 0.1, "Of the paper's objective.", lower_bound=0)
_LIMIT = flags.DEFINE_float(
    "latency_fraction", 0.3, "Between the smallest latency (0) and the largest (1)."
)

EXPONENT = 0.6
"""Of C1."""


def config() -> Config:
    """The experiment: two stages of up to three blocks."""
    scaled = common.scaled_config()
    epochs_a_step = common.BATCH_SIZE / common.TRAINING_IMAGES[flags.FLAGS.dataset]
    stages = [
        {"channels": 16, "stride": 2, "activation": "relu", "min_depth": 1, "max_depth": 3},
        {"channels": 24, "stride": 2, "activation": "swish", "min_depth": 1, "max_depth": 3},
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
            batch_size=_BATCH.value,
            learning_rate=0.1,  # searches are short
            architecture_learning_rate=0.05,
            latency_weight=_WEIGHT.value,
        ),
        train=RecipeConfig(
            epochs=_TRAINING.value * epochs_a_step,
            batch_size=common.BATCH_SIZE,
            learning_rate=0.1,
            warmup_epochs=0.1 * _TRAINING.value * epochs_a_step,
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
    """The searches, by name: the paper's first, those that share their steps side by side."""
    # d/dLAT of l |LAT / T - 1|, l1 log(LAT)^e and l2 LAT are equal at T.
    weight = settings.latency_weight
    c1 = {
        "objective": "log",
        "latency_weight": weight * math.log(target) ** (1 - EXPONENT) / EXPONENT,
        "latency_exponent": EXPONENT,
    }
    c2 = {"objective": "linear", "latency_weight": weight / target}
    changes: dict[str, dict[str, Any]] = {"paper": {}, "shared weights": {"share_weights": True}}
    changes["second none"] = {"second_sampler": "none"}
    changes |= {f"depth {kind}": {"depth_space": kind} for kind in ("skip_in", "skip_out")}
    changes |= {"C1": c1, "C2": c2}
    for sampler in ("gumbel", "minimum", "maximum"):
        changes[f"second {sampler}"] = {"second_sampler": sampler}
    found = {}
    for name, change in changes.items():
        found[name] = dataclasses.replace(settings, **change)
        if name in ("paper", "C1", "C2"):
            found[f"{name} unscaled"] = dataclasses.replace(found[name], elasticity_scaling=False)
    return found


def as_traced(search: TFNASConfig) -> TFNASConfig:
    """The search with elasticity-scaling: what it is traced for."""
    return dataclasses.replace(search, elasticity_scaling=True)
