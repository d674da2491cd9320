"""`WidthLatency`: latency of a TF-NAS space with widths as continuous arguments.

The time of an operation is piecewise linear in its width between measured knots, or follows that
line in stairs (`between_knots`), and undefined outside them. With probabilities alpha of the
operations and beta of the depths a network's latency is that of TF-NAS, arXiv 2008.05314, section
3.3: a stage of depth l costs its first l blocks,

    LAT(alpha, beta, w) = fixed + sum_{s, l} beta[s, l] sum_{b < l, o} alpha[b, o] t[b, o](w[b, o])

All in float64, in milliseconds.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from keras_nas.resources.between_knots import in_stairs
from keras_nas.resources.expected_cost import CostModel, staged_cost_model
from keras_nas.resources.latency_table import LatencyTable
from keras_nas.resources.limits import Limit, check_ranges
from keras_nas.space import TFNASSpace, Widths
from keras_nas.space.pieces import piece_after

Array = NDArray[np.float64]


@dataclasses.dataclass(frozen=True, eq=False)
class Curve:
    """Time of one operation in one block, by its width.

    Attributes:
      widths: knots, ascending.
      ms: time at the knots.
    """

    widths: Array
    ms: Array


@dataclasses.dataclass(frozen=True, eq=False)
class WidthLatency:
    """Latency of a TF-NAS space on one device.

    Attributes:
      space: what it belongs to.
      fixed_ms: what every network costs: all that is not searched.
      curves: [B][O] time of every operation in every block.
      width_step: channels that the runtime computes together, see `between_knots`.
    """

    space: TFNASSpace
    fixed_ms: float
    curves: tuple[tuple[Curve, ...], ...]
    width_step: int = 1

    @classmethod
    def from_table(cls, table: LatencyTable, space: TFNASSpace, classes: int) -> WidthLatency:
        """Latency by width from a table that was measured at the space's knots.

        Raises:
          ValueError: the table was not made for this space or number of classes.
        """
        table.check_space(space, classes)
        fixed = math.fsum(map(table.piece_ms, space.fixed_pieces(classes)))
        curves = []
        for b, shape in enumerate(space.block_input_shapes):
            row = []
            for o in range(len(space.operations)):
                knots = space.knots(b, o)
                parts = [piece_after(shape, space.block(b, o, width)) for width in knots]
                times = np.array([table.piece_ms(part) for part in parts])
                row.append(Curve(np.array(knots, np.float64), times))
            curves.append(tuple(row))
        return cls(space, table.overhead_ms + fixed, tuple(curves), table.width_step)

    def block_ms(self, block: int, operation: int, width: float) -> float:
        """Time of an operation in a block, ms.

        Raises:
          ValueError: the width is not between the smallest and the largest knot.
        """
        curve = self.curves[block][operation]
        if not curve.widths[0] <= width <= curve.widths[-1]:
            raise ValueError(
                f"latency of operation {self.space.operations[operation].name} in block {block} is "
                f"known for widths {curve.widths[0]:g} to {curve.widths[-1]:g}, received "
                f"{width:g}. Choose a width inside the space's bounds."
            )
        return in_stairs(width, curve.widths, curve.ms, self.width_step)

    def operation_ms(self, widths: ArrayLike) -> Array:
        """Time [B, O] of every operation at widths [B, O], ms, float64.

        Raises:
          ValueError: another shape, or a width outside the knots.
        """
        array = np.asarray(widths)
        shape = (len(self.curves), len(self.curves[0]))
        if array.shape != shape:
            raise ValueError(
                f"widths should have shape {shape} (blocks, operations), received {array.shape}."
            )
        return np.array(
            [[self.block_ms(b, o, width) for o, width in enumerate(row)]
             for b, row in enumerate(array)]
        )  # fmt: skip

    def cost_model(self, widths: ArrayLike) -> CostModel:
        """Costs [B, O] at these widths, named `latency_ms`."""
        costs = self.operation_ms(widths)
        return staged_cost_model(self.space, costs, name="latency_ms", fixed=self.fixed_ms)

    def expected_ms(self, alpha: ArrayLike, beta: ArrayLike, widths: ArrayLike) -> float:
        """Expected latency, ms.

        Args:
          alpha: [B, O] probabilities of operations.
          beta: [S, D] probabilities of depths; column d stands for depth min_depth + d.
          widths: [B, O].
        """
        model = self.cost_model(widths)
        return model.expected(np.asarray(alpha, np.float64), np.asarray(beta, np.float64))

    def expected_ms_gradient(
        self, alpha: ArrayLike, beta: ArrayLike, widths: ArrayLike
    ) -> tuple[Array, Array]:
        """Gradient of `expected_ms` with respect to alpha [B, O] and beta [S, D]."""
        model = self.cost_model(widths)
        alpha_gradient = model.alpha_costs(np.asarray(beta, np.float64))
        return alpha_gradient, model.beta_costs(np.asarray(alpha, np.float64))

    def network_ms(
        self, operations: Sequence[int], depths: Sequence[int] | None, widths: ArrayLike
    ) -> float:
        """Latency of one network, ms; arguments as of `TFNASSpace.architecture`.

        Raises:
          ValueError: wrong lengths, or a value outside the space.
        """
        array = self.space.check_widths(widths)
        return self.blocks_ms(operations, self.space.chosen_blocks(operations, depths), array)

    def blocks_ms(self, operations: Sequence[int], blocks: Sequence[int], widths: Widths) -> float:
        """Latency of a network that has these blocks, of `operations` [B] and `widths` [B, O].

        Raises:
          ValueError: a width outside the knots.
        """
        times = (self.block_ms(b, operations[b], widths[b, operations[b]]) for b in blocks)
        return math.fsum((self.fixed_ms, *times))

    def range_ms(self) -> tuple[float, float]:
        """Latency of the fastest and of the slowest network of the space, ms."""
        # Linear between knots, so that extremes are at knots.
        fastest, slowest = (
            staged_cost_model(
                self.space,
                [[choose(curve.ms) for curve in row] for row in self.curves],
                name="latency_ms",
                fixed=self.fixed_ms,
            )
            for choose in (np.min, np.max)
        )
        return fastest.smallest(), slowest.largest()

    def check_target(self, target_ms: float) -> Limit:
        """Checks that the space has a network that keeps a target, see `check_ranges`.

        Returns:
          The target as a limit named `latency_ms`; typical is uniform at initial widths.

        Raises:
          ValueError: the target is below the fastest network; both ends are named.

        Warns:
          UserWarning: the target is above the slowest network and so does not bind.
        """
        fastest, slowest = self.range_ms()
        model = self.cost_model(self.space.initial_widths())
        alpha = np.full(model.block_costs.shape, 1 / model.block_costs.shape[1])
        allowed = model.allowed_depths
        typical = model.expected(alpha, allowed / allowed.sum(axis=1, keepdims=True))
        limit = Limit("latency_ms", float(target_ms), fastest, typical, slowest)
        check_ranges([limit])
        return limit
