"""The loop from measurement back to the projection, against simulated devices."""

import dataclasses
import itertools

import numpy as np
import pytest

from keras_nas.measured_network import (
    UNUSED,
    best_round,
    limits_of_tables,
    measured_twice,
    refitted_costs,
)
from keras_nas.measured_projection import Projector, close_loop
from keras_nas.resources.limits import Limit, latency_on
from keras_nas.solvers.polytope import InfeasibleError
from keras_nas.solvers.staged_costs import StagedCosts

BLOCKS, CHOICES = 6, 5


def projector(seed, *limits_ms, method="exact", more=()):
    """Random costs and credits: two stages of three blocks, of depth 1 to 3; a limit a device, then
    `more` on other resources."""
    generator = np.random.default_rng(seed)
    resources = len(limits_ms) + len(more)
    costs = StagedCosts(
        np.sort(generator.uniform(0.2, 1.5, (resources, BLOCKS, CHOICES)), axis=2),
        [1.0] * resources,
        [0, 0, 0, 1, 1, 1],
        [[1, 2, 3], [1, 2, 3]],
    )
    names = [latency_on("phone" * n) for n in range(len(limits_ms))] + ["macs"] * len(more)
    limits = [
        Limit(name, limit, 0.0, 0.0, 0.0)
        for name, limit in zip(names, (*limits_ms, *more), strict=True)
    ]
    alpha = generator.dirichlet(np.ones(CHOICES), BLOCKS)
    beta = generator.dirichlet(np.ones(3), 2)
    return Projector(alpha, beta, costs, limits, method)


def simulated(of, error, spread=0.005, device=0):
    """A device that is off the prediction by `error`, and by up to 1% more from net to net."""

    def measure(choice, attempt):
        own = np.random.default_rng(abs(hash(tuple(map(int, np.concatenate(choice))))) % 2**32)
        value = of.predicted_ms(choice)[device] * (1 + error + own.uniform(-0.01, 0.01))
        return value, spread * value

    return measure


@pytest.mark.parametrize("error", [-0.1, 0.0, 0.03, 0.3])
@pytest.mark.parametrize("seed", range(12))
def test_the_result_keeps_the_limit_on_the_device(seed, error):
    limit_ms = 5.0
    of = projector(seed, limit_ms)
    rounds = close_loop(of, [simulated(of, error)], 6)
    best = best_round(rounds)
    assert best.upper_ms <= limit_ms
    assert best.refitted_ms <= limit_ms
    assert best.credit == max(r.credit for r in rounds if r.upper_ms <= limit_ms)
    for row in rounds:
        assert row.predicted_ms == pytest.approx(of.predicted_ms(row.choice())[0])
        assert row.predicted_ms <= row.target_ms
    for earlier, later in itertools.combinations(rounds, 2):
        assert (earlier.depth_entries, earlier.configurations) != (
            later.depth_entries,
            later.configurations,
        )


@pytest.mark.parametrize(
    ("times", "counts"),
    [
        ([(4.9, 0.05), (4.8, 0.1)], (4.85, 0.1)),
        ([(4.8, 0.05), (5.3, 0.0)], (5.05, 0.05)),
        ([(4.96, 0.05)], (4.96, 0.05)),  # over the limit already
    ],
)
def test_the_mean_of_two_measurements_counts(times, counts):
    asked = []

    def measure(network, attempt):
        asked.append((network, attempt))
        return times[attempt]

    assert measured_twice(measure, "network", 5.0) == pytest.approx(counts)
    assert asked == [("network", attempt) for attempt in range(len(times))]


def test_a_table_that_is_right_needs_one_round():
    of = projector(0, 5.0)
    rounds = close_loop(of, [lambda choice, attempt: (of.predicted_ms(choice)[0], 0.0)], 6)
    assert len(rounds) == 1 and rounds[0].target_ms == 5.0


def test_the_target_moves_by_the_measured_ratio():
    of = projector(1, 5.0)
    rounds = close_loop(of, [lambda choice, attempt: (1.25 * of.predicted_ms(choice)[0], 0.0)], 6)
    assert len(rounds) >= 2
    assert rounds[1].target_ms == pytest.approx(5.0 / 1.25)
    assert rounds[1].upper_ms <= 5.0


def test_what_a_fast_device_leaves_unused_is_used():
    """The device takes 10% less than its table says, and the next network has a larger credit."""
    used = 0
    for seed in range(12):
        of = projector(seed, 3.5)
        rounds = close_loop(of, [simulated(of, -0.1)], 6)
        best = best_round(rounds)
        assert best.credit >= rounds[0].credit
        used += best.credit > rounds[0].credit and best.predicted_ms > 3.5
    assert used > 3


def test_limits_and_costs_by_refitted_tables():
    of = projector(0, 5.0, 5.5, more=(6.0,))
    (row, *_) = close_loop(of, [simulated(of, 0.0), simulated(of, 0.0, device=1)], 1)
    limits = [*of.latencies, Limit("macs", 6.0, 0.0, 1.0, 9.0)]
    best = dataclasses.replace(
        row,
        target_ms=4.0,
        others={name: dataclasses.replace(o, target_ms=11.0) for name, o in row.others.items()},
    )
    own = limits_of_tables(limits, best)
    assert [limit.limit for limit in own] == [4.0, 11.0, 6.0]
    assert [limit.name for limit in own] == [limit.name for limit in limits]
    costs = refitted_costs([4.0, 5.5, 3.0], limits, own)
    assert costs == pytest.approx([5.0, 2.75, 3.0]) and costs[0] <= 5.0
    assert limits_of_tables(limits, None) == limits


def test_it_ends_where_no_other_network_comes_out():
    of = projector(2, 50.0)  # a limit that does not bind: the argmax, far below
    rounds = close_loop(of, [simulated(of, 0.0)], 6)
    assert len(rounds) == 1
    assert rounds[0].upper_ms < (1 - UNUSED) * 50


def test_no_network_that_keeps_the_limit_is_an_error_with_all_that_was_measured():
    of = projector(3, 5.0)
    rounds = close_loop(of, [lambda choice, attempt: (9.0, 0.25)], 4)
    assert rounds[-1].predicted_ms == pytest.approx(of.smallest_ms[0])
    with pytest.raises(ValueError, match=r"latency_ms <= 5 on the device; .*9 \+ 0.25 \(predicted"):
        best_round(rounds)


def test_credit_is_what_the_projection_maximises():
    of = projector(4, 5.0)
    best = of.credit(of.project([5.0]))
    generator = np.random.default_rng(0)
    within = 0
    for _ in range(2000):
        choice = generator.integers(3, size=2), generator.integers(CHOICES, size=BLOCKS)
        if of.predicted_ms(choice)[0] <= 5.0:
            within += 1
            assert of.credit(choice) <= best + 1e-12
    assert within > 100


@pytest.mark.parametrize("errors", [(0.0, 0.2), (0.2, 0.0), (-0.1, 0.05), (0.15, 0.15)])
@pytest.mark.parametrize("seed", range(6))
def test_the_result_keeps_the_limits_of_all_devices(seed, errors):
    of = projector(seed, 5.0, 5.5, more=(6.0,))
    devices = [simulated(of, error, device=d) for d, error in enumerate(errors)]
    rounds = close_loop(of, devices, 6)
    best = best_round(rounds)
    for device, limit_ms, measure in zip(best.devices, (5.0, 5.5), devices, strict=True):
        assert device.limit_ms == limit_ms
        assert (device.measured_ms, device.spread_ms) == measure(best.choice(), 0)
        assert device.upper_ms <= limit_ms and device.refitted_ms <= limit_ms
    for earlier, later in itertools.pairwise(rounds):
        for before, after in zip(earlier.devices, later.devices, strict=True):
            refitted = before.limit_ms * before.predicted_ms / before.upper_ms
            assert after.target_ms == pytest.approx(refitted)
            assert after.table_scale == pytest.approx(before.upper_ms / before.predicted_ms)
    assert best.credit == max(row.credit for row in rounds if row.keeps_limits)


def test_one_device_over_its_limit_is_not_kept():
    of = projector(0, 5.0, 5.0)
    slow = simulated(of, 9.0, device=1)
    rounds = close_loop(of, [simulated(of, 0.0), slow], 3)
    assert rounds[0].keeps_limit and not rounds[0].keeps_limits
    assert rounds[-1].others["latency_ms@phone"].target_ms == pytest.approx(of.smallest_ms[1])
    with pytest.raises(ValueError, match="latency_ms <= 5 and latency_ms@phone <= 5 on the device"):
        best_round(rounds)


def test_the_first_limits_have_to_be_ones_that_a_network_keeps():
    with pytest.raises(InfeasibleError):
        close_loop(projector(0, 5.0, more=(0.5,)), [], 3)


def test_rounds_of_several_devices_in_a_record():
    of = projector(0, 5.0, 5.5)
    (row, *_) = close_loop(of, [simulated(of, 0.0), simulated(of, 0.0, device=1)], 1)
    value = row.to_json_object()
    phone = value["others"]["latency_ms@phone"]
    assert (value["limit_ms"], phone["limit_ms"]) == (5.0, 5.5)
    assert (value["keeps_limit"], phone["keeps_limit"]) == (row.keeps_limit, True)
    alone = close_loop(projector(0, 5.0), [simulated(of, 0.0)], 1)[0].to_json_object()
    assert "others" not in alone and set(alone) == set(value) - {"others"}
