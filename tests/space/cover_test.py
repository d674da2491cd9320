"""Covering networks: all pieces are there, and no fewer networks could hold them."""

import collections
import dataclasses
import itertools

import pytest

from keras_nas.space import HARDCORE_NAS, SPACES, ElasticStage, SearchSpace, Stem, pieces
from keras_nas.space.cover import covering_architectures

SHARED = SearchSpace(
    "shared",
    stem=Stem(16),
    stages=(
        ElasticStage(16, 1, min_depth=1, max_depth=3),  # first blocks like the others
        ElasticStage(24, 2, min_depth=1, max_depth=1),
    ),
    kernel_sizes=(3,),
    expansion_ratios=(3, 6),
    resolution=32,
)


def block_counts(space, networks):
    fixed = {piece.key for piece in space.fixed_pieces(10)}
    keys = (p.key for a in networks for p in pieces(a, space.input_shape, 10))
    return collections.Counter(key for key in keys if key not in fixed)


@pytest.mark.parametrize("space", [*SPACES.values(), SHARED], ids=lambda space: space.name)
def test_every_block_piece_is_there(space):
    counts = block_counts(space, covering_architectures(space))
    assert set(counts) == {piece.key for row in space.block_pieces() for piece in row}


def test_no_fewer_networks_could_do():
    """A first block has 12 configurations, and a network holds one of them."""
    networks = covering_architectures(HARDCORE_NAS)
    assert len(networks) == 12
    firsts = set(HARDCORE_NAS.first_blocks)
    rows = HARDCORE_NAS.block_pieces()
    counts = block_counts(HARDCORE_NAS, networks)
    for b, row in enumerate(rows):
        assert {counts[piece.key] for piece in row} == ({1} if b in firsts else {3})


def test_as_few_as_an_exhaustive_search_finds():
    """Where places share pieces: 4 in the last stage's one place need 4 networks."""
    assert len(covering_architectures(SHARED)) == 4
    one_stage = dataclasses.replace(SHARED, stages=SHARED.stages[:1])
    everything = {piece.key for row in one_stage.block_pieces() for piece in row}
    choices = list(itertools.product(range(4), repeat=3))
    held = [
        {piece.key for piece in pieces(one_stage.architecture([3], c), (32, 32, 3), 10)}
        for c in choices
    ]
    smallest = next(
        n for n in range(1, 9)
        if any(everything <= set().union(*sets) for sets in itertools.combinations(held, n))
    )  # fmt: skip
    assert smallest == len(covering_architectures(one_stage)) == 2


def test_repeats_by_its_seed():
    assert covering_architectures(SHARED, 3) == covering_architectures(SHARED, 3)
    assert covering_architectures(SHARED, 3) != covering_architectures(SHARED, 4)
