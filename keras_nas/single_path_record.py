"""Single-Path NAS' `search.json`, how a search went, and `projection.json`, both its networks."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from keras_nas.config import Config, LimitsConfig
from keras_nas.measured_projection import Round
from keras_nas.methods.single_path_projection import FoundNetwork
from keras_nas.methods.supernet_training import SinglePathResult
from keras_nas.resources import CostModel
from keras_nas.resources.limits import Limit
from keras_nas.space import SearchSpace
from keras_nas.space.single_path_gates import (
    SKIP,
    Gates,
    architecture_of_configurations,
    gate_names,
    gate_shapes,
)
from tpu.phase import Metrics

METHOD = "single_path"
_FORMAT, _VERSION = "keras_nas.search", 2


def search_record(
    config: Config, space: SearchSpace, result: SinglePathResult, accuracy: Mapping[str, float]
) -> dict[str, Any]:
    """What `search.json` holds. It has no limits: a search keeps none, and one is projected to any.

    Args:
      config: the experiment.
      space: what was searched.
      result: of the search.
      accuracy: of the supernet with its decisions, "held_out" and "test".
    """
    found = architecture_of_configurations(space, result.configurations, "search")
    settings = config.single_path
    return {
        "format": _FORMAT,
        "version": _VERSION,
        "method": METHOD,
        "space": space.name,
        "space_fingerprint": space.fingerprint(),
        "seed": config.seed,
        "runtime": {
            "table": settings.runtime_table or "latency_table.json",
            "form": settings.runtime_form,
            "weight": settings.runtime_weight,
        },
        "formulation": settings.formulation,
        "gates": gate_names(space),
        "trajectory": [_trajectory_row(space, row) for row in result.history],
        "end": {
            "runtime_ms": result.runtime_ms,
            "configurations": result.configurations.tolist(),
            "margins": {
                field: np.asarray(getattr(result.margins, field), float).tolist()
                for field in gate_shapes(space)
            },
        },
        "evaluated": result.evaluated,
        "accuracy": dict(accuracy),
        "found": json.loads(found.to_json()),
    }


def _trajectory_row(space: SearchSpace, row: Metrics) -> dict[str, Any]:
    """A row of the history, with norms and thresholds of gates as lists: field -> [B][gates].

    Random search has none.
    """
    shapes = gate_shapes(space)
    blocks = len(space.stage_of_block)

    def nested(what: str) -> dict[str, list[list[float]]]:
        return {
            field: [[row[f"block_{b}_{field}_{g}_{what}"] for g in range(gates)] for b in range(n)]
            for field, (n, gates) in shapes.items()
        }

    plain = {key: value for key, value in row.items() if not key.startswith("block_")}
    if "block_0_configuration" not in row:
        return plain
    return plain | {
        "configurations": [int(row[f"block_{b}_configuration"]) for b in range(blocks)],
        "norms": nested("norm"),
        "thresholds": nested("threshold"),
    }


def read_margins(record: Mapping[str, Any], space: SearchSpace) -> Gates:
    """The margins that the search of a `search.json` ended in.

    Raises:
      ValueError: the record is of another version, method or space.
    """
    expected = {
        "format": _FORMAT,
        "version": _VERSION,
        "method": METHOD,
        "space_fingerprint": space.fingerprint(),
    }
    for field, value in expected.items():
        if record.get(field) != value:
            raise ValueError(
                f"search record should have {field} {value!r}, received {record.get(field)!r}; "
                "search again."
            )
    rows = record["end"]["margins"]
    return Gates(**{field: np.array(rows[field], np.float64) for field in gate_shapes(space)})


def projection_record(
    models: Sequence[CostModel],
    limits: Sequence[Limit],
    settings: LimitsConfig,
    found: Mapping[str, FoundNetwork],
    extra: Mapping[str, Mapping[str, Any]],
    rounds: Sequence[Round],
    table_scale: float,
) -> dict[str, Any]:
    """What `projection.json` holds; the latency of "exact" is by the refitted table.

    Args:
      models, limits: of every resource that is known, latency first.
      settings: the limits as they were asked for.
      found: "search", the network of the gates as they are, and "exact", the one that is used.
      extra: what else is known of each, for instance its accuracy.
      rounds: see `measured_projection.close_loop`.
      table_scale: factor of the refitted table.
    """
    used = found["exact"]
    bounds = {limit.name: limit.limit for limit in limits if math.isfinite(limit.limit)}
    if settings.peak_memory_bytes is not None:
        bounds["peak_memory_bytes"] = settings.peak_memory_bytes
    return {
        "format": "keras_nas.projection",
        "version": 1,
        "method": "exact",
        "limits": bounds,
        "ranges": {
            limit.name: _range(limit) | {"expected": found["search"].costs[limit.name]}
            for limit in limits
        },
        "resources": used.costs,
        "table_scale": table_scale,
        "candidates": {
            name: row.costs
            | {
                "keeps_limits": row.keeps_limits,
                "skipped_blocks": int(np.sum(row.configurations == SKIP)),
                "configurations": row.configurations.tolist(),
            }
            | dict(extra[name])
            for name, row in found.items()
        },
        "rounds": [row.to_json_object() for row in rounds],
        "configurations": used.configurations.tolist(),
        "one_shot_accuracy": extra["exact"]["one_shot_accuracy"],
    }


def _range(limit: Limit) -> dict[str, float | None]:
    row = dataclasses.asdict(limit)
    return row if math.isfinite(limit.limit) else row | {"limit": None}
