"""Costs of stages of blocks: block b of stage s counts where the depth reaches it (HC eq. 3)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from keras_nas.solvers.polytope import check_allowed

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class StagedCosts:
    """What every choice of depth and configuration costs, in several resources.

    Attributes:
      block_costs: float64 [R, B, C], in the unit of the limits; 0 where not allowed.
      fixed: float64 [R], cost of what is not chosen.
      stage_of_block: int [B], not falling.
      depths: int [S, D], how many blocks of the stage run at each entry of beta.
      allowed_alpha: bool [B, C]. Default: all.
      allowed_beta: bool [S, D]. Default: all.

    Raises:
      ValueError: if shapes disagree, a cost is not finite, or a depth is larger than its stage.
    """

    block_costs: Array
    fixed: Array
    stage_of_block: NDArray[np.intp]
    depths: NDArray[np.intp]
    allowed_alpha: NDArray[np.bool_]
    allowed_beta: NDArray[np.bool_]

    def __init__(
        self,
        block_costs: ArrayLike,
        fixed: ArrayLike,
        stage_of_block: ArrayLike,
        depths: ArrayLike,
        allowed_alpha: ArrayLike | None = None,
        allowed_beta: ArrayLike | None = None,
    ):
        block_costs = np.asarray(block_costs, np.float64)
        fixed = np.atleast_1d(np.asarray(fixed, np.float64))
        stage_of_block, depths = np.asarray(stage_of_block), np.asarray(depths)
        if block_costs.ndim != 3 or fixed.shape != block_costs.shape[:1]:
            raise ValueError(
                "block_costs and fixed must have shapes [R, B, C] and [R]; "
                f"received {block_costs.shape} and {fixed.shape}."
            )
        if depths.ndim != 2 or stage_of_block.shape != block_costs.shape[1:2]:
            raise ValueError(
                f"stage_of_block and depths must have shapes [{block_costs.shape[1]}] and [S, D]; "
                f"received {stage_of_block.shape} and {depths.shape}."
            )
        stages = np.arange(len(depths))
        if np.any(np.diff(stage_of_block) < 0) or not np.isin(stage_of_block, stages).all():
            raise ValueError(
                f"stage_of_block must rise from 0 to at most {len(depths) - 1}; "
                f"received {stage_of_block.tolist()}."
            )
        allowed_alpha = check_allowed("allowed_alpha", allowed_alpha, block_costs.shape[1:])
        allowed_beta = check_allowed("allowed_beta", allowed_beta, depths.shape)
        blocks = np.count_nonzero(stage_of_block == stages[:, None], axis=1)  # [S]
        if np.any(allowed_beta & ((depths < 0) | (depths > blocks[:, None]))):
            raise ValueError(
                f"depths must lie between 0 and the stages' blocks {blocks.tolist()}; "
                f"received {depths.tolist()}."
            )
        block_costs = np.where(allowed_alpha, block_costs, 0.0)
        if not (np.isfinite(block_costs).all() and np.isfinite(fixed).all()):
            raise ValueError("block_costs and fixed must be finite; received NaN or infinity.")
        object.__setattr__(self, "block_costs", block_costs)
        object.__setattr__(self, "fixed", fixed)
        object.__setattr__(self, "stage_of_block", stage_of_block)
        object.__setattr__(self, "depths", depths)
        object.__setattr__(self, "allowed_alpha", allowed_alpha)
        object.__setattr__(self, "allowed_beta", allowed_beta)

    def runs(self) -> NDArray[np.bool_]:
        """Whether block b runs at depth entry d of its own stage: bool [B, D]."""
        first = np.searchsorted(self.stage_of_block, self.stage_of_block)  # [B]
        position = np.arange(self.stage_of_block.size) - first  # [B]
        return position[:, None] < self.depths[self.stage_of_block]

    def depth_sums(self, values: Array) -> Array:
        """Sums of block values [R, B] over the blocks that each depth runs: float64 [R, S, D]."""
        own_stage = self.stage_of_block == np.arange(len(self.depths))[:, None]  # [S, B]
        run_values = values[:, :, None] * self.runs()  # [R, B, D]
        return own_stage.astype(np.float64) @ run_values  # [R, S, D]

    def reached(self, depth: ArrayLike) -> NDArray[np.bool_]:
        """Whether each block runs when stage s takes its depth entry depth[s]: bool [B]."""
        entry = np.asarray(depth)[self.stage_of_block]  # [B]
        return self.runs()[np.arange(entry.size), entry]

    def reach(self, beta: Array) -> Array:
        """Probability that each block runs under `beta` [S, D]: float64 [B]."""
        return np.sum(beta[self.stage_of_block] * self.runs(), axis=1)

    def alpha_costs(self, beta: Array) -> Array:
        """Expected cost of each entry of alpha under `beta` [S, D]: float64 [R, B, C]."""
        return self.block_costs * self.reach(beta)[:, None]

    def beta_costs(self, alpha: Array) -> Array:
        """Expected cost of each entry of beta under `alpha` [B, C]: float64 [R, S, D]."""
        return self.depth_sums(np.sum(self.block_costs * alpha, axis=2))

    def expected_cost(self, alpha: Array, beta: Array) -> Array:
        """HC eq. 3 for `alpha` [B, C] and `beta` [S, D]: float64 [R]."""
        return self.fixed + np.sum(self.alpha_costs(beta) * alpha, axis=(1, 2))

    def exact_cost(self, depth: ArrayLike, configuration: ArrayLike) -> Array:
        """Cost of one network, correctly rounded (math.fsum): float64 [R].

        `depth` is int [S], an entry of `depths` for each stage; `configuration` is int [B].
        """
        block = np.flatnonzero(self.reached(depth))  # [reached]
        chosen = self.block_costs[:, block, np.asarray(configuration)[block]]  # [R, reached]
        return np.array([math.fsum([f, *row]) for f, row in zip(self.fixed, chosen, strict=True)])

    def smallest_cost(self) -> Array:
        """Smallest cost of a network, each resource by itself: float64 [R]."""
        return np.array([self.exact_cost(*self._cheapest(r, 1.0))[r] for r in self._resources()])

    def largest_cost(self) -> Array:
        """Largest cost of a network, each resource by itself: float64 [R]."""
        return np.array([self.exact_cost(*self._cheapest(r, -1.0))[r] for r in self._resources()])

    def lightest(self) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """The network of smallest cost in the first resource: entries int [S], int [B]."""
        return self._cheapest(0, 1.0)

    def _cheapest(self, resource: int, sign: float) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """The network of smallest cost in a resource, or of largest with sign -1."""
        signed = np.where(self.allowed_alpha, sign * self.block_costs[resource], np.inf)  # [B, C]
        depth_costs = self.depth_sums(signed.min(axis=1)[None])[0]  # [S, D]
        depth_costs = np.where(self.allowed_beta, depth_costs, np.inf)
        return depth_costs.argmin(axis=1), signed.argmin(axis=1)

    def _resources(self) -> range:
        return range(len(self.block_costs))
