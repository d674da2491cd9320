"""Expected cost of a distribution over architectures (HC eq. 3), and the exact cost of one.

With alpha [B, C] the probabilities of every block's configurations and beta [S, D] those of every
stage's depths, block b of stage s runs with the probability that the depth reaches it, so

    LAT(alpha, beta) = fixed + sum_{s, d} beta[s, d] sum_{b < depth(s, d)} sum_c alpha[b, c] t[b, c]
                     = fixed + alpha^T Theta beta.

It holds for every additive resource: latency in ms, MACs, parameters. All in float64.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from keras_nas.space import Piece, StagedSpace

Array = NDArray[np.float64]


@dataclasses.dataclass(frozen=True)
class CostModel:
    """Cost of everything in one space, for one resource.

    Attributes:
      name: of the resource with its unit, e.g. `latency_ms`.
      fixed: cost of everything that is not searched.
      block_costs: [B, C] cost of block b in configuration c.
      reach: [B, S, D] 1 where depth entry d of stage s runs block b, else 0.
      allowed: [B, C] which configurations may be chosen.
      allowed_depths: [S, D] which entries of beta exist and may be chosen.
    """

    name: str
    fixed: float
    block_costs: Array
    reach: Array
    allowed: NDArray[np.bool_]
    allowed_depths: NDArray[np.bool_]

    def theta(self) -> Array:
        """Theta [B*C, S*D] of HC eq. 3."""
        blocks, choices = self.block_costs.shape
        product = self.block_costs[:, :, None, None] * self.reach[:, None]  # [B, C, S, D]
        return product.reshape(blocks * choices, -1)  # [B*C, S*D]

    def expected(self, alpha: Array, beta: Array) -> float:
        """LAT(alpha, beta), eq. 3."""
        return self.fixed + float(np.sum(self.alpha_costs(beta) * alpha))

    def alpha_costs(self, beta: Array) -> Array:
        """Gradient with respect to alpha, [B, C]: Theta beta."""
        runs = np.einsum("bsd,sd->b", self.reach, beta)
        return self.block_costs * runs[:, None]

    def beta_costs(self, alpha: Array) -> Array:
        """Gradient with respect to beta, [S, D]: alpha^T Theta."""
        return np.einsum("b,bsd->sd", np.sum(alpha * self.block_costs, axis=1), self.reach)

    def exact(self, depth_entries: Sequence[int], configurations: Sequence[int]) -> float:
        """Cost of one architecture: depth entry [S] of each stage, configuration [B] of each block
        (entries beyond the depth do not count)."""
        runs = sum(self.reach[:, s, d] for s, d in enumerate(depth_entries))
        chosen = self.block_costs[np.arange(len(configurations)), np.asarray(configurations)]
        return self.fixed + float(np.sum(np.where(np.asarray(runs) > 0, chosen, 0.0)))

    def smallest(self) -> float:
        """The lightest architecture's cost."""
        return self._extreme(np.min, np.inf)

    def largest(self) -> float:
        """The heaviest architecture's cost."""
        return self._extreme(np.max, -np.inf)

    def _extreme(self, choose: Callable[..., Array], never: float) -> float:
        per_block = choose(np.where(self.allowed, self.block_costs, never), axis=1)  # [B]
        per_depth = np.einsum("b,bsd->sd", per_block, self.reach)  # [S, D]
        rows = zip(per_depth, self.allowed_depths, strict=True)
        return self.fixed + float(sum(choose(row[allowed]) for row, allowed in rows))


def cost_model(
    space: StagedSpace,
    piece_cost: Callable[[Piece], float],
    classes: int,
    *,
    name: str,
    overhead: float = 0.0,
) -> CostModel:
    """Tabulates an additive resource over a space.

    Args:
      space: the search space.
      piece_cost: cost of one piece, e.g. `piece_macs`, or a latency table's entry.
      classes: number of classes, which the head's cost depends on.
      name: of the resource with its unit.
      overhead: cost of a network beyond its pieces.
    """
    fixed = overhead + float(sum(map(piece_cost, space.fixed_pieces(classes))))
    costs = [[piece_cost(piece) for piece in row] for row in space.block_pieces()]
    return staged_cost_model(space, costs, name=name, fixed=fixed)


def staged_cost_model(
    space: StagedSpace, block_costs: ArrayLike, *, name: str, fixed: float
) -> CostModel:
    """Costs [B, C] of a space's blocks with what its depths reach."""
    costs = np.asarray(block_costs, np.float64)
    allowed = np.ones(costs.shape, np.bool_)
    return CostModel(name, fixed, costs, reach(space), allowed, np.array(space.depths) > 0)


def reach(space: StagedSpace) -> Array:
    """[B, S, D] 1 where depth entry d of stage s runs block b, else 0."""
    depths = np.array(space.depths)  # [S, D]
    stage_of_block = np.array(space.stage_of_block)  # [B]
    index_in_stage = np.arange(len(stage_of_block)) - np.array(space.first_blocks)[stage_of_block]
    own_stage = stage_of_block[:, None] == np.arange(len(depths))  # [B, S]
    reached = index_in_stage[:, None, None] < depths  # [B, S, D]
    return (own_stage[:, :, None] & reached).astype(np.float64)  # [B, S, D]
