"""TF-NAS' `search.json`, how a search went, and `projection.json`, the network it found, scaled."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from keras_nas.config import Config
from keras_nas.measured_scaling import ScalingRound
from keras_nas.methods.tf_nas import TFNASResult
from keras_nas.methods.tf_nas_trajectory import EpochRecord
from keras_nas.resources.limits import Limit
from keras_nas.space import Architecture, TFNASSpace
from tpu.phase import Metrics

METHOD = "elasticity_scaling"
_FORMAT, _VERSION = "keras_nas.search", 2


def search_record(
    config: Config, space: TFNASSpace, limit: Limit, result: TFNASResult
) -> dict[str, Any]:
    """What `search.json` holds.

    Args:
      config: the experiment.
      space: what was searched.
      limit: on latency.
      result: of the search.
    """
    rows = [row for row in result.history if "expected_ms" in row]  # those after the first epochs
    end = result.epochs[-1]
    return {
        "format": _FORMAT,
        "version": _VERSION,
        "method": "tf_nas",
        "space": space.name,
        "space_fingerprint": space.fingerprint(),
        "seed": config.seed,
        "limits": {limit.name: limit.limit},
        "resources": {
            limit.name: dataclasses.asdict(limit)
            | {"start": rows[0]["expected_ms"], "expected": rows[-1]["expected_ms"]}
        },
        "start": {"alpha": _uniform(end.alpha), "beta": _uniform(end.beta)},
        "end": {"alpha": end.alpha.tolist(), "beta": end.beta.tolist()},
        "trajectory": [_trajectory_row(row) for row in rows],
        "epochs": [_epoch_row(row) for row in result.epochs],
        "found": json.loads(result.architecture.to_json()),
    }


def _uniform(probabilities: np.ndarray) -> list[list[float]]:
    """Where a search starts: all entries that it can choose are equally probable."""
    possible = probabilities > 0
    return (possible / possible.sum(axis=1, keepdims=True)).tolist()


def _trajectory_row(row: Metrics) -> dict[str, Any]:
    """A row of the history; loss and accuracy are those on the held-out images."""
    renamed = {"weight_loss": row["loss"], "weight_accuracy": row["accuracy"]}
    renamed |= {"loss": row["architecture_loss"], "accuracy": row["architecture_accuracy"]}
    return row | renamed | {"latency_ms": row["expected_ms"]}


def _epoch_row(epoch: EpochRecord) -> dict[str, Any]:
    return {
        "epoch": epoch.epoch,
        "operations": epoch.operations.tolist(),
        "kept": epoch.kept.tolist(),
        "before_ms": epoch.before_ms,
        "latency_ms": epoch.latency_ms,
        "widths": epoch.widths.tolist(),
    }


def read_found(record: dict[str, Any], space: TFNASSpace) -> Architecture:
    """The network that the search of a `search.json` found.

    Raises:
      ValueError: the record is of another version, method or space.
    """
    expected = {
        "format": _FORMAT,
        "version": _VERSION,
        "method": "tf_nas",
        "space_fingerprint": space.fingerprint(),
    }
    for field, value in expected.items():
        if record.get(field) != value:
            raise ValueError(
                f"search record should have {field} {value!r}, received {record.get(field)!r}; "
                "search again."
            )
    return Architecture.from_json(json.dumps(record["found"]), "search record, found network")


def scaling_record(
    limit: Limit,
    found_ms: float,
    predicted_ms: float,
    rounds: Sequence[ScalingRound],
    table_scale: float,
) -> dict[str, Any]:
    """What `projection.json` holds.

    Args:
      limit: on latency.
      found_ms: predicted latency of the network as the search found it.
      predicted_ms: of the result, by the table as it was refitted on what was measured.
      rounds: see `measured_scaling.close_scaling_loop`.
      table_scale: factor of the refitted table.
    """
    candidates = {"search": found_ms, METHOD: predicted_ms}
    return {
        "format": "keras_nas.projection",
        "version": 1,
        "method": METHOD,
        "resources": {limit.name: predicted_ms},
        "table_scale": table_scale,
        "candidates": {
            name: {limit.name: ms, "keeps_limits": ms <= limit.limit}
            for name, ms in candidates.items()
        },
        "rounds": [row.to_json_object() for row in rounds],
    }
