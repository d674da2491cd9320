"""From the device back to elasticity-scaling: the measured network keeps the limit."""

import dataclasses
import json

import numpy as np
import pytest

from keras_nas.measured_network import best_round
from keras_nas.measured_scaling import close_scaling_loop, scaled
from keras_nas.resources.limits import Limit
from keras_nas.resources.width_latency import Curve, WidthLatency
from keras_nas.solvers.polytope import InfeasibleError
from keras_nas.space import Architecture, ElasticStage, Stem, TFNASOperation, TFNASSpace
from keras_nas.tf_nas_record import read_found, scaling_record

SPACE = TFNASSpace(
    "tiny",
    stages=(ElasticStage(16, 1, min_depth=1, max_depth=3), ElasticStage(24, 2, "swish", 1, 2)),
    operations=(TFNASOperation(3, 1, 2), TFNASOperation(5, 2, 3, se=0.5)),
    stem=Stem(16),
    resolution=32,
)
NETWORK = ((0, 1, 0, 1, 0), (2, 2), SPACE.initial_widths())
CHANNELS = 24 + 40 + 40 + 36


@pytest.fixture
def latency():
    """A millisecond, and 0.01 ms for every channel of a network."""
    knots = [[np.array(SPACE.knots(b, o), float) for o in range(2)] for b in range(5)]
    curves = tuple(tuple(Curve(widths, widths / 100) for widths in row) for row in knots)
    return WidthLatency(SPACE, 1.0, curves)


def device(factor, spread_ms=0.0):
    """A device that takes `factor` times the predicted latency."""
    measured: list[Architecture] = []

    def measure(architecture, attempt):
        if not attempt:
            measured.append(architecture)
        channels = sum(block.fixed_middle_channels for block in architecture.blocks())
        return factor * (1 + channels / 100), spread_ms

    return measure, measured


def test_scaled_keeps_the_target_exactly(latency):
    network, predicted_ms = scaled(latency, NETWORK, 2.3)
    assert predicted_ms == latency.network_ms(*network) <= 2.3
    assert latency.network_ms(*NETWORK) == pytest.approx(1 + CHANNELS / 100)
    with pytest.warns(UserWarning, match="cannot bring"), pytest.raises(ValueError, match="above"):
        scaled(latency, NETWORK, 1.5)


@pytest.mark.parametrize("factor", [0.9, 1.0, 1.04, 1.09])
@pytest.mark.parametrize("spread_ms", [0.0, 0.02])
def test_the_measured_network_keeps_the_limit(latency, factor, spread_ms):
    limit_ms = 2.3
    measure, measured = device(factor, spread_ms)
    rounds = close_scaling_loop(latency, lambda _: NETWORK, measure, limit_ms, 6)
    assert [row.architecture for row in rounds] == measured
    best = best_round(rounds)
    assert best.upper_ms <= limit_ms and best.refitted_ms <= limit_ms
    assert best.upper_ms >= 0.99 * limit_ms
    if not spread_ms:
        assert best.uses_limits
        assert len(rounds) <= 2
        assert best.table_scale == pytest.approx(factor, rel=0.01)
    assert len(rounds) <= 4 and len(set(measured)) == len(measured)
    assert SPACE.encode(best.architecture)


def test_the_first_network_is_the_scaled_one(latency):
    measure, measured = device(1.0)
    rounds = close_scaling_loop(latency, lambda _: NETWORK, measure, 2.3, 6)
    assert len(rounds) == 1 and rounds[0].target_ms == 2.3
    assert measured[0].stages == SPACE.architecture(*scaled(latency, NETWORK, 2.3)[0]).stages


def test_a_network_is_not_kept_that_is_over_the_limit_when_measured_again(latency):
    """The first network is 2% slower the second time, all others are as predicted."""
    asked = []

    def measure(architecture, attempt):
        asked.append((architecture, attempt))
        first = architecture == asked[0][0]
        ms = latency.network_ms(*SPACE.encode(architecture))
        return ms * (1.02 if first and attempt else 1.0), 0.0

    rounds = close_scaling_loop(latency, lambda _: NETWORK, measure, 2.3, 6)
    assert rounds[0].measured_ms == pytest.approx(1.01 * rounds[0].predicted_ms)
    assert not rounds[0].keeps_limit and best_round(rounds) is not rounds[0]
    assert [attempt for _, attempt in asked[:2]] == [0, 1]


def test_rounds_end_where_asked(latency):
    measure, _ = device(1.2)
    rounds = close_scaling_loop(latency, lambda _: NETWORK, measure, 2.3, 1)
    assert len(rounds) == 1
    with pytest.raises(ValueError, match="none of the 1 networks"):
        best_round(rounds)


def test_no_network_is_measured_twice(latency):
    """A device that is much faster than its table: the widest network leaves some of the limit."""
    measure, measured = device(0.5)
    rounds = close_scaling_loop(latency, lambda _: NETWORK, measure, 2.3, 6)
    assert len(rounds) == len(measured) == 2
    largest = sum(SPACE.largest_widths()[b, NETWORK[0][b]] for b in (0, 1, 3, 4))
    assert best_round(rounds).predicted_ms == pytest.approx(1 + largest / 100)


def test_a_neighbour_is_measured_where_scaling_leads_back():
    """Widths in steps of 16, blocks of two prices; the device is 1.5% faster than the table."""
    space = dataclasses.replace(SPACE, width_divisor=16)
    prices = (100, 100, 100, 90, 90)  # channels a millisecond
    curves = tuple(
        tuple(Curve(w := np.array(space.knots(b, o), float), w / prices[b]) for o in range(2))
        for b in range(5)
    )
    latency = WidthLatency(space, 1.0, curves)
    operations, depths = (0, 0, 0, 0, 0), (3, 2)
    network = (operations, depths, space.initial_widths())
    first_ms = scaled(latency, network, 2.4)[1]
    target_ms = first_ms * (1 + 1e-9)
    measured: list[tuple[Architecture, float]] = []

    def measure(architecture, attempt):
        ms = latency.network_ms(*space.encode(architecture))
        if not attempt:
            measured.append((architecture, ms * (0.985 if not measured else 0.999)))
        return measured[-1][1], 0.0

    rounds = close_scaling_loop(latency, lambda _: network, measure, target_ms, 6)
    assert len(rounds) >= 2 and rounds[0].predicted_ms == first_ms
    assert len({row.architecture for row in rounds}) == len(rounds)
    best = best_round(rounds)
    assert best is not rounds[0] and 0.99 * target_ms <= best.measured_ms <= target_ms


def test_a_network_that_cannot_be_narrow_enough(latency):
    measure, _ = device(1.0, spread_ms=0.4)
    with pytest.warns(UserWarning, match="cannot bring"), pytest.raises(ValueError, match="above"):
        close_scaling_loop(latency, lambda _: NETWORK, measure, 2.21, 6)


def test_another_network_takes_the_place_of_one_that_is_too_wide(latency):
    """The device is slower than its table by what the first network's widths cannot give."""
    measure, measured = device(1.3)
    smaller = ((0, 0, 0, 0, 0), (1, 1), SPACE.initial_widths())
    asked = []

    def network_for(target_ms):
        asked.append(target_ms)
        return NETWORK if target_ms > 2.1 else smaller

    rounds = close_scaling_loop(latency, network_for, measure, 2.3, 6)
    assert asked[0] == 2.3 and asked[1] < 2.1
    assert [len(list(architecture.blocks())) for architecture in measured[:2]] == [4, 2]
    assert best_round(rounds).architecture == measured[1]


def test_a_device_on_which_no_network_keeps_the_limit(latency):
    """By the refitted table: what was measured stands in the error."""
    measure, measured = device(2.0)

    def network_for(target_ms):
        if target_ms < 1.5:
            raise InfeasibleError([target_ms], [1.5], [3.0])
        return NETWORK

    rounds = close_scaling_loop(latency, network_for, measure, 2.3, 6)
    assert len(rounds) == len(measured) == 1
    with pytest.raises(ValueError, match="none of the 1 networks"):
        best_round(rounds)
    with pytest.raises(InfeasibleError):
        close_scaling_loop(latency, network_for, measure, 1.4, 6)


@pytest.mark.parametrize("field", ["format", "version", "method", "space_fingerprint"])
def test_the_found_network_is_read_back(field):
    found = SPACE.architecture(*NETWORK, "found")
    record = {
        "format": "keras_nas.search",
        "version": 2,
        "method": "tf_nas",
        "space_fingerprint": SPACE.fingerprint(),
        "found": json.loads(found.to_json()),
    }
    assert read_found(record, SPACE) == found
    with pytest.raises(ValueError, match=f"should have {field} .*received 'other'; search again"):
        read_found(record | {field: "other"}, SPACE)


def test_records(latency):
    limit = Limit("latency_ms", 2.3, 1.5, 2.0, 3.0)
    measure, _ = device(1.04)
    rounds = close_scaling_loop(latency, lambda _: NETWORK, measure, 2.3, 6)
    best = best_round(rounds)
    found_ms = latency.network_ms(*NETWORK)
    scale = best.table_scale
    record = scaling_record(limit, found_ms, best.refitted_ms, rounds, scale)
    assert record["resources"]["latency_ms"] <= 2.3
    assert record["resources"]["latency_ms"] == pytest.approx(scale * best.predicted_ms)
    assert record["table_scale"] == record["rounds"][1]["table_scale"] == scale
    assert record["candidates"]["search"] == {"latency_ms": found_ms, "keeps_limits": False}
    assert record["candidates"]["elasticity_scaling"]["keeps_limits"]
    assert [row["keeps_limit"] for row in record["rounds"]] == [False, True]
    assert record["rounds"][1]["architecture"] == best.architecture.to_block_strings()
