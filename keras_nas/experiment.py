"""What a configuration stands for: its space, costs and limits. Needs no TensorFlow."""

from __future__ import annotations

import dataclasses
import json

import numpy as np

from keras_nas import files
from keras_nas.config import LimitsConfig, SpaceConfig
from keras_nas.resources import CostModel, LatencyTable, cost_model, piece_macs, piece_parameters
from keras_nas.resources.limits import Limit, check_limits
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
      ValueError: a limit is below what the space can reach.
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
    return models, check_limits(models, wanted)


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
