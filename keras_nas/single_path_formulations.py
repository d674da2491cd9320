"""The formulations of one method: Single-Path NAS, and what it is compared with."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from keras_nas.config.single_path import SinglePathConfig
from keras_nas.data.examples import Examples
from keras_nas.layers.superkernel import Formulation
from keras_nas.methods import multi_path, single_path
from keras_nas.methods.one_shot_accuracy import configuration_accuracy
from keras_nas.methods.random_search import random_search
from keras_nas.methods.runtime import Runtime
from keras_nas.methods.sampled_search import best, remembered
from keras_nas.methods.single_path_projection import costs_with_skipping
from keras_nas.methods.superkernel_one_shot import train_one_shot
from keras_nas.methods.supernet_training import Observe, SinglePathResult
from keras_nas.models.multi_path_supernet import MultiPathSupernet
from keras_nas.models.single_path_supernet import SinglePathSupernet
from keras_nas.resources import CostModel
from keras_nas.resources.runtime_model import RuntimeModel
from keras_nas.solvers.network_sampling import Choice, uniform_sampler
from keras_nas.solvers.staged_costs import StagedCosts
from keras_nas.space import SearchSpace
from keras_nas.space.single_path_gates import SKIP
from tpu.hosts import from_chief, is_chief

AnySupernet = SinglePathSupernet | MultiPathSupernet


def search(
    space: SearchSpace,
    model: RuntimeModel,
    examples: Examples,
    settings: SinglePathConfig,
    runtime: Runtime,
    *,
    resources: Sequence[CostModel],
    limits: Sequence[float],
    evaluation_batch_size: int,
    batch_norm_images: int,
    observe: Observe | None = None,
) -> tuple[AnySupernet, SinglePathResult]:
    """Searches by the formulation of the settings.

    Args:
      space: the search space.
      model: runtime of its gates, which is traded for accuracy.
      examples: the fitted images are trained on; random search evaluates on held-out ones.
      settings: how.
      runtime: where.
      resources, limits: what random search keeps, +inf where it does not bind; the others trade
        runtime and keep no limit.
      evaluation_batch_size, batch_norm_images: of random search's evaluations.
      observe: supernet -> more for the history, at the end of each compiled loop; not of random
        search, which decides nothing before all its training is done.

    Returns:
      The supernet, whose decisions are the network that was found, and the result.

    Raises:
      InfeasibleError: random search, and no network keeps a limit.
      ValueError: an unknown formulation or relaxation, or a batch that the devices cannot share.
    """
    if settings.formulation == "single_path":
        return single_path.search(space, model, examples, settings, runtime, observe)
    if settings.formulation == "multi_path":
        return multi_path.search(space, model, examples, settings, runtime, observe)
    if settings.formulation != "random_search":
        raise ValueError(
            "formulation of Single-Path NAS should be one of single_path, multi_path, "
            f"random_search, received {settings.formulation!r}."
        )
    return _random_search(
        space,
        model,
        examples,
        settings,
        runtime,
        costs_with_skipping(space, resources),
        limits,
        evaluation_batch_size,
        batch_norm_images,
    )


def _random_search(
    space: SearchSpace,
    model: RuntimeModel,
    examples: Examples,
    settings: SinglePathConfig,
    runtime: Runtime,
    costs: StagedCosts,
    limits: Sequence[float],
    evaluation_batch_size: int,
    batch_norm_images: int,
) -> tuple[SinglePathSupernet, SinglePathResult]:
    """The best of networks drawn uniformly among those that keep all limits; see `search`."""
    uniform_sampler(costs, limits)  # an error before any training where nothing keeps them
    supernet, history = train_one_shot(space, examples, settings, runtime)
    accuracy = configuration_accuracy(
        supernet,
        examples,
        runtime,
        evaluation_batch_size,
        batch_norm_images=batch_norm_images,
        held_out_images=settings.random_images,
    )
    chief = is_chief(runtime.strategy)
    fitness = remembered(
        lambda choice: accuracy(_with_skips(space, choice)),
        runtime.checkpoints / "evaluated.json",
        writes=chief,
    )
    from_chief(runtime.strategy, 0)  # until every host has read what there is
    evaluated = random_search(
        fitness,
        costs,
        limits,
        settings.random_networks,
        seed=examples.seed,
    )
    found = _with_skips(space, best(evaluated).choice)
    supernet.choose(found)
    accuracy(found)  # leaves the statistics of this network behind
    rows = [
        {"accuracy": one.fitness, "runtime_ms": model.choice_ms(_with_skips(space, one.choice))}
        for one in evaluated
    ]
    result = SinglePathResult(found, supernet.margins(), model.choice_ms(found), history, rows)
    return supernet, result


def build_supernet(space: SearchSpace, classes: int, settings: SinglePathConfig) -> AnySupernet:
    """The supernet that a search returns, with fresh weights.

    Raises:
      ValueError: an unknown relaxation.
    """
    if settings.formulation == "multi_path":
        return MultiPathSupernet(space, classes, settings.relaxation)
    if settings.formulation == "random_search":
        return SinglePathSupernet(space, classes)
    return SinglePathSupernet(
        space, classes, Formulation(settings.relaxation, settings.norm, settings.temperature)
    )


def _with_skips(space: SearchSpace, choice: Choice) -> np.ndarray:
    """Configurations [B] or `SKIP` of a draw, where skipping is the last configuration."""
    return np.where(choice[1] == len(space.configurations), SKIP, choice[1])
