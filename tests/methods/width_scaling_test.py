"""Scaling a network inside its space: only what it uses moves, and the target holds exactly."""

import contextlib
import dataclasses

import numpy as np
import pytest

from keras_nas.methods.width_scaling import check_network, scale_network
from keras_nas.resources.width_latency import Curve, WidthLatency
from keras_nas.space import ElasticStage, Stem, TFNASOperation, TFNASSpace

SPACE = TFNASSpace(
    "tiny",
    stages=(ElasticStage(16, 1, min_depth=1, max_depth=3), ElasticStage(24, 2, "swish", 1, 2)),
    operations=(TFNASOperation(3, 1, 2), TFNASOperation(5, 2, 3, se=0.5)),
    stem=Stem(16),
    resolution=32,
)
OPERATIONS, DEPTHS = (0, 1, 0, 1, 0), (2, 1)


@pytest.fixture
def latency():
    return latency_of(SPACE)


def latency_of(space):
    """A millisecond, and 0.01 ms for every channel of a network."""
    knots = [[np.array(space.knots(b, o), float) for o in range(2)] for b in range(5)]
    curves = tuple(tuple(Curve(widths, widths / 100) for widths in row) for row in knots)
    return WidthLatency(space, 1.0, curves)


@pytest.mark.parametrize("target_ms", [1.9, 2.0, 2.2])
def test_only_the_networks_widths_move(latency, target_ms):
    widths = SPACE.initial_widths()
    found, scaling = scale_network(latency, OPERATIONS, DEPTHS, widths, target_ms)
    used = np.zeros((5, 2), bool)
    used[[0, 1, 3], [0, 1, 1]] = True
    assert np.array_equal(found[~used], widths[~used])
    assert np.all(found[used] != widths[used]) and scaling.kept
    assert widths.tolist() == SPACE.initial_widths().tolist()
    assert found[used].tolist() == scaling.widths.tolist()
    reached = check_network(latency, OPERATIONS, DEPTHS, found, target_ms)
    assert reached == scaling.latency_ms <= target_ms
    assert SPACE.architecture(OPERATIONS, DEPTHS, found)


@pytest.mark.parametrize(
    ("target_ms", "expected"), [(1.9, [18, 36, 36]), (2.2, [24, 42, 48]), (1.0, [18, 36, 36])]
)
def test_widths_move_by_the_divisor(target_ms, expected):
    """Start [24, 42, 42] costs 2.08 ms; in units of 6: [4, 7, 7], and strides are [1, 2, 2]."""
    space = dataclasses.replace(SPACE, width_divisor=6, knot_spacing=6)
    latency = latency_of(space)
    start = space.initial_widths()
    assert start[[0, 1, 3], [0, 1, 1]].tolist() == [24, 42, 42]
    with contextlib.ExitStack() as stack:
        if target_ms < 1.9:
            stack.enter_context(pytest.warns(UserWarning, match="cannot bring"))
        found, scaling = scale_network(latency, OPERATIONS, DEPTHS, start, target_ms)
    assert found[[0, 1, 3], [0, 1, 1]].tolist() == scaling.widths.tolist() == expected
    assert scaling.latency_ms == latency.network_ms(OPERATIONS, DEPTHS, found)


def test_out_of_reach_warns_and_ends_at_the_bounds(latency):
    with pytest.warns(UserWarning, match=r"to 1\.5 ms: with the smallest widths it takes 1\.8 ms"):
        found, scaling = scale_network(latency, OPERATIONS, DEPTHS, SPACE.initial_widths(), 1.5)
    assert not scaling.kept and scaling.widths.tolist() == [16, 32, 32]
    with pytest.raises(ValueError, match=r"takes 1\.8.* ms, above its target of 1\.5 ms.*Networks"):
        check_network(latency, OPERATIONS, DEPTHS, found, 1.5)


def test_the_check_has_no_tolerance(latency):
    widths = SPACE.initial_widths()
    exact = latency.network_ms(OPERATIONS, DEPTHS, widths)
    assert check_network(latency, OPERATIONS, DEPTHS, widths, exact) == exact
    with pytest.raises(ValueError, match="above its target"):
        check_network(latency, OPERATIONS, DEPTHS, widths, np.nextafter(exact, 0))


def test_bad_widths(latency):
    with pytest.raises(ValueError, match="should be 16 to 32, received 40"):
        scale_network(latency, OPERATIONS, DEPTHS, np.full((5, 2), 40), 2.0)
