"""`search.json`: how a search went; `projection.json`: the network that was read off it."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from keras_nas.config import Config
from keras_nas.measured_network import refitted_costs
from keras_nas.measured_projection import Projector, Round
from keras_nas.methods.frank_wolfe_search import SearchResult
from keras_nas.resources.limits import Limit, is_latency
from keras_nas.solvers.projection import METHODS, Choice
from keras_nas.solvers.staged_costs import StagedCosts
from keras_nas.space import Architecture, SearchSpace
from tpu.phase import Metrics


def training_record(history: list[Metrics], reached: float) -> dict[str, Any]:
    """A training stage's history and test accuracy."""
    seconds = history[-1]["seconds"] if history else 0.0
    return {"history": history, "accuracy": reached, "seconds": seconds}


def project_all(
    alpha: np.ndarray, beta: np.ndarray, costs: StagedCosts, limits: list[Limit]
) -> dict[str, Choice]:
    """Depth entries [S] and configurations [B] by every projection, for comparison (HC Table 2)."""
    latencies = [limit.limit for limit in limits if is_latency(limit.name)]
    return {
        method: Projector(alpha, beta, costs, limits, method).project(latencies)
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
    choices = project_all(result.alpha, result.beta, costs, limits)
    check_projection(method, choices[method], costs, limits)
    return chosen_architecture(space, choices[method], name)[0]


def check_projection(
    method: str, choice: Choice, costs: StagedCosts, limits: Sequence[Limit]
) -> None:
    """Raises ValueError where the projection's network is over a limit, which is hard."""
    for limit, cost in zip(limits, costs.exact_cost(*choice), strict=True):
        if cost > limit.limit:
            raise ValueError(
                f"projection {method!r} found a network with {limit.name} {cost:.6g}, over the "
                f"limit {limit.limit:.6g}; use --config.projection.method=exact, which keeps it."
            )


def chosen_architecture(
    space: SearchSpace, choice: Choice, name: str
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
) -> dict[str, Any]:
    """What `search.json` holds.

    Args:
      config: the experiment.
      space: what was searched.
      costs, limits: the feasible set.
      result: of the search.
    """
    start = costs.expected_cost(result.start_alpha, result.start_beta)
    end = costs.expected_cost(result.alpha, result.beta)
    peak_bytes = config.limits.peak_memory_bytes  # which no solver sees: it forbids choices
    memory = {} if peak_bytes is None else {"peak_memory_bytes": peak_bytes}
    program_seconds = sum(row.get("program_seconds", 0.0) for row in result.history)
    return {
        "format": "keras_nas.search",
        "version": 2,
        "method": "hardcore_nas",
        "space": space.name,
        "space_fingerprint": space.fingerprint(),
        "seed": config.seed,
        "limits": {limit.name: limit.limit for limit in limits} | memory,
        "resources": {
            limit.name: dataclasses.asdict(limit) | {"start": start[r], "expected": end[r]}
            for r, limit in enumerate(limits)
        },
        "start": {"alpha": result.start_alpha.tolist(), "beta": result.start_beta.tolist()},
        "end": {"alpha": result.alpha.tolist(), "beta": result.beta.tolist()},
        "trajectory": [_trajectory_row(row) for row in result.history],
        "timing": {
            "gradient_seconds": result.history[-1]["seconds"] - program_seconds,
            "program_seconds": program_seconds,
        },
    }


def read_probabilities(record: dict[str, Any], space: SearchSpace) -> tuple[np.ndarray, np.ndarray]:
    """Alpha [B, C] and beta [S, D] that the search of a `search.json` ended in.

    Raises:
      ValueError: the record is of another version or of another space.
    """
    if (record.get("format"), record.get("version")) != ("keras_nas.search", 2):
        raise ValueError(
            f"search record should have format 'keras_nas.search' and version 2, received "
            f"{record.get('format')!r} and {record.get('version')!r}; search again."
        )
    if record["space_fingerprint"] != space.fingerprint():
        raise ValueError(
            f"search record is of space {record['space']!r} ({record['space_fingerprint']}), not "
            f"of {space.name!r} ({space.fingerprint()}); search again."
        )
    end = record["end"]
    return np.array(end["alpha"], np.float64), np.array(end["beta"], np.float64)


def projection_record(
    method: str,
    costs: StagedCosts,
    limits: list[Limit],
    of_tables: list[Limit],
    candidates: dict[str, Choice],
    rounds: Sequence[Round],
    choice: Choice,
    one_shot_accuracy: float,
    held_out_accuracy: float,
) -> dict[str, Any]:
    """What `projection.json` holds; its "resources" are by the refitted tables.

    Args:
      method: of the projection.
      costs, limits: the feasible set, latency first.
      of_tables: see `measured_network.limits_of_tables`.
      candidates: see `project_all`.
      rounds: see `measured_projection.close_loop`.
      choice: depth entries [S] and configurations [B] of the result.
      one_shot_accuracy: of the result with the supernet's weights, on test images.
      held_out_accuracy: likewise on held-out images.
    """
    latency, of_table = limits[0], of_tables[0]
    final = refitted_costs(costs.exact_cost(*choice).tolist(), limits, of_tables)
    exact = {name: costs.exact_cost(*candidate) for name, candidate in candidates.items()}
    return {
        "format": "keras_nas.projection",
        "version": 1,
        "method": method,
        "resources": {limit.name: final[r] for r, limit in enumerate(limits)},
        "table_scale": 1.0 if latency == of_table else latency.limit / of_table.limit,
        "candidates": {name: _candidate(cost, limits) for name, cost in exact.items()},
        "rounds": [row.to_json_object() for row in rounds],
        "depths": [int(costs.depths[s, entry]) for s, entry in enumerate(choice[0])],
        "configurations": [int(c) for c in choice[1]],
        "one_shot_accuracy": one_shot_accuracy,
        "held_out_accuracy": held_out_accuracy,
    }


def _candidate(cost: np.ndarray, limits: list[Limit]) -> dict[str, Any]:
    keeps = all(cost[r] <= limit.limit for r, limit in enumerate(limits))
    return {limit.name: cost[r] for r, limit in enumerate(limits)} | {"keeps_limits": keeps}


def _trajectory_row(row: Metrics) -> dict[str, Any]:
    kept = {k: v for k, v in row.items() if k not in ("expected_cost", "updates_beta")}
    updated = "beta" if row["updates_beta"] > 0.5 else "alpha"
    return kept | {"latency_ms": row["expected_cost"], "updated": updated}
