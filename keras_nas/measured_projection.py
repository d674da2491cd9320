"""Closes the loop from the device back to the projection, so that the measured network keeps T.

A latency table predicts to about a percent. So the projected network is measured; where measured
plus spread misses the limit, the table's calibration is refitted with it, which moves the limit on
the prediction, and the search's probabilities are projected again. Nothing is trained in between.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np

from keras_nas.resources.limits import Limit
from keras_nas.solvers.projection import Choice, project
from keras_nas.solvers.staged_costs import StagedCosts

Measured = TypeVar("Measured", bound="MeasuredNetwork")

UNUSED = 0.03
"""Share of the latency limit that, left unused, is worth another round."""


@dataclasses.dataclass(frozen=True)
class MeasuredNetwork:
    """One network on its way to the limit.

    Attributes:
      target_ms: limit on the predicted latency that it was made under.
      predicted_ms: by the latency table.
      measured_ms, spread_ms: on the device; spread is one standard deviation.
      credit: what is to be large among networks that keep the limit.
    """

    target_ms: float
    predicted_ms: float
    measured_ms: float
    spread_ms: float
    credit: float

    @property
    def upper_ms(self) -> float:
        """Measured plus spread, which has to keep the limit."""
        return self.measured_ms + self.spread_ms

    def uses_limit(self, limit_ms: float) -> bool:
        """Whether it keeps the limit and leaves at most `UNUSED` of it."""
        return (1 - UNUSED) * limit_ms <= self.upper_ms <= limit_ms

    def next_target_ms(self, limit_ms: float) -> float:
        """Limit on the prediction of the next network.

        The table's scale is refitted on this one, the nearest to it. The table as it was made has
        to keep the limit as well.
        """
        return limit_ms * min(1.0, self.predicted_ms / self.upper_ms)

    def to_json_object(self, limit_ms: float) -> dict[str, Any]:
        """For `projection.json`."""
        return dataclasses.asdict(self) | {"keeps_limit": self.upper_ms <= limit_ms}


@dataclasses.dataclass(frozen=True)
class Round(MeasuredNetwork):
    """One network that was projected and measured; its credit is what the projection maximises.

    Attributes:
      depth_entries, configurations: of every stage [S] and block [B].
    """

    depth_entries: tuple[int, ...]
    configurations: tuple[int, ...]

    def choice(self) -> Choice:
        """The network as the projection gives it."""
        return np.array(self.depth_entries), np.array(self.configurations)


class Projector:
    """Projects a search's probabilities under any limit on the first resource, the latency.

    Args:
      alpha, beta: probabilities [B, C] and [S, D] that the search ended in.
      costs, limits: the feasible set, latency first.
      method: see `solvers.projection`.
    """

    def __init__(
        self,
        alpha: np.ndarray,
        beta: np.ndarray,
        costs: StagedCosts,
        limits: Sequence[Limit],
        method: str,
    ):
        self._alpha, self._beta, self._costs, self._method = alpha, beta, costs, method
        self.limits = limits
        self.smallest_ms = float(costs.smallest_cost()[0])

    def project(self, target_ms: float) -> Choice:
        """The network under a limit on its predicted latency.

        Raises:
          InfeasibleError: there is none.
        """
        costs = self._costs
        return project(
            self._alpha,
            self._beta,
            block_costs=costs.block_costs,
            fixed=costs.fixed,
            limits=[target_ms, *(limit.limit for limit in self.limits[1:])],
            stage_of_block=costs.stage_of_block,
            depths=costs.depths,
            allowed_alpha=costs.allowed_alpha,
            allowed_beta=costs.allowed_beta,
            method=self._method,
        )

    def predicted_ms(self, choice: Choice) -> float:
        """Latency of a network by the table."""
        return float(self._costs.exact_cost(*choice)[0])

    def credit(self, choice: Choice) -> float:
        """sum beta + sum alpha; a block beyond the depth counts with its largest credit."""
        depth, configuration = choice
        stages, blocks = np.arange(len(depth)), np.arange(len(configuration))
        chosen = self._alpha[blocks, configuration]
        reached = self._costs.reached(depth)
        alpha = np.where(reached, chosen, self._alpha.max(axis=1))
        return float(self._beta[stages, depth].sum() + alpha.sum())


def close_loop(
    projector: Projector,
    measure: Callable[[Choice], tuple[float, float]],
    limit_ms: float,
    rounds: int,
) -> list[Round]:
    """Projects and measures until the limit is kept and little of it is unused.

    Args:
      projector: of the search's probabilities.
      measure: a network's latency on the device, and its spread, ms.
      limit_ms: what measured plus spread has to keep.
      rounds: at most.

    Returns:
      All rounds in order; `best_round` picks the result. It ends early when a round uses the limit
      but for UNUSED, or when the refitted table leads to a network that was measured before.
    """
    found: list[Round] = []
    target_ms = limit_ms
    while len(found) < rounds:
        target_ms = max(target_ms, projector.smallest_ms)
        choice = projector.project(target_ms)
        depth_entries, configurations = (tuple(map(int, part)) for part in choice)
        if (depth_entries, configurations) in [(r.depth_entries, r.configurations) for r in found]:
            break
        measured_ms, spread_ms = measure(choice)
        newest = Round(
            target_ms=target_ms,
            predicted_ms=projector.predicted_ms(choice),
            measured_ms=measured_ms,
            spread_ms=spread_ms,
            credit=projector.credit(choice),
            depth_entries=depth_entries,
            configurations=configurations,
        )
        found.append(newest)
        if newest.uses_limit(limit_ms):
            break
        target_ms = newest.next_target_ms(limit_ms)
    return found


def best_round(rounds: Sequence[Measured], limit_ms: float) -> Measured:
    """The network of largest credit that keeps the limit on the device.

    Raises:
      ValueError: none does.
    """
    kept = [row for row in rounds if row.upper_ms <= limit_ms]
    if kept:
        return max(kept, key=lambda row: row.credit)
    tried = "; ".join(
        f"{r.measured_ms:.4g} + {r.spread_ms:.2g} (predicted {r.predicted_ms:.4g})" for r in rounds
    )
    raise ValueError(
        f"none of the {len(rounds)} networks that were projected and measured keeps the limit "
        f"latency_ms <= {limit_ms:.6g} on the device; measured ms plus spread: {tried}. Raise the "
        "limit or config.projection.rounds, or keep the device free of other work."
    )
