"""TF-NAS' `search.json`, how a search went, and `projection.json`, the network it found, scaled."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from keras_nas.measured_scaling import ScalingRound
from keras_nas.resources.limits import Limit
from keras_nas.space import Architecture, TFNASSpace

METHOD = "elasticity_scaling"
_FORMAT, _VERSION = "keras_nas.search", 2


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
) -> dict[str, Any]:
    """What `projection.json` holds.

    Args:
      limit: on latency.
      found_ms: predicted latency of the network as the search found it.
      predicted_ms: of the result.
      rounds: see `measured_scaling.close_scaling_loop`.
    """
    candidates = {"search": found_ms, METHOD: predicted_ms}
    return {
        "format": "keras_nas.projection",
        "version": 1,
        "method": METHOD,
        "resources": {limit.name: predicted_ms},
        "candidates": {
            name: {limit.name: ms, "keeps_limits": ms <= limit.limit}
            for name, ms in candidates.items()
        },
        "rounds": [row.to_json_object(limit.limit) for row in rounds],
    }
