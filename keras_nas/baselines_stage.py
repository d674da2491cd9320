"""The stage of random search and evolution, which the front of several limits is compared with."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

from keras_nas.config import BaselinesConfig
from keras_nas.context import Context, Outputs
from keras_nas.experiment import limited_resources, staged_costs
from keras_nas.measuring_stages import measuring_everywhere
from keras_nas.methods.evolution import evolution
from keras_nas.methods.one_shot_accuracy import one_shot_accuracy
from keras_nas.methods.random_search import random_search
from keras_nas.methods.runtime import Runtime
from keras_nas.methods.sampled_search import Evaluated, best, remembered
from keras_nas.report.front import FrontPoint
from keras_nas.search_record import chosen_architecture
from keras_nas.solvers.network_sampling import Choice
from keras_nas.solvers.staged_costs import StagedCosts
from keras_nas.space import SearchSpace
from tpu.hosts import from_chief, is_chief

Fitness = Callable[[Choice], float]


def baselines(context: Context) -> Outputs:
    """`baselines.json`: of each limit, what both searches found with the same evaluations.

    Raises:
      ValueError: see `evolution`, and `network_sampling.uniform_sampler`.
    """
    config, space, supernet = context.config, context.space_of(SearchSpace), context.supernet()
    settings, batch_size = config.baselines, config.evaluation_batch_size
    runtime = Runtime(context.checkpoints, context.strategy)
    accuracy = one_shot_accuracy(
        supernet,
        context.examples,
        runtime,
        batch_size,
        batch_norm_images=config.batch_norm_images,
        held_out_images=settings.images,
    )
    chief = is_chief(context.strategy)
    fitness = remembered(accuracy, context.checkpoints / "evaluated.json", writes=chief)
    from_chief(context.strategy, 0)  # until every host has read what there is
    rows: list[dict[str, Any]] = []
    with contextlib.ExitStack() as stack:
        measures = []
        if config.projection.rounds:
            measures = stack.enter_context(measuring_everywhere(context))
        for name, own in config.limits.each().items():
            models, limits = limited_resources(space, context.table, own, context.others)
            costs, values = staged_costs(space, models), np.array([row.limit for row in limits])
            for method, history in _searched(fitness, costs, values, settings, config.seed):
                found = best(history)
                architecture, _ = chosen_architecture(space, found.choice, f"{method}_{name}")
                measured = [measure(architecture) for measure in measures]
                others = zip(measured[1:], limits[1:], strict=False)
                point = FrontPoint(
                    method=method,
                    name=name,
                    limit_ms=float(values[0]),
                    predicted_ms=float(costs.exact_cost(*found.choice)[0]),
                    one_shot_accuracy=accuracy(found.choice, test=True),
                    measured_ms=measured[0][0] if measured else None,
                    spread_ms=measured[0][1] if measured else None,
                    keeps_others=all(sum(pair) <= limit.limit for pair, limit in others),
                )
                rows.append(
                    {
                        "point": dataclasses.asdict(point),
                        "held_out_accuracy": [one.fitness for one in history],
                        "architecture": architecture.to_json(),
                    }
                )
    return {"baselines.json": {"format": "keras_nas.baselines", "version": 1, "found": rows}}


def _searched(
    fitness: Fitness,
    costs: StagedCosts,
    limits: np.ndarray,
    settings: BaselinesConfig,
    seed: int,
) -> list[tuple[str, list[Evaluated]]]:
    count = settings.evaluations
    evolved = evolution(
        fitness,
        costs,
        limits,
        count,
        population=settings.population,
        tournament=settings.tournament,
        crossover=settings.crossover,
        seed=seed,
    )
    return [
        ("random", random_search(fitness, costs, limits, count, seed=seed)),
        ("evolution", evolved),
    ]
