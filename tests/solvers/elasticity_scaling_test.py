"""Elasticity-scaling: the authors' traces, properties of every result, and a loop by hand."""

import itertools
import json
from pathlib import Path

import numpy as np
import pytest

from keras_nas.resources.authors_table import authors_table
from keras_nas.solvers.elasticity_scaling import elasticity_scaling, use_up
from keras_nas.space import TF_NAS

GOLDEN = Path(__file__).parents[2] / "../shared/golden"
STAGES = np.array([0, 0, 1, 1, 2])
LOW = np.array([16, 16, 32, 32, 64])
HIGH = 2 * LOW
START = np.array([24, 24, 48, 50, 96])


def linear_ms(widths):
    """A hundredth of a millisecond a channel, and one for the rest."""
    return 1 + float(np.sum(widths)) / 100


def scale(target_ms, start=START, latency_ms=linear_ms, **changes):
    arguments = {"smallest": LOW, "largest": HIGH, "stages": STAGES, **changes}
    return elasticity_scaling(start, latency_ms=latency_ms, target_ms=target_ms, **arguments)


@pytest.mark.parametrize(
    "name",
    ["all_k3_e6_gpu15", "all_k5_e6_se_gpu18", "TFNASA_ops_init_widths_gpu18", "all_k3_e6_gpu1"],
)
def test_traces_of_the_authors_code(name):
    table, facts = GOLDEN / "tf_nas_latency_gpu.json", GOLDEN / "tf_nas_facts.json"
    if not (table.exists() and facts.exists()):
        pytest.skip(f"no {table} or {facts}")
    case = json.loads(facts.read_text())["elasticity"][name]
    latency = authors_table(table.read_text())
    operations, blocks = np.array(case["ops"]), np.arange(18)

    def network_ms(chosen):
        widths = TF_NAS.initial_widths()
        widths[blocks, operations] = chosen
        return latency.network_ms(operations, None, widths)

    found = elasticity_scaling(
        TF_NAS.initial_widths()[blocks, operations],
        TF_NAS.smallest_widths()[blocks, operations],
        TF_NAS.largest_widths()[blocks, operations],
        TF_NAS.stage_of_block,
        network_ms,
        case["target"],
    )
    assert found.widths.tolist() == case["mid_channels"]
    trace = [("before", found.before_ms)]
    trace += [(f"{s.action}{s.first_stage + 1}-6", s.latency_ms) for s in found.steps]
    assert [label for label, _ in trace] == [label for label, _ in case["trace"]]
    expected = [value for _, value in case["trace"]]
    assert [value for _, value in trace] == pytest.approx(expected, rel=1e-13)
    assert found.kept == (found.latency_ms <= case["target"]) == (name != "all_k3_e6_gpu1")


def test_by_hand():
    """242 channels, 3.42 ms; an iteration moves 1, 1, 2, 2, 4 of them, 0.1 ms."""
    found = scale(3.155)
    assert [(s.action, s.first_stage) for s in found.steps] == [
        ("shrink", 0), ("expand", 1), ("expand", 2),
    ]  # fmt: skip
    # Shrunk three times to 212 channels, 3.12 ms. Then 1, 1, 2 fit not, and 1 fits three times.
    assert [s.latency_ms for s in found.steps] == pytest.approx([3.12, 3.12, 3.15])
    assert found.widths.tolist() == [21, 21, 42, 44, 87]
    assert found.before_ms == pytest.approx(3.42) and found.kept


def by_enumeration(start, target_ms, latency_ms):
    """Every result of k iterations is known in advance; takes the first or last that fits."""

    def after(widths, moves, direction, k):
        ratio = [round(float(w / widths[moves].min())) if m else 0
                 for w, m in zip(widths, moves, strict=True)]  # fmt: skip
        return np.clip(widths + direction * k * np.array(ratio), LOW, HIGH)

    iterations = range(200)  # more than the widest range of channels
    widths = start
    for first_stage in range(3):
        moves = first_stage <= STAGES
        if first_stage == 0 and latency_ms(start) > target_ms:
            found = [after(widths, moves, -1, k) for k in iterations]
            fits = [k for k in iterations if latency_ms(found[k]) <= target_ms]
            widths = found[fits[0] if fits else -1]
        elif latency_ms(widths) <= target_ms:
            found = [after(widths, moves, 1, k) for k in iterations]
            widths = found[max(k for k in iterations if latency_ms(found[k]) <= target_ms)]
    return widths


@pytest.mark.parametrize("seed", range(40))
def test_agrees_with_enumeration(seed):
    generator = np.random.default_rng(seed)
    start = generator.integers(LOW, HIGH + 1)
    slopes, powers = generator.uniform(0.1, 1, 5), generator.uniform(0.5, 1.5, 5)

    def latency_ms(widths):  # grows with each width
        return float(np.sum(slopes * (widths / 16.0) ** powers))

    target_ms = generator.uniform(0.9 * latency_ms(LOW), 1.1 * latency_ms(HIGH))
    found = scale(target_ms, start, latency_ms)
    assert found.widths.tolist() == by_enumeration(start, target_ms, latency_ms).tolist()
    assert np.all((found.widths >= LOW) & (found.widths <= HIGH))
    assert found.latency_ms == latency_ms(found.widths) == found.steps[-1].latency_ms
    assert found.kept == (found.latency_ms <= target_ms) == (target_ms >= latency_ms(LOW))
    if not found.kept:
        assert found.widths.tolist() == LOW.tolist()


def test_the_last_step_to_all_upper_bounds_counts():
    """The authors' loop returns the widths before it."""
    found = scale(10.0)
    assert found.widths.tolist() == HIGH.tolist() and found.kept
    assert [s.action for s in found.steps] == ["expand"] * 3


def test_a_target_just_met_leaves_the_network_alone():
    found = scale(linear_ms(START))
    assert found.widths.tolist() == START.tolist() and found.kept
    just_below = scale(np.nextafter(linear_ms(START), 0))
    assert just_below.widths.tolist() != START.tolist() and just_below.kept


def test_a_target_out_of_reach_ends_at_the_lower_bounds():
    found = scale(0.5)
    assert found.widths.tolist() == LOW.tolist() and not found.kept
    assert found.latency_ms == linear_ms(LOW)


def test_halves_round_to_even():
    """24 and 36 channels: 1.5 is 2; 24 and 60: 2.5 is 2 as well."""
    for wide in (36, 60):
        start = np.array([24, wide])
        found = scale(1.83 if wide == 60 else 1.59, start, smallest=[16, 30], largest=[32, 64],
                      stages=[0, 0])  # fmt: skip
        assert found.widths.tolist() == [23, wide - 2]


def test_the_input_is_left_as_it_was():
    start = START.copy()
    scale(2.0, start)
    assert start.tolist() == START.tolist()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"stages": [0, 0, 1]}, r"one entry a block, received shapes \(5,\), .* and \(3,\)"),
        ({"smallest": START + 1}, r"between its bounds, received \[24, 24, 48, 50, 96\]"),
        ({"largest": START - 1}, "between its bounds"),
    ],
)
def test_bad_arguments(changes, message):
    with pytest.raises(ValueError, match=message):
        scale(3.0, **changes)


COSTS_MS = np.array([0.05, 0.033, 0.0271, 0.0117, 0.0094])


def uneven_ms(widths):
    """Channels of different price, as those of stages of different resolution."""
    return 1 + float(widths @ COSTS_MS)


@pytest.mark.parametrize("target_ms", [5.0, 5.5, 6.31])
def test_what_scaling_leaves_is_used_up(target_ms):
    scaled = scale(target_ms, latency_ms=uneven_ms)
    found = use_up(scaled.widths, LOW, HIGH, uneven_ms, target_ms)
    assert np.all((found >= LOW) & (found <= HIGH))
    assert scaled.latency_ms <= uneven_ms(found) <= target_ms
    # No block fits a channel more, not even in exchange for another one's.
    for wider, narrower in itertools.product(range(5), [None, *range(5)]):
        other = found.copy()
        other[wider] += 1
        if narrower is not None:
            other[narrower] -= 1
        if np.all((other >= LOW) & (other <= HIGH)):
            assert not uneven_ms(found) < uneven_ms(other) <= target_ms
    assert uneven_ms(found) > target_ms - 0.005


def test_the_best_neighbour_takes_the_place_of_excluded_widths():
    target_ms = 5.5
    best = use_up(scale(target_ms, latency_ms=uneven_ms).widths, LOW, HIGH, uneven_ms, target_ms)
    excluded: set[tuple[int, ...]] = set()
    one = np.eye(5, dtype=int)
    moves = [*one, *-one, *(i - j for i in one for j in one if i is not j)]
    for _ in range(4):
        found = use_up(best, LOW, HIGH, uneven_ms, target_ms, excluded)
        neighbours = [best, *(best + move for move in moves)]
        allowed = [
            uneven_ms(row)
            for row in neighbours
            if np.all((row >= LOW) & (row <= HIGH)) and tuple(row) not in excluded
        ]
        assert uneven_ms(found) == max(ms for ms in allowed if ms <= target_ms)
        assert tuple(found) not in excluded
        excluded.add(tuple(found))
    no_other = {tuple(LOW)}
    assert use_up(LOW, LOW, LOW, uneven_ms, 100.0, no_other).tolist() == LOW.tolist()


def test_nothing_is_used_up_beyond_bounds_or_target():
    assert use_up(HIGH, LOW, HIGH, uneven_ms, 100.0).tolist() == HIGH.tolist()
    assert use_up(START, LOW, HIGH, uneven_ms, 1.0).tolist() == START.tolist()
    assert use_up(LOW, LOW, LOW, uneven_ms, 100.0).tolist() == LOW.tolist()
