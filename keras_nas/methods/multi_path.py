"""Multi-path search: Single-Path NAS' loss and schedule with separate operations that are mixed.

What earlier differentiable methods do, as a formulation to compare with (SP, later version, Figure
8): each configuration has its own weights, all of them run in every step, and their trained shares
mix the outputs and the runtimes.
"""

from __future__ import annotations

import dataclasses
import functools

import numpy as np
import tensorflow as tf

from keras_nas.config.single_path import SinglePathConfig
from keras_nas.data.examples import Examples
from keras_nas.methods import supernet_training
from keras_nas.methods.runtime import Runtime
from keras_nas.methods.supernet_training import (
    Observe,
    SinglePathResult,
    Step,
    network_row,
    runtime_penalty,
    train_supernet,
)
from keras_nas.models.multi_path_supernet import MultiPathSupernet
from keras_nas.resources.runtime_model import RuntimeModel
from keras_nas.space import SearchSpace
from keras_nas.training.rmsprop import L2RMSprop
from keras_nas.training.weight_average import WeightAverage
from tpu.phase import Metrics


def search(
    space: SearchSpace,
    model: RuntimeModel,
    examples: Examples,
    settings: SinglePathConfig,
    runtime: Runtime,
    observe: Observe | None = None,
) -> tuple[MultiPathSupernet, SinglePathResult]:
    """Trains weights and shares together; the network of the largest is then what was found.

    Args:
      space: the search space.
      model: runtime of its configurations.
      examples: the fitted images are trained on.
      settings: how; no subset is dropped in the warm-up, and norms play no part.
      runtime: where.
      observe: more for the history, at the end of each compiled loop.

    Raises:
      ValueError: an unknown relaxation, or a batch that the devices cannot share.
    """
    supernet, history = train_supernet(
        lambda: MultiPathSupernet(space, examples.source.classes, settings.relaxation),
        functools.partial(training_step, model=model, settings=settings),
        examples,
        settings,
        runtime,
        lambda supernet: share_row(supernet, model),
        observe,
    )
    configurations = supernet.configurations()
    result = SinglePathResult(
        configurations, supernet.margins(), model.choice_ms(configurations), history
    )
    return supernet, result


def training_step(
    supernet: MultiPathSupernet,
    optimizer: L2RMSprop,
    warmup_steps: int,
    seed: tf.Tensor,
    average: WeightAverage | None = None,
    *,
    model: RuntimeModel,
    settings: SinglePathConfig,
) -> Step:
    """The step of the phase: CE + lambda * log(R), R the expected runtime, with L2 in the
    optimizer.

    Args:
      supernet, optimizer, average: what it changes.
      warmup_steps: first steps, without runtime.
      seed: [2].
      model: runtime of the configurations.
      settings: label smoothing and lambda.
    """
    skips = np.zeros((len(model.configurations_ms), 1))
    times = np.concatenate([model.configurations_ms, skips], axis=1).astype(np.float32)

    def forward(images, step_seed, warming_up):
        del step_seed  # nothing is drawn
        shares = supernet.shares()
        logits = supernet(images, shares, training=True)
        expected_ms = model.fixed_ms + tf.reduce_sum(shares * times)
        return logits, runtime_penalty(expected_ms, settings, warming_up)

    return supernet_training.training_step(
        forward, supernet, optimizer, settings, warmup_steps, seed, average
    )


def share_row(supernet: MultiPathSupernet, model: RuntimeModel) -> Metrics:
    """What the logits decide now, all margins and all shares, as numbers for the history."""
    configurations, margins = supernet.configurations(), supernet.margins()
    row = network_row(configurations, model.choice_ms(configurations))
    for b, shares in enumerate(supernet.shares().numpy()):
        names = [*map(str, range(len(shares) - 1)), "skip"]
        row |= {f"block_{b}_share_{n}": float(s) for n, s in zip(names, shares, strict=True)}
        for field in dataclasses.fields(margins):
            for g, margin in enumerate(getattr(margins, field.name)[b]):
                row[f"block_{b}_{field.name}_{g}_norm"] = float(margin)
                row[f"block_{b}_{field.name}_{g}_threshold"] = 0.0
    return row
