"""The best network under one limit, exactly: a multiple-choice knapsack over blocks and depths.

A dynamic program over the blocks keeps the networks begun that no other one equals in gain at no
more cost, and of these only the ones that may still beat a known network: a price on the resource
lets the rest of the network fall apart into rows, which bounds its gain from above (Dyer, Riha
and Walker, 1995). On 20 blocks of 12 configurations some tens of them are left.
"""

from __future__ import annotations

import warnings
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from keras_nas.solvers.polytope import ROUNDING
from keras_nas.solvers.staged_costs import StagedCosts

Array = NDArray[np.float64]
Integers = NDArray[np.intp]
Choice = tuple[Integers, Integers]

# Some hundreds are needed, but for gains in proportion to costs, where hardly any network beats
# another one.
MAX_STATES = 5_000
_FIRST_GAP = 1e-6  # of the largest gain of an entry
_DOUBLINGS = 60
_HALVINGS = 20


class _States(NamedTuple):
    """Networks begun, N of them."""

    gain: Array  # [N]
    cost: Array  # [N]
    depth: Integers  # [N, S]
    configuration: Integers  # [N, B]

    def take(self, index: NDArray) -> _States:
        return _States(*(field[index] for field in self))


class _Priced(NamedTuple):
    """Gains less the price of the cost, -inf where not allowed, and the best choice by them."""

    price: float
    best_of_block: Array  # [B]
    of_depth: Array  # [S, D], with the best of every block that the depth reaches
    depth: Integers  # [S]
    configuration: Integers  # [B]


def best_network(gain_alpha: Array, gain_beta: Array, costs: StagedCosts, limit: float) -> Choice:
    """The network of largest gain, of its depths and of the blocks that they reach.

    Where gains are so nearly in proportion to costs that more than MAX_STATES networks would have
    to be compared at once, it settles for a network that is proven to be within a small gap of
    the largest gain, and warns with the gap.

    Args:
      gain_alpha: float64 [B, C], finite where allowed.
      gain_beta: float64 [S, D], finite where allowed.
      costs: with one resource.
      limit: at least the smallest cost of a network.

    Returns:
      Depth entries int [S] and configurations int [B], of exact cost at most `limit`.
      Configurations of blocks that are not reached mean nothing.
    """
    priced = _at_smallest_price(gain_alpha, gain_beta, costs, limit)
    known = priced.depth, priced.configuration
    if costs.exact_cost(*known)[0] > limit:  # costs that differ by less than prices can tell
        known = costs.lightest()
    known = known[0], _improved(*known, gain_alpha, costs, limit)
    found = _better_network(gain_alpha, gain_beta, costs, limit, priced, known, 0.0)
    gains = np.concatenate([gain_alpha[costs.allowed_alpha], gain_beta[costs.allowed_beta]])
    gap = _FIRST_GAP * float(np.abs(gains).max())
    while found is None:
        found = _better_network(gain_alpha, gain_beta, costs, limit, priced, known, gap)
        if found is not None:
            warnings.warn(
                "Gains are nearly in proportion to costs: the network found is proven to be "
                f"within {gap:.1e} of the largest gain only.",
                stacklevel=2,
            )
        gap *= 10.0
    return found


def _better_network(
    gain_alpha: Array,
    gain_beta: Array,
    costs: StagedCosts,
    limit: float,
    priced: _Priced,
    known: Choice,
    gap: float,
) -> Choice | None:
    """The best network if one gains more than `gap` over the known one, else the known one.

    None if that takes more than MAX_STATES states.
    """
    room = limit - float(costs.fixed[0])
    known_gain = _gain(*known, gain_alpha, gain_beta, costs)
    # What a state must bring, with the price of its cost off and the rest of the network on. It
    # is lowered by more than rounding, which keeps a few states more and never loses the best.
    rounding = 1e-9 * max(abs(known_gain), abs(priced.price * room))
    least = known_gain + gap - priced.price * room - rounding
    largest_cost = room + ROUNDING * max(abs(limit), abs(room))

    def kept(states: _States, rest: float) -> _States:
        worthy = states.gain - priced.price * states.cost + rest >= least
        states = states.take(worthy & (states.cost <= largest_cost))
        states = states.take(np.lexsort((-states.gain, states.cost)))
        best_so_far = np.maximum.accumulate(states.gain)
        return states.take(np.diff(best_so_far, prepend=-np.inf) > 0)

    states = _no_choice_yet(gain_alpha, gain_beta)
    best_of_stage = priced.of_depth.max(axis=1)  # [S]
    for stage in range(len(gain_beta)):
        later_stages = float(best_of_stage[stage + 1 :].sum())
        left = _leaving(states, stage, 0, costs, gain_beta)
        behind = 0.0
        for position, block in enumerate(np.flatnonzero(costs.stage_of_block == stage)):
            states = _with_block(states, int(block), gain_alpha, costs)
            # What the deeper entries still bring, less what the blocks behind have brought.
            behind += float(priced.best_of_block[block])
            deeper = np.where(costs.depths[stage] > position, priced.of_depth[stage], -np.inf)
            states = kept(states, later_stages + float(deeper.max()) - behind)
            if len(states.gain) > MAX_STATES:
                return None
            left += _leaving(states, stage, position + 1, costs, gain_beta)
        joined = _States(*(np.concatenate(field) for field in zip(*left, strict=True)))
        states = kept(joined, later_stages)
    for index in np.argsort(-states.gain, kind="stable"):
        depth, configuration = states.depth[index], states.configuration[index]
        if costs.exact_cost(depth, configuration)[0] <= limit:
            return depth, configuration
    return known


def _no_choice_yet(gain_alpha: Array, gain_beta: Array) -> _States:
    depth = np.zeros((1, len(gain_beta)), np.intp)
    return _States(np.zeros(1), np.zeros(1), depth, gain_alpha.argmax(axis=1)[None])


def _leaving(
    states: _States, stage: int, blocks: int, costs: StagedCosts, gain_beta: Array
) -> list[_States]:
    """The states after they leave the stage, for each depth entry that runs so many blocks."""
    left = []
    for entry in np.flatnonzero(costs.allowed_beta[stage] & (costs.depths[stage] == blocks)):
        depth = states.depth.copy()
        depth[:, stage] = entry
        left.append(states._replace(gain=states.gain + gain_beta[stage, entry], depth=depth))
    return left


def _with_block(states: _States, block: int, gain: Array, costs: StagedCosts) -> _States:
    """Every state with every configuration of one more block."""
    entries = np.flatnonzero(costs.allowed_alpha[block])  # [E]
    longer = states.take(np.repeat(np.arange(len(states.gain)), len(entries)))  # [N * E]
    choice = np.tile(entries, len(states.gain))  # [N * E]
    longer.configuration[:, block] = choice
    return longer._replace(
        gain=longer.gain + gain[block, choice],
        cost=longer.cost + costs.block_costs[0, block, choice],
    )


def _at_price(price: float, gain_alpha: Array, gain_beta: Array, costs: StagedCosts) -> _Priced:
    priced = gain_alpha - price * costs.block_costs[0]  # [B, C]
    priced = np.where(costs.allowed_alpha, priced, -np.inf)
    best_of_block = priced.max(axis=1)  # [B]
    of_depth = gain_beta + costs.depth_sums(best_of_block[None])[0]  # [S, D]
    of_depth = np.where(costs.allowed_beta, of_depth, -np.inf)
    return _Priced(price, best_of_block, of_depth, of_depth.argmax(axis=1), priced.argmax(axis=1))


def _at_smallest_price(
    gain_alpha: Array, gain_beta: Array, costs: StagedCosts, limit: float
) -> _Priced:
    """The smallest price, nearly, at which the best network keeps the limit."""

    def keeps_limit(priced: _Priced) -> bool:
        return bool(costs.exact_cost(priced.depth, priced.configuration)[0] <= limit)

    spread = float(costs.largest_cost()[0] - costs.smallest_cost()[0])
    high = 1.0 / max(spread, 1e-300)
    found = _at_price(high, gain_alpha, gain_beta, costs)
    for _ in range(_DOUBLINGS):
        if keeps_limit(found):
            break
        high *= 2.0
        found = _at_price(high, gain_alpha, gain_beta, costs)
    low = 0.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        priced = _at_price(middle, gain_alpha, gain_beta, costs)
        if keeps_limit(priced):
            high, found = middle, priced
        else:
            low = middle
    return found


def _improved(
    depth: Integers, configuration: Integers, gain: Array, costs: StagedCosts, limit: float
) -> Integers:
    """The configurations after the best single changes that the limit leaves room for."""
    blocks = np.arange(len(gain))
    changeable = costs.allowed_alpha & costs.reached(depth)[:, None]  # [B, C]
    block_costs = costs.block_costs[0]
    for _ in blocks:
        room = limit - costs.exact_cost(depth, configuration)[0]
        extra = block_costs - block_costs[blocks, configuration][:, None]  # [B, C]
        gains = gain - gain[blocks, configuration][:, None]
        gains = np.where(changeable & (extra <= room), gains, 0.0)  # [B, C]
        block, choice = np.unravel_index(gains.argmax(), gains.shape)
        changed = configuration.copy()
        changed[block] = choice
        if gains[block, choice] <= 0 or costs.exact_cost(depth, changed)[0] > limit:
            break
        configuration = changed
    return configuration


def _gain(
    depth: Integers,
    configuration: Integers,
    gain_alpha: Array,
    gain_beta: Array,
    costs: StagedCosts,
) -> float:
    chosen = gain_alpha[np.arange(len(gain_alpha)), configuration]  # [B]
    depths = gain_beta[np.arange(len(gain_beta)), depth]  # [S]
    return float(np.sum(chosen, where=costs.reached(depth)) + depths.sum())
