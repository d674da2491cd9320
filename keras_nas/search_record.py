"""`search.json`: how a search went and what it found."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from keras_nas.config import Config
from keras_nas.methods.frank_wolfe_search import SearchResult
from keras_nas.resources.limits import Limit
from keras_nas.solvers.projection import METHODS, project
from keras_nas.solvers.staged_costs import StagedCosts
from keras_nas.space import Architecture, SearchSpace
from tpu.phase import Metrics


def project_all(
    result: SearchResult, costs: StagedCosts, limits: list[Limit]
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Depth entries [S] and configurations [B] by every projection, for comparison (HC Table 2)."""
    return {
        method: project(
            result.alpha,
            result.beta,
            block_costs=costs.block_costs,
            fixed=costs.fixed,
            limits=[limit.limit for limit in limits],
            stage_of_block=costs.stage_of_block,
            depths=costs.depths,
            allowed_beta=costs.allowed_beta,
            method=method,
        )
        for method in METHODS
    }


def project_search(
    space: SearchSpace,
    result: SearchResult,
    costs: StagedCosts,
    limits: list[Limit],
    *,
    method: str = "exact",
    name: str = "found",
) -> Architecture:
    """The architecture that a search found (HC section 3.4).

    Args:
      space: that was searched.
      result: of the search.
      costs, limits: the feasible set, as the search had it.
      method: `exact`, `lp` or `argmax`, see `solvers.projection`.
      name: of the architecture.

    Raises:
      ValueError: the projection (`lp` or `argmax`) broke a limit.
    """
    choices = project_all(result, costs, limits)
    check_projection(method, choices, costs, limits)
    return chosen_architecture(space, choices[method], name)[0]


def check_projection(
    method: str,
    choices: dict[str, tuple[np.ndarray, np.ndarray]],
    costs: StagedCosts,
    limits: list[Limit],
) -> None:
    """Raises ValueError where the projection's network is over a limit, which is hard."""
    for limit, cost in zip(limits, costs.exact_cost(*choices[method]), strict=True):
        if cost > limit.limit:
            raise ValueError(
                f"projection {method!r} found a network with {limit.name} {cost:.6g}, over the "
                f"limit {limit.limit:.6g}; use --config.search.projection=exact, which keeps it."
            )


def chosen_architecture(
    space: SearchSpace, choice: tuple[np.ndarray, np.ndarray], name: str
) -> tuple[Architecture, list[int]]:
    """The architecture of a projection, and its depths [S]."""
    depth_entries, configurations = choice
    depths = [space.depths[s][entry] for s, entry in enumerate(depth_entries)]
    return space.architecture(depths, configurations.tolist(), name), depths


def search_record(
    config: Config,
    space: SearchSpace,
    costs: StagedCosts,
    limits: list[Limit],
    result: SearchResult,
    choices: dict[str, tuple[np.ndarray, np.ndarray]],
    one_shot_accuracy: float,
) -> dict[str, Any]:
    """What `search.json` holds.

    Args:
      config: the experiment.
      space: what was searched.
      costs, limits: the feasible set.
      result: of the search.
      choices: see `project_all`.
      one_shot_accuracy: of the found network with the supernet's weights, on test images.
    """
    method = config.search.projection
    exact = {name: costs.exact_cost(*choice) for name, choice in choices.items()}
    start = costs.expected_cost(result.start_alpha, result.start_beta)
    end = costs.expected_cost(result.alpha, result.beta)
    program_seconds = sum(row.get("program_seconds", 0.0) for row in result.history)
    _, depths = chosen_architecture(space, choices[method], config.name)
    return {
        "format": "keras_nas.search",
        "version": 1,
        "method": "hardcore_nas",
        "space": space.name,
        "space_fingerprint": space.fingerprint(),
        "seed": config.seed,
        "limits": {limit.name: limit.asked or limit.limit for limit in limits},
        "resources": {
            limit.name: dataclasses.asdict(limit)
            | {"start": start[r], "expected": end[r], "final": exact[method][r]}
            for r, limit in enumerate(limits)
        },
        "start": {"alpha": result.start_alpha.tolist(), "beta": result.start_beta.tolist()},
        "end": {"alpha": result.alpha.tolist(), "beta": result.beta.tolist()},
        "trajectory": [_trajectory_row(row) for row in result.history],
        "projection": {
            "method": method,
            "candidates": {name: _candidate(cost, limits) for name, cost in exact.items()},
        },
        "timing": {
            "gradient_seconds": result.history[-1]["seconds"] - program_seconds,
            "program_seconds": program_seconds,
        },
        "depths": depths,
        "configurations": choices[method][1].tolist(),
        "one_shot_accuracy": one_shot_accuracy,
    }


def _candidate(cost: np.ndarray, limits: list[Limit]) -> dict[str, Any]:
    keeps = all(cost[r] <= limit.limit for r, limit in enumerate(limits))
    return {limit.name: cost[r] for r, limit in enumerate(limits)} | {"keeps_limits": keeps}


def _trajectory_row(row: Metrics) -> dict[str, Any]:
    kept = {k: v for k, v in row.items() if k not in ("expected_cost", "updates_beta")}
    updated = "beta" if row["updates_beta"] > 0.5 else "alpha"
    return kept | {"latency_ms": row["expected_cost"], "updated": updated}
