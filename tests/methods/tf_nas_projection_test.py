"""The most probable network that widths can bring to a target, against all networks of a space."""

import dataclasses
import itertools

import numpy as np
import pytest

from keras_nas.methods.tf_nas_projection import most_probable_within
from keras_nas.resources.width_latency import Curve, WidthLatency
from keras_nas.solvers.polytope import InfeasibleError
from keras_nas.space import ElasticStage, Stem, TFNASOperation, TFNASSpace

SPACE = TFNASSpace(
    "tiny",
    stages=(ElasticStage(16, 1, min_depth=1, max_depth=3), ElasticStage(24, 2, "swish", 1, 2)),
    operations=(TFNASOperation(3, 1, 2), TFNASOperation(5, 2, 3, se=0.5)),
    stem=Stem(16),
    resolution=32,
)
MAY_SKIP = [False, True, True, False, True]


@pytest.fixture
def latency():
    """A millisecond, and for every channel of a network what differs from block to block."""
    prices = np.random.default_rng(0).uniform(0.005, 0.02, 5)
    knots = [[np.array(SPACE.knots(b, o), float) for o in range(2)] for b in range(5)]
    curves = tuple(
        tuple(Curve(widths, widths * price) for widths in row)
        for row, price in zip(knots, prices, strict=True)
    )
    return WidthLatency(SPACE, 1.0, curves)


def probabilities(seed, depth_space):
    """alpha and beta of a search."""
    generator = np.random.default_rng(seed)
    alpha = generator.dirichlet([1, 1], 5)
    if depth_space == "sink":
        beta = np.zeros((2, 3))
        beta[0], beta[1, :2] = generator.dirichlet([1, 1, 1]), generator.dirichlet([1, 1])
        return alpha, beta
    skips = np.where(MAY_SKIP, generator.uniform(0, 1, 5), 0)
    beta = np.stack([skips, 1 - skips], axis=1)
    if depth_space == "skip_in":
        alpha = np.concatenate([alpha * (1 - skips[:, None]), skips[:, None]], axis=1)
        beta = np.tile([0.0, 1.0], (5, 1))
    return alpha, beta


def networks(alpha, beta, depth_space):
    """(probability, operations, blocks) of all networks, blocks left out at their best."""
    first = (0, 3)
    if depth_space == "sink":
        for depths in itertools.product(range(1, 4), range(1, 3)):
            blocks = [b for s in (0, 1) for b in range(first[s], first[s] + depths[s])]
            share = np.prod([beta[s, depths[s] - 1] for s in (0, 1)])
            yield from with_operations(alpha, share, blocks)
        return
    for kept in itertools.product((True, False), repeat=5):
        if not all(keep or may for keep, may in zip(kept, MAY_SKIP, strict=True)):
            continue
        blocks = [b for b in range(5) if kept[b]]
        out = [b for b in range(5) if not kept[b]]
        if depth_space == "skip_in":
            # The share of skipping stands in the place of the operation's.
            share = np.prod([alpha[b, 2] for b in out])
            for p, operations, _ in with_operations(alpha[:, :2], 1.0, blocks):
                best = np.prod([alpha[b, :2].max() for b in out])
                yield p / best * share, operations, blocks
        else:
            share = np.prod([beta[b, 1 if kept[b] else 0] for b in range(5)])
            yield from with_operations(alpha, share, blocks)


def with_operations(alpha, share, blocks):
    best = alpha.argmax(axis=1)
    for chosen in itertools.product(range(2), repeat=len(blocks)):
        operations = best.copy()
        operations[blocks] = chosen
        yield share * np.prod(alpha[range(5), operations]), tuple(operations.tolist()), blocks


@pytest.mark.parametrize("depth_space", ["sink", "skip_in", "skip_out"])
@pytest.mark.parametrize("seed", range(4))
def test_against_all_networks(latency, depth_space, seed):
    alpha, beta = probabilities(seed, depth_space)
    widths = SPACE.smallest_widths()
    rows = [
        (p, latency.blocks_ms(operations, blocks, widths), operations, tuple(blocks))
        for p, operations, blocks in networks(alpha, beta, depth_space)
    ]
    times = np.array([row[1] for row in rows])
    changed = 0
    for target_ms in np.quantile(times, [0.02, 0.2, 0.5, 0.9]) + 1e-9:
        best = max(row for row in rows if row[1] <= target_ms)
        assert most_probable_within(latency, alpha, beta, target_ms, depth_space) == best[2:]
        changed += best != max(rows)
    assert changed  # some target is below the most probable network
    assert most_probable_within(latency, alpha, beta, np.inf, depth_space) == max(rows)[2:]
    with pytest.raises(InfeasibleError):
        most_probable_within(latency, alpha, beta, times.min() - 1e-6, depth_space)


def test_what_has_no_probability_is_not_chosen(latency):
    alpha = np.tile([0.0, 1.0], (5, 1))
    beta = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    assert most_probable_within(latency, alpha, beta, 100.0) == ((1,) * 5, (0, 3, 4))
    fastest_ms = latency.blocks_ms((0,) * 5, (0, 3), SPACE.smallest_widths())
    with pytest.raises(InfeasibleError):
        most_probable_within(latency, alpha, beta, fastest_ms)


def test_architecture_of_blocks_closes_the_gaps():
    widths = SPACE.initial_widths()
    operations = (0, 1, 0, 1, 0)
    network = SPACE.architecture_of_blocks(operations, (0, 2, 3), widths)
    assert SPACE.encode(network)[:2] == ((0, 0, 0, 1, 0), (2, 1))
    whole = SPACE.architecture_of_blocks(operations, range(5), widths)
    assert dataclasses.asdict(whole) == dataclasses.asdict(
        SPACE.architecture(operations, None, widths)
    )
