"""What a configuration stands for: its space, costs and limits. Needs no TensorFlow."""

from __future__ import annotations

import dataclasses
import json

import numpy as np

from keras_nas import files
from keras_nas.config import LimitsConfig, SpaceConfig
from keras_nas.resources import CostModel, LatencyTable, cost_model, piece_macs, piece_parameters
from keras_nas.resources.limits import Limit, check_limits, range_table
from keras_nas.solvers.relaxation import common_relaxation, feasible, smallest_within
from keras_nas.solvers.staged_costs import StagedCosts
from keras_nas.space import SPACES, SearchSpace


def load_space(config: SpaceConfig) -> SearchSpace:
    """The search space that a configuration names, with its overrides.

    Raises:
      ValueError: unknown name, damaged file, or bad overrides.
      FileNotFoundError: there is no such file.
    """
    kind, _, path = config.name.partition(":")
    if kind == "file" and path:
        space = SearchSpace.from_json(files.read_text(path, "search space"), f"search space {path}")
    elif config.name in SPACES:
        space = SPACES[config.name]
    else:
        raise ValueError(
            f"config.space.name should be one of {', '.join(SPACES)}, or file:PATH; received "
            f"{config.name!r}."
        )
    value = json.loads(space.to_json())
    unknown = sorted(set(config.overrides) - set(value))
    if unknown:
        raise ValueError(
            f"config.space.overrides has unknown field {unknown[0]!r}; a space has "
            f"{', '.join(sorted(value))}."
        )
    try:
        text = json.dumps(value | config.overrides, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"config.space.overrides should hold numbers, texts, lists and tables only: {error}."
        ) from None
    space = SearchSpace.from_json(text, "config.space.overrides")
    return dataclasses.replace(space.scaled(config.width_multiplier), resolution=config.resolution)


def limited_resources(
    space: SearchSpace, table: LatencyTable, limits: LimitsConfig
) -> tuple[list[CostModel], list[Limit]]:
    """Costs of every limited resource, latency first, and the limits, checked against the space.

    Raises:
      ValueError: a limit is below what the space can reach, or no network keeps all of them; the
        message then has the smallest relaxations that would do.
    """
    latency = table.cost_model(space, table.classes)
    wanted = {}
    if limits.latency_ms is not None:
        wanted["latency_ms"] = limits.latency_ms
    else:
        share = limits.latency_fraction or 0.0
        # In this form a share of 1 is the largest latency exactly.
        wanted["latency_ms"] = (1 - share) * latency.smallest() + share * latency.largest()
    models = [latency]
    formulas = {"macs": piece_macs, "parameters": piece_parameters}
    for name, formula in formulas.items():
        limit = getattr(limits, name)
        if limit is not None:
            wanted[name] = limit
            models.append(cost_model(space, formula, table.classes, name=name))
    checked = check_limits(models, wanted)
    if len(checked) > 1:
        _check_together(staged_costs(space, models), checked)
    return models, checked


def _check_together(costs: StagedCosts, limits: list[Limit]) -> None:
    """Raises ValueError, with the smallest relaxations, where no network keeps all limits."""
    values = np.array([limit.limit for limit in limits])
    if feasible(costs, values):
        return
    ways = []
    for r, limit in enumerate(limits):
        smallest = smallest_within(costs, values, r)
        if smallest is not None:
            ways.append(f"raise {limit.name} to {smallest:.6g}")
    ways.append(f"raise all of them by {100 * common_relaxation(costs, values):.2f}%")
    asked = " and ".join(f"{limit.name} <= {limit.limit:.6g}" for limit in limits)
    raise ValueError(
        f"no network of the space keeps {asked} together, though one keeps each; "
        f"{', or '.join(ways)}.\n{range_table(limits)}"
    )


def staged_costs(space: SearchSpace, models: list[CostModel]) -> StagedCosts:
    """The costs of several resources in the solvers' form."""
    depths = np.array(space.depths)
    return StagedCosts(
        block_costs=np.stack([model.block_costs for model in models]),
        fixed=np.array([model.fixed for model in models]),
        stage_of_block=np.array(space.stage_of_block),
        depths=depths,
        allowed_beta=depths > 0,
    )
