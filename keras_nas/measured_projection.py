"""Closes the loop from the device back to the projection, so that the measured network keeps T.

A latency table predicts to about a percent. So the projected network is measured; where measured
plus spread misses the limit, or leaves much of it unused, the table is refitted on it by one
factor, which moves the limit on the prediction, and the search's probabilities are projected again.
The result keeps the limit exactly by the table as it was refitted last, and on the device. Nothing
is trained in between. Several devices, each with its limit and table, take part in the same rounds.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from keras_nas.measured_network import Measure, MeasuredNetwork, OnDevice, measured_twice
from keras_nas.resources.limits import Limit, is_latency
from keras_nas.solvers.polytope import InfeasibleError
from keras_nas.solvers.projection import Choice, project
from keras_nas.solvers.staged_costs import StagedCosts


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
    """Projects a search's probabilities under any limits on the latencies.

    Args:
      alpha, beta: probabilities [B, C] and [S, D] that the search ended in.
      costs, limits: the feasible set, the latencies first, see `is_latency`.
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
        self.latencies = [limit for limit in limits if is_latency(limit.name)]
        self._others = [limit.limit for limit in limits[len(self.latencies) :]]
        self.smallest_ms = costs.smallest_cost()[: len(self.latencies)].tolist()

    def project(self, targets_ms: Sequence[float]) -> Choice:
        """The network under limits on its predicted latency, one a device.

        Raises:
          InfeasibleError: there is none.
        """
        costs = self._costs
        return project(
            self._alpha,
            self._beta,
            block_costs=costs.block_costs,
            fixed=costs.fixed,
            limits=[*targets_ms, *self._others],
            stage_of_block=costs.stage_of_block,
            depths=costs.depths,
            allowed_alpha=costs.allowed_alpha,
            allowed_beta=costs.allowed_beta,
            method=self._method,
        )

    def predicted_ms(self, choice: Choice) -> list[float]:
        """Latency of a network by the table of each device."""
        return self._costs.exact_cost(*choice)[: len(self.latencies)].tolist()

    def credit(self, choice: Choice) -> float:
        """sum beta + sum alpha; a block beyond the depth counts with its largest credit."""
        depth, configuration = choice
        stages, blocks = np.arange(len(depth)), np.arange(len(configuration))
        chosen = self._alpha[blocks, configuration]
        reached = self._costs.reached(depth)
        alpha = np.where(reached, chosen, self._alpha.max(axis=1))
        return float(self._beta[stages, depth].sum() + alpha.sum())


def close_loop(
    projector: Projector, measures: Sequence[Measure[Choice]], rounds: int
) -> list[Round]:
    """Projects and measures until every limit is kept and little of one is unused.

    Args:
      projector: of the search's probabilities.
      measures: of each device.
      rounds: at most.

    Returns:
      All rounds in order; `best_round` picks the result. It ends early when a round uses a limit
      but for UNUSED, when the refitted tables lead to a network that was measured before, or when
      no network keeps them together.
    """
    found: list[Round] = []
    targets_ms = [limit.limit for limit in projector.latencies]
    while len(found) < rounds:
        targets_ms = list(map(max, targets_ms, projector.smallest_ms))
        try:
            choice = projector.project(targets_ms)
        except InfeasibleError:
            if not found:
                raise
            break
        depth_entries, configurations = (tuple(map(int, part)) for part in choice)
        if (depth_entries, configurations) in [(r.depth_entries, r.configurations) for r in found]:
            break
        first, *others = (
            OnDevice(
                limit.limit,
                target_ms,
                predicted_ms,
                *measured_twice(measure, choice, limit.limit),
            )
            for limit, target_ms, predicted_ms, measure in zip(
                projector.latencies,
                targets_ms,
                projector.predicted_ms(choice),
                measures,
                strict=True,
            )
        )
        names = [limit.name for limit in projector.latencies[1:]]
        newest = Round(
            **vars(first),
            credit=projector.credit(choice),
            depth_entries=depth_entries,
            configurations=configurations,
            others=dict(zip(names, others, strict=True)),
        )
        found.append(newest)
        if newest.uses_limits:
            break
        targets_ms = [device.next_target_ms for device in newest.devices]
    return found
