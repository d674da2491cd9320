"""From the margins of Single-Path NAS' gates to a network that keeps the limits.

The search trades runtime for accuracy and keeps no limit. Here every gate may be turned against its
margin, at the price of the margin's size, and the cheapest change that keeps all limits is made,
by the same exact projection as of other methods. Without a limit that binds, nothing changes.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from keras_nas.resources import CostModel
from keras_nas.solvers.projection import Choice, project
from keras_nas.solvers.staged_costs import StagedCosts
from keras_nas.space import Architecture, SearchSpace
from keras_nas.space.single_path_gates import (
    SKIP,
    Gates,
    architecture_of_configurations,
    gate_shapes,
    skippable,
)

Array = NDArray[np.float64]


@dataclasses.dataclass(frozen=True, eq=False)
class FoundNetwork:
    """A network that margins were read as.

    Attributes:
      configurations: int64 [B], or `SKIP`.
      architecture: the network.
      costs: resource name -> cost.
      keeps_limits: whether all of them are within their limits, and no choice is forbidden.
    """

    configurations: NDArray[np.int64]
    architecture: Architecture
    costs: dict[str, float]
    keeps_limits: bool


def found_networks(
    space: SearchSpace, margins: Gates, models: Sequence[CostModel], limits: Sequence[float]
) -> dict[str, FoundNetwork]:
    """Both readings of a search's margins.

    Args:
      space: the search space.
      margins: norm - threshold of every gate.
      models: costs of the space's configurations, one a limited resource, and which of them a
        limit on peak memory leaves.
      limits: of the resources; +inf does not bind.

    Returns:
      "search", the gates as they are, and "exact", which keeps the limits.

    Raises:
      InfeasibleError: no network keeps the limits.
      ValueError: margins of another space, or not as many limits as resources.
    """
    free = [
        dataclasses.replace(
            m, allowed=np.ones_like(m.allowed), allowed_depths=np.any(m.reach > 0, axis=0)
        )
        for m in models
    ]
    searched = project_margins(space, margins, free, [np.inf] * len(models))
    exact = project_margins(space, margins, models, limits)
    return {
        name: found_network(space, configurations, models, limits, name)
        for name, configurations in (("search", searched), ("exact", exact))
    }


def found_network(
    space: SearchSpace,
    configurations: NDArray[np.int64],
    models: Sequence[CostModel],
    limits: Sequence[float],
    name: str,
) -> FoundNetwork:
    """What a network of these configurations [B], or `SKIP`, is and costs."""
    runs = np.flatnonzero(configurations != SKIP)
    chosen = configurations[runs]
    costs = {m.name: math.fsum([m.fixed, *m.block_costs[runs, chosen]]) for m in models}
    allowed = costs_with_skipping(space, models).allowed_alpha[runs, chosen].all()
    return FoundNetwork(
        configurations,
        architecture_of_configurations(space, configurations, name),
        costs,
        bool(allowed) and all(c <= limit for c, limit in zip(costs.values(), limits, strict=True)),
    )


def project_margins(
    space: SearchSpace, margins: Gates, models: Sequence[CostModel], limits: Sequence[float]
) -> NDArray[np.int64]:
    """The configurations [B] of largest credit whose cost keeps the limits, `SKIP` among them.

    Raises:
      InfeasibleError, ValueError: see `found_networks`.
    """
    costs = costs_with_skipping(space, models)
    choice = project(
        credits_of(space, margins),
        depth_credits(space),
        block_costs=costs.block_costs,
        fixed=costs.fixed,
        limits=limits,
        stage_of_block=costs.stage_of_block,
        depths=costs.depths,
        allowed_alpha=costs.allowed_alpha,
    )
    return chosen_configurations(space, choice)


def chosen_configurations(space: SearchSpace, choice: Choice) -> NDArray[np.int64]:
    """Configurations [B], or `SKIP`, that were projected under `costs_with_skipping`."""
    _, chosen = choice
    return np.where(chosen == len(space.configurations), SKIP, chosen).astype(np.int64)


def credits_of(space: SearchSpace, margins: Gates) -> Array:
    """Credit of every configuration, and last of skipping: float64 [B, C + 1].

    Minus the sum of the margins' sizes over the gates that have to be turned for it; 0 for what the
    gates say now. Gates behind a shut one do not count.

    Raises:
      ValueError: margins of another shape, or not finite.
    """
    for field, shape in gate_shapes(space).items():
        values = np.asarray(getattr(margins, field))
        if values.shape != shape or not np.isfinite(values).all():
            raise ValueError(
                f"{field} margins of space {space.name!r} should be finite and of shape {shape}, "
                f"received shape {values.shape}. Give the margins of this space's supernet."
            )
    kernel = _level_credits(margins.kernel)  # [B, K]
    expansion = _level_credits(margins.expansion)  # [B, E + 1], the first skips
    may_skip = skippable(space)
    expansion[~may_skip, 1:] = _level_credits(margins.expansion[~may_skip, 1:])
    se = _level_credits(margins.squeeze_excite)  # [B, S]
    choices = (
        expansion[:, 1:, None, None] + kernel[:, None, :, None] + se[:, None, None, :]
    )  # [B, E, K, S]
    return np.concatenate([choices.reshape(len(choices), -1), expansion[:, :1]], axis=1)


def _level_credits(margins: Array) -> Array:
    """Credits [B, n + 1] of the numbers of leading open gates, from margins [B, n]."""
    zeros = np.zeros((len(margins), 1))
    opened = np.cumsum(np.minimum(margins, 0.0), axis=1)  # of all gates up to one
    shut = -np.maximum(margins, 0.0)
    return np.concatenate([zeros, opened], axis=1) + np.concatenate([shut, zeros], axis=1)


def depth_credits(space: SearchSpace) -> Array:
    """Credits [S, 1] of full depth, the only one: what is left out is skipped."""
    return np.zeros((len(space.stages), 1))


def costs_with_skipping(space: SearchSpace, models: Sequence[CostModel]) -> StagedCosts:
    """Costs of configurations and of skipping, which is the last and costs nothing, at full depth.

    Where the models forbid depths, a block that no depth left reaches can only be skipped.
    """
    costs = np.stack([model.block_costs for model in models])  # [R, B, C]
    nothing = np.zeros((*costs.shape[:2], 1))
    reached = np.any((models[0].reach > 0) & models[0].allowed_depths, axis=(1, 2))  # [B]
    allowed = np.concatenate(
        [models[0].allowed & reached[:, None], skippable(space)[:, None]], axis=1
    )  # [B, C + 1]
    return StagedCosts(
        block_costs=np.concatenate([costs, nothing], axis=2),
        fixed=np.array([model.fixed for model in models]),
        stage_of_block=np.array(space.stage_of_block),
        depths=np.array(space.largest_depths)[:, None],
        allowed_alpha=allowed,
    )
