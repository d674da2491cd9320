"""`RuntimeModel`: runtime of Single-Path NAS' gates (arXiv 1904.02877, section 3.3).

With c, k and s the running products of a block's expansion, kernel and squeeze-and-excitation gates
(k and s begin with 1), its runtime is

    R = sum_{e, i, j} c[e] k[i] s[j] d[e, i, j],

so it is differentiable in every gate, and each product adds what the next larger choice costs more.
All in float64, in milliseconds. Two forms of d, from the table t[e, i, j] of one block:

paper: eqs. 11 to 17. With E, K the largest expansion and kernel size, eq. 12 is the runtime of the
    expansions at K, eq. 13 multiplies it by t[E, i] / t[E, K], and eq. 17 adds
    squeeze-and-excitation at E and K. Of its entries it reads only those with E or K, and gives for
    the others 1.5% (at most 4.8%) too little or too much on the published table.
exact: mixed differences of the whole table, so that every decision has its own entry.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from keras_nas.resources.latency_table import LatencyTable
from keras_nas.space import Architecture, SearchSpace
from keras_nas.space.single_path import SINGLE_PATH
from keras_nas.space.single_path_gates import (
    Gates,
    gate_shapes,
    gates_of,
    gates_of_configurations,
)

Array = NDArray[np.float64]

FORMS = ("paper", "exact")

PIXEL1_FIXED_MS = 19.5999
"""What every network costs beside its searched blocks on a Pixel 1, in the authors' code."""


@dataclasses.dataclass(frozen=True, eq=False)
class RuntimeModel:
    """Runtime of a space's gates on one device.

    Attributes:
      space: what it belongs to.
      fixed_ms: what every network costs: all that is not searched.
      block_ms: [B, C] time of every block in every configuration.
      form: one of FORMS, see the top of this file.

    Raises:
      ValueError: an unknown form, or times of another shape or that are not above 0.
    """

    space: SearchSpace
    fixed_ms: float
    block_ms: Array
    form: str = "paper"

    def __post_init__(self) -> None:
        if self.form not in FORMS:
            raise ValueError(
                f"form of the runtime model should be one of {', '.join(FORMS)}, received "
                f"{self.form!r}."
            )
        shape = (len(self.space.stage_of_block), len(self.space.configurations))
        times = np.asarray(self.block_ms, np.float64)
        if times.shape != shape or not np.all((times > 0) & np.isfinite(times)):
            raise ValueError(
                f"the runtime model of space {self.space.name!r} needs milliseconds above 0 of "
                f"shape {shape} (blocks, configurations), received shape {times.shape}, smallest "
                f"{times.min(initial=math.inf):g}. Profile the device with this space."
            )

    @classmethod
    def from_table(
        cls, table: LatencyTable, space: SearchSpace, classes: int, form: str = "paper"
    ) -> RuntimeModel:
        """The runtime model of a device that was profiled.

        Raises:
          ValueError: the table was not made for this space or number of classes.
        """
        costs = table.cost_model(space, classes)
        return cls(space, costs.fixed, costs.block_costs, form)

    @functools.cached_property
    def differences(self) -> Array:
        """d [B, E, K, S]."""
        sizes = tuple(
            len(choices)
            for choices in (
                self.space.expansion_ratios,
                self.space.kernel_sizes,
                self.space.se_ratios,
            )
        )
        t = np.asarray(self.block_ms, np.float64).reshape(-1, *sizes)  # [B, E, K, S]
        if self.form == "exact":
            for axis in (1, 2, 3):
                t = _steps(t, axis)
            return t
        plain, largest = t[..., 0], t[:, -1, -1]  # [B, E, K] and [B, S]
        share = _steps(plain[:, -1], 1) / plain[:, -1, -1:]  # [B, K]
        found = np.zeros_like(t)
        found[..., 0] = _steps(plain[:, :, -1], 1)[:, :, None] * share[:, None]
        # Squeeze-and-excitation is added to the block, whatever else it is, unless it is skipped.
        found[:, 0, 0, 1:] = np.diff(largest, axis=1)
        return found

    def blocks_ms(self, gates: Gates) -> Array:
        """Runtime of every block, [B], for gates or shares of them in [0, 1].

        Raises:
          ValueError: gates of another space.
        """
        fields = []
        for field, shape in gate_shapes(self.space).items():
            values = np.asarray(getattr(gates, field), np.float64)
            if values.shape != shape:
                raise ValueError(
                    f"{field} gates of space {self.space.name!r} should have shape {shape}, "
                    f"received {values.shape}. Give the gates of this space."
                )
            fields.append(np.cumprod(values, axis=1))
        kernel, expansion, se = fields
        ones = np.ones((len(kernel), 1))
        return np.einsum(
            "be,bk,bs,beks->b",
            expansion,
            np.concatenate([ones, kernel], axis=1),
            np.concatenate([ones, se], axis=1),
            self.differences,
        )

    @functools.cached_property
    def configurations_ms(self) -> Array:
        """Runtime of every block in every configuration by this form, [B, C]."""
        blocks, count = len(self.space.stage_of_block), len(self.space.configurations)
        columns = (gates_of_configurations(self.space, [c] * blocks) for c in range(count))
        return np.stack([self.blocks_ms(gates) for gates in columns], axis=1)

    def expected_ms(self, gates: Gates) -> float:
        """Runtime of a network, ms (eq. 11).

        Raises:
          ValueError: gates of another space.
        """
        return self.fixed_ms + math.fsum(self.blocks_ms(gates))

    def choice_ms(self, configurations: Sequence[int] | NDArray[np.int64]) -> float:
        """Runtime of configurations [B], or `SKIP`, ms.

        Raises:
          ValueError: see `gates_of_configurations`.
        """
        return self.expected_ms(gates_of_configurations(self.space, configurations))

    def network_ms(self, architecture: Architecture) -> float:
        """Runtime of an architecture of the space, ms.

        Raises:
          ValueError: the architecture is not in the space.
        """
        return self.expected_ms(gates_of(self.space, architecture))


def _steps(values: Array, axis: int) -> Array:
    """Differences to the entry before along an axis; the first is itself."""
    return np.diff(values, axis=axis, prepend=0.0)


def pixel1_runtime(
    entries: Mapping[str, Any],
    space: SearchSpace = SINGLE_PATH,
    form: str = "paper",
    where: str = "runtime table",
) -> RuntimeModel:
    """The runtime model of the published Pixel 1 measurements.

    Args:
      entries: the authors' `pixel1_runtime_model.json`: block (1 to 20 are searched) -> operation
        (0: 3x3-3, 1: 3x3-6, 2: 5x5-3, 3: 5x5-6) -> ms. A table of another device also has
        "fixed_ms", what every network costs there beside its searched blocks.
      space: `SINGLE_PATH`, or one that differs in its name or in what may be skipped.
      form: see `RuntimeModel`.
      where: names the origin in errors.

    Raises:
      ValueError: another space, a block or operation that is missing, or no number above 0.
    """
    if (received := _measured_parts(space)) != (expected := _measured_parts(SINGLE_PATH)):
        field = next(name for name in expected if received[name] != expected[name])
        raise ValueError(
            f"{where} was measured for {field} {expected[field]}, and is asked for "
            f"{received[field]}. Profile a device with space {space.name!r} instead."
        )
    # Configurations are in the order expansion, kernel.
    order = ("0", "2", "1", "3")
    rows = []
    for b in range(1, len(space.stage_of_block) + 1):
        row = entries.get(str(b))
        if not isinstance(row, Mapping) or set(order) - set(row):
            raise ValueError(
                f"{where} lacks operations {', '.join(sorted(order))} of block {b}, or some of "
                "them. Download it anew."
            )
        rows.append([_milliseconds(row[o], f"{where}, block {b}, operation {o}") for o in order])
    fixed_ms = _milliseconds(entries.get("fixed_ms", PIXEL1_FIXED_MS), f"{where}, fixed_ms")
    return RuntimeModel(space, fixed_ms, np.array(rows), form)


def _measured_parts(space: SearchSpace) -> dict[str, object]:
    """What the published numbers were measured for; batch norm costs the same whatever it is."""
    parts = {
        field.name: getattr(space, field.name)
        for field in dataclasses.fields(space)
        if field.name not in ("name", "batch_norm")
    }
    parts["stages"] = tuple(dataclasses.replace(stage, min_depth=1) for stage in space.stages)
    return parts


def _milliseconds(value: object, where: str) -> float:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not 0 < value < math.inf:  # type: ignore[operator]
        raise ValueError(f"{where} should be milliseconds above 0, received {value!r}.")
    return float(value)  # type: ignore[arg-type]
