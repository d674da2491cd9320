"""The loop from measurement back to the projection, against simulated devices."""

import itertools

import numpy as np
import pytest

from keras_nas.measured_projection import UNUSED, Projector, best_round, close_loop
from keras_nas.resources.limits import Limit
from keras_nas.solvers.staged_costs import StagedCosts

BLOCKS, CHOICES = 6, 5


def projector(seed, limit_ms, method="exact"):
    """Random costs and credits: two stages of three blocks, of depth 1 to 3."""
    generator = np.random.default_rng(seed)
    costs = StagedCosts(
        np.sort(generator.uniform(0.2, 1.5, (1, BLOCKS, CHOICES)), axis=2),
        [1.0],
        [0, 0, 0, 1, 1, 1],
        [[1, 2, 3], [1, 2, 3]],
    )
    limits = [Limit("latency_ms", limit_ms, 0.0, 0.0, 0.0)]
    alpha = generator.dirichlet(np.ones(CHOICES), BLOCKS)
    beta = generator.dirichlet(np.ones(3), 2)
    return Projector(alpha, beta, costs, limits, method)


def simulated(of, error, spread=0.005):
    """A device that is off the prediction by `error`, and by up to 1% more from net to net."""

    def measure(choice):
        own = np.random.default_rng(abs(hash(tuple(map(int, np.concatenate(choice))))) % 2**32)
        value = of.predicted_ms(choice) * (1 + error + own.uniform(-0.01, 0.01))
        return value, spread * value

    return measure


@pytest.mark.parametrize("error", [-0.1, 0.0, 0.03, 0.3])
@pytest.mark.parametrize("seed", range(12))
def test_the_result_keeps_the_limit_on_the_device(seed, error):
    limit_ms = 5.0
    of = projector(seed, limit_ms)
    rounds = close_loop(of, simulated(of, error), limit_ms, 6)
    best = best_round(rounds, limit_ms)
    assert best.upper_ms <= limit_ms
    assert best.predicted_ms <= limit_ms  # the table as it was made holds as well
    assert best.credit == max(r.credit for r in rounds if r.upper_ms <= limit_ms)
    for row in rounds:
        assert row.predicted_ms == pytest.approx(of.predicted_ms(row.choice()))
        assert row.predicted_ms <= row.target_ms
    for earlier, later in itertools.combinations(rounds, 2):
        assert (earlier.depth_entries, earlier.configurations) != (
            later.depth_entries,
            later.configurations,
        )


def test_a_table_that_is_right_needs_one_round():
    of = projector(0, 5.0)
    rounds = close_loop(of, lambda choice: (of.predicted_ms(choice), 0.0), 5.0, 6)
    assert len(rounds) == 1 and rounds[0].target_ms == 5.0


def test_the_target_moves_by_the_measured_ratio():
    of = projector(1, 5.0)
    rounds = close_loop(of, lambda choice: (1.25 * of.predicted_ms(choice), 0.0), 5.0, 6)
    assert len(rounds) >= 2
    assert rounds[1].target_ms == pytest.approx(5.0 / 1.25)
    assert rounds[1].upper_ms <= 5.0


def test_it_ends_where_no_other_network_comes_out():
    of = projector(2, 50.0)  # a limit that does not bind: the argmax, far below
    rounds = close_loop(of, simulated(of, 0.0), 50.0, 6)
    assert len(rounds) == 1
    assert rounds[0].upper_ms < (1 - UNUSED) * 50


def test_no_network_that_keeps_the_limit_is_an_error_with_all_that_was_measured():
    of = projector(3, 5.0)
    rounds = close_loop(of, lambda choice: (9.0, 0.25), 5.0, 4)
    assert rounds[-1].predicted_ms == pytest.approx(of.smallest_ms)
    with pytest.raises(ValueError, match=r"latency_ms <= 5 on the device; .*9 \+ 0.25 \(predicted"):
        best_round(rounds, 5.0)


def test_credit_is_what_the_projection_maximises():
    of = projector(4, 5.0)
    best = of.credit(of.project(5.0))
    generator = np.random.default_rng(0)
    within = 0
    for _ in range(2000):
        choice = generator.integers(3, size=2), generator.integers(CHOICES, size=BLOCKS)
        if of.predicted_ms(choice) <= 5.0:
            within += 1
            assert of.credit(choice) <= best + 1e-12
    assert within > 100
