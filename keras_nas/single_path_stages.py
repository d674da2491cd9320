"""What the stages of Single-Path NAS do, up to the found architecture."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from keras_nas import files, final_stages
from keras_nas.context import Context, Outputs
from keras_nas.experiment import limited_resources
from keras_nas.exporting_stage import check_file
from keras_nas.measured_network import best_round, limits_of_tables, refitted_costs
from keras_nas.measured_projection import Projector, Round, close_loop
from keras_nas.measuring_stages import MeasureArchitecture, measuring
from keras_nas.method_space import runtime_model
from keras_nas.methods.one_shot_accuracy import configuration_accuracy
from keras_nas.methods.runtime import Runtime
from keras_nas.methods.single_path_projection import (
    FoundNetwork,
    chosen_configurations,
    costs_with_skipping,
    credits_of,
    depth_credits,
    found_network,
    found_networks,
)
from keras_nas.models.decided_supernet import DecidedSupernet
from keras_nas.models.weights import weights_to_bytes
from keras_nas.resources import CostModel
from keras_nas.resources.limits import Limit
from keras_nas.single_path_formulations import AnySupernet, build_supernet
from keras_nas.single_path_formulations import search as by_formulation
from keras_nas.single_path_record import projection_record, read_margins, search_record
from keras_nas.solvers.projection import Choice
from keras_nas.space import Architecture, SearchSpace
from keras_nas.space.single_path_gates import Gates, architecture_of_configurations


def search(context: Context) -> Outputs:
    """The search's trajectory, and the supernet, its batch norm that of its decisions."""
    config, space = context.config, context.space_of(SearchSpace)
    model = runtime_model(config, space, context.table)
    resources, limits = limited_resources(space, context.table, config.limits)
    with context.runtime("search") as runtime:
        supernet, result = by_formulation(
            space,
            model,
            context.examples,
            config.single_path,
            runtime,
            resources=resources,
            limits=[limit.limit for limit in limits],
            evaluation_batch_size=config.evaluation_batch_size,
            batch_norm_images=config.batch_norm_images,
        )
    accuracy = _accuracy(context, supernet)
    reached = {
        "held_out": accuracy(result.configurations),
        "test": accuracy(result.configurations, test=True),
    }
    return {
        "search.json": search_record(config, space, result, reached),
        "supernet.npz": weights_to_bytes(supernet),
    }


def project(context: Context) -> Outputs:
    """Both networks of the search: that of its gates as they are, and the best that keeps the
    limits, measured to do so. The latter is trained.

    Raises:
      ValueError: no network that was measured keeps the latency limit.
    """
    config, space = context.config, context.space_of(SearchSpace)
    models, limits = limited_resources(space, context.table, config.limits)
    values = [limit.limit for limit in limits]
    margins = read_margins(files.read_json(context.path("search.json"), "search record"), space)
    found = found_networks(space, margins, models, values)
    extra: dict[str, dict[str, Any]] = {name: {} for name in found}
    rounds: list[Round] = []
    table_scale = 1.0
    if config.projection.rounds and math.isfinite(values[0]):
        with measuring(context) as measure_ms:
            rounds = _measured_rounds(context, space, margins, models, limits, measure_ms)
            best = best_round(rounds)
            found["exact"] = _refitted(space, models, limits, best)
            table_scale = best.table_scale
            for name, row in found.items():
                extra[name]["measured_ms"], extra[name]["spread_ms"] = (
                    (best.measured_ms, best.spread_ms)
                    if name == "exact"
                    else measure_ms(_projected(space, row.configurations))
                )
    supernet = read_supernet(context)
    accuracy = _accuracy(context, supernet)
    reached = functools.cache(lambda chosen: accuracy(np.array(chosen), test=True))
    for name, row in found.items():
        extra[name]["one_shot_accuracy"] = reached(tuple(row.configurations.tolist()))
    architecture = _finished(context, supernet, found["exact"])
    return {
        "projection.json": projection_record(
            models, limits, config.limits, found, extra, rounds, table_scale
        ),
        "architecture.json": architecture.to_json(),
    }


def finetune(context: Context) -> Outputs:
    """The network fine-tuned from the supernet's weights, or from a file."""
    recipe = context.config.finetune
    start = None
    if not recipe.init:
        record = files.read_json(context.path("projection.json"), "projection record")
        start = DecidedSupernet(read_supernet(context), np.array(record["configurations"]))
    return final_stages.trained(context, "finetune", recipe, start)


def read_supernet(context: Context) -> AnySupernet:
    """The searched supernet."""
    settings, space = context.config.single_path, context.space_of(SearchSpace)
    with context.strategy.scope():
        supernet = build_supernet(space, context.examples.source.classes, settings)
    context.read_weights(supernet, "supernet.npz")
    return supernet


def _accuracy(context: Context, supernet: AnySupernet) -> Callable[..., float]:
    config = context.config
    return configuration_accuracy(
        supernet,
        context.examples,
        Runtime(context.checkpoints, context.strategy),
        config.evaluation_batch_size,
        batch_norm_images=config.batch_norm_images,
    )


def _projected(space: SearchSpace, configurations: np.ndarray) -> Architecture:
    return architecture_of_configurations(space, configurations, "projected")


def _measured_rounds(
    context: Context,
    space: SearchSpace,
    margins: Gates,
    models: Sequence[CostModel],
    limits: Sequence[Limit],
    measure_ms: MeasureArchitecture,
) -> list[Round]:
    """Projects the margins and measures until the latency limit is kept on the device."""
    credits = credits_of(space, margins)
    projector = Projector(
        credits, depth_credits(space), costs_with_skipping(space, models), limits, "exact"
    )

    def measure_choice(choice: Choice, attempt: int) -> tuple[float, float]:
        return measure_ms(_projected(space, chosen_configurations(space, choice)), attempt)

    return close_loop(projector, [measure_choice], context.config.projection.rounds)


def _refitted(
    space: SearchSpace, models: Sequence[CostModel], limits: Sequence[Limit], best: Round
) -> FoundNetwork:
    """The network of a round, its latency by the table as it was refitted for it."""
    own = limits_of_tables(limits, best)
    configurations = chosen_configurations(space, best.choice())
    found = found_network(space, configurations, models, [limit.limit for limit in own], "exact")
    costs = refitted_costs(list(found.costs.values()), limits, own)
    return dataclasses.replace(found, costs=dict(zip(found.costs, costs, strict=True)))


def _finished(context: Context, supernet: AnySupernet, found: FoundNetwork) -> Architecture:
    """The found architecture, once its file is known to keep the limits on it."""
    architecture = dataclasses.replace(found.architecture, name=f"{context.config.name}_found")
    check_file(context, lambda: supernet.extract(found.configurations)[1])
    return architecture


STAGES: dict[str, Callable[[Context], Outputs]] = {
    stage.__name__: stage for stage in (search, project, finetune)
}
"""Stage name -> what it does."""
