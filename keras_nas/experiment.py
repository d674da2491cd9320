"""What a configuration stands for: its space, costs and limits. Needs no TensorFlow."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from keras_nas import files
from keras_nas.config import LimitsConfig, OtherDeviceConfig, SpaceConfig
from keras_nas.config.ranges import SUMS
from keras_nas.resources import (
    CostModel,
    LatencyTable,
    cost_model,
    piece_macs,
    piece_parameters,
)
from keras_nas.resources.limits import Limit, check_limits, latency_on, range_table
from keras_nas.resources.memory_limit import AllowedChoices, allowed_by_memory
from keras_nas.resources.tflite_size import FILE_BYTES, FILE_PRECISIONS, piece_tflite_bytes
from keras_nas.solvers.relaxation import common_relaxation, feasible, smallest_within
from keras_nas.solvers.staged_costs import StagedCosts
from keras_nas.space import SPACES, TF_NAS_SPACES, SearchSpace, StagedSpace, TFNASSpace
from keras_nas.space.tf_nas_space import FORMAT as TF_NAS_FORMAT

NAMED: dict[str, StagedSpace] = {**SPACES, **TF_NAS_SPACES}
"""All search spaces that have a name."""


def load_space(config: SpaceConfig) -> StagedSpace:
    """The search space that a configuration names, with its overrides.

    Raises:
      ValueError: unknown name, damaged file, or bad overrides.
      FileNotFoundError: there is no such file.
    """
    kind, _, path = config.name.partition(":")
    if kind == "file" and path:
        space = _read_space(files.read_text(path, "search space"), f"search space {path}")
    elif config.name in NAMED:
        space = NAMED[config.name]
    else:
        raise ValueError(
            f"config.space.name should be one of {', '.join(NAMED)}, or file:PATH; received "
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
    space = _read_space(text, "config.space.overrides").scaled(config.width_multiplier)
    return dataclasses.replace(space, resolution=config.resolution)  # type: ignore[type-var]


def _read_space(text: str, where: str) -> StagedSpace:
    found = files.parse_json_object(text, where).get("format")
    kind = TFNASSpace if found == TF_NAS_FORMAT else SearchSpace
    return kind.from_json(text, where)


class OtherLatency(NamedTuple):
    """Latency on another than the first device: its name, its table, and the limit there."""

    device: str
    table: LatencyTable
    limit: OtherDeviceConfig


def limited_resources(
    space: SearchSpace,
    table: LatencyTable,
    limits: LimitsConfig,
    others: Sequence[OtherLatency] = (),
) -> tuple[list[CostModel], list[Limit]]:
    """Costs of every limited resource, and the limits, checked against the space.

    Args:
      space: what is searched.
      table: of the first device.
      limits: on latency there, and on resources that are the same on every device.
      others: latencies on other devices.

    Returns:
      Latency first, then that on other devices, then what else is limited.

    Raises:
      ValueError: a limit is below what the space can reach, or no network keeps all of them; the
        message then has the smallest relaxations that would do.
    """
    wanted = {name: getattr(limits, name) for name in SUMS if getattr(limits, name) is not None}
    models = [table.cost_model(space, table.classes)]
    models += [_other_model(space, table, other) for other in others]
    models += [_sum_model(space, table, name) for name in wanted]
    memory = memory_limit(space, table, limits)
    if memory:
        models = [memory.restrict(model) for model in models]
    on_devices: list[LimitsConfig | OtherDeviceConfig] = [limits, *(o.limit for o in others)]
    for model, limit in zip(models, on_devices, strict=False):
        wanted[model.name] = latency_limit(limit, model.smallest(), model.largest())
    checked = check_limits(models, wanted)
    if len(checked) > 1:
        _check_together(staged_costs(space, models), checked)
    return models, checked


def latency_limit(
    limits: LimitsConfig | OtherDeviceConfig, smallest: float, largest: float
) -> float:
    """The latency limit in ms, for a space with this range of latency; infinite where none is set.

    Raises:
      ValueError: there are several.
    """
    limit_ms, share = limits.latency_ms, limits.latency_fraction
    if isinstance(limit_ms, tuple) or isinstance(share, tuple):
        raise ValueError(
            f"received several latency limits, {limit_ms or share}; take one of "
            "LimitsConfig.each()."
        )
    if limit_ms is not None:
        return limit_ms
    if share is None:
        return math.inf
    # In this form a share of 1 is the largest latency exactly.
    return (1 - share) * smallest + share * largest


def memory_limit(
    space: SearchSpace, table: LatencyTable, limits: LimitsConfig
) -> AllowedChoices | None:
    """What a limit on peak memory leaves of the space; None where there is no such limit.

    Raises:
      ValueError: no network keeps it.
    """
    if limits.peak_memory_bytes is None:
        return None
    precision = file_precision(table)
    return allowed_by_memory(space, table.classes, precision, limits.peak_memory_bytes)


def _other_model(space: SearchSpace, table: LatencyTable, other: OtherLatency) -> CostModel:
    model = other.table.cost_model(space, table.classes)
    return dataclasses.replace(model, name=latency_on(other.device))


def _sum_model(space: SearchSpace, table: LatencyTable, name: str) -> CostModel:
    if name == "tflite_bytes":
        formula = piece_tflite_bytes(file_precision(table))
        return cost_model(space, formula, table.classes, name=name, overhead=FILE_BYTES)
    formulas = {"macs": piece_macs, "parameters": piece_parameters}
    return cost_model(space, formulas[name], table.classes, name=name)


def file_precision(table: LatencyTable) -> str:
    """Of the `.tflite` file that runs on the device; for other devices of the plain one."""
    return table.precision if table.precision in FILE_PRECISIONS else "float32"


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
    return StagedCosts(
        block_costs=np.stack([model.block_costs for model in models]),
        fixed=np.array([model.fixed for model in models]),
        stage_of_block=np.array(space.stage_of_block),
        depths=np.array(space.depths),
        allowed_alpha=models[0].allowed,
        allowed_beta=models[0].allowed_depths,
    )
