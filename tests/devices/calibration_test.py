"""The fitted scale against known answers and against SciPy."""

import numpy as np
import pytest
from scipy.optimize import minimize_scalar

from keras_nas.devices.calibration import calibrate, fit_scale
from keras_nas.space import pieces


def test_exact_samples_give_the_scale_back():
    sums = np.array([1.0, 2.0, 5.0, 0.3])
    assert fit_scale(sums, 0.07 + 1.3 * sums, 0.07) == pytest.approx(1.3, rel=1e-14)


def test_minimises_the_relative_squared_error():
    generator = np.random.default_rng(0)
    sums = generator.uniform(1, 20, 10)
    measured = (0.5 + 1.2 * sums) * generator.normal(1, 0.05, 10)
    best = minimize_scalar(
        lambda s: np.sum(((0.5 + s * sums) / measured - 1) ** 2), (1, 1.5), options={"xtol": 1e-12}
    )
    assert fit_scale(sums, measured, 0.5) == pytest.approx(best.x, rel=1e-6)


def test_errors_are_those_of_networks_left_out(space):
    architectures = [space.lightest(), space.heaviest(), space.random(1)]
    entries = {p.key: 1.0 for a in architectures for p in pieces(a, (8, 8, 3), 3)}
    sums = np.array([len(pieces(a, (8, 8, 3), 3)) for a in architectures], float)
    measured = [1.1 * sums[0], 1.2 * sums[1], 1.3 * sums[2]]
    fit = calibrate(entries, 0.0, architectures, measured, (8, 8, 3), 3)
    without_first = (1 / 1.2 + 1 / 1.3) / (1 / 1.2**2 + 1 / 1.3**2)
    assert fit.networks[0].held_out_ms == pytest.approx(without_first * sums[0])
    assert fit.networks[2].predicted_ms == pytest.approx(fit.scale * sums[2])
    errors = [abs(row.held_out_ms / row.measured_ms - 1) for row in fit.networks]
    assert fit.mean_error == pytest.approx(sum(errors) / 3)
    assert fit.worst_error == max(errors)


def test_one_network_is_not_enough(space):
    network = space.lightest()
    entries = {p.key: 1.0 for p in pieces(network, (8, 8, 3), 3)}
    with pytest.raises(ValueError, match="at least 2 networks, received 1"):
        calibrate(entries, 0.0, [network], [3.0], (8, 8, 3), 3)
