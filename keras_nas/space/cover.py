"""Covering networks: a few architectures that together hold every block of a space.

A device that profiles single operations needs only these to time every block where it will run,
inside a whole network, with other blocks' weights and activations in the cache.
"""

from __future__ import annotations

import collections
import random

from keras_nas.space.architecture import Architecture
from keras_nas.space.staged_space import StagedSpace


def covering_architectures(space: StagedSpace, seed: int = 0) -> list[Architecture]:
    """Architectures of full depth that together hold every block piece of a space.

    Greedy: each block of each network takes the piece that was taken least so far, of these the one
    that fits in the fewest places, of these a random one. A block that only one place can hold (a
    stage's first) so appears once, the others about equally often. In a space whose blocks all have
    C configurations the number of networks is C, the smallest possible.

    Args:
      space: any search space.
      seed: of the random choices; repeats by it.
    """
    generator = random.Random(seed)
    rows = [[piece.key for piece in row] for row in space.block_pieces()]  # [B][C]
    places = collections.Counter(key for row in rows for key in set(row))
    taken = dict.fromkeys(places, 0)
    narrowest_first = sorted(range(len(rows)), key=lambda b: sum(places[key] for key in rows[b]))
    found: list[Architecture] = []
    while not all(taken.values()):
        chosen = [0] * len(rows)
        for b in narrowest_first:
            order = [(taken[key], places[key], generator.random()) for key in rows[b]]
            chosen[b] = order.index(min(order))
            taken[rows[b][chosen[b]]] += 1
        found.append(space.network_of_pieces(chosen, f"cover_{len(found)}"))
    return found
