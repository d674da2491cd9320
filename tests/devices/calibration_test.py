"""The fit against known answers and against SciPy's general minimiser."""

import numpy as np
import pytest
from scipy import optimize

from keras_nas.devices.calibration import OUTLIER, calibrate, fit_affine
from keras_nas.resources.latency_table import all_pieces
from keras_nas.space import TF_NAS, pieces


def test_exact_samples_give_scale_and_overhead_back():
    sums = np.array([1.0, 2.0, 5.0, 0.3])
    assert fit_affine(sums, 0.07 + 1.3 * sums) == pytest.approx((1.3, 0.07), rel=1e-6)


def test_no_overhead_below_zero():
    sums = np.array([1.0, 2.0, 5.0, 3.0])
    scale, overhead = fit_affine(sums, 1.3 * sums - 0.05)
    assert overhead == pytest.approx(0, abs=1e-6)
    assert 1.2 < scale < 1.3


def huber_loss(scale, overhead, sums, measured):
    error = np.abs((overhead + scale * sums) / measured - 1) / OUTLIER
    return np.sum(np.where(error <= 1, error**2, 2 * error - 1))


def test_minimises_the_huber_loss_of_relative_errors():
    generator = np.random.default_rng(0)
    sums = generator.uniform(1, 20, 12)
    measured = (0.9 + 1.2 * sums) * generator.normal(1, 0.02, 12)
    best = optimize.minimize(
        lambda x: huber_loss(*x, sums, measured), (1, 1), method="Nelder-Mead",
        options={"xatol": 1e-10, "fatol": 1e-12, "maxiter": 10_000},
    )  # fmt: skip
    assert fit_affine(sums, measured) == pytest.approx(tuple(best.x), rel=1e-3)


def test_one_outlier_hardly_moves_the_fit():
    sums = np.linspace(5, 20, 10)
    measured = 0.5 + 1.1 * sums
    measured[4] *= 1.3
    scale, overhead = fit_affine(sums, measured)
    np.testing.assert_allclose(overhead + scale * sums, 0.5 + 1.1 * sums, rtol=3e-3)


def test_errors_are_those_of_networks_left_out(space):
    architectures = [space.lightest(), space.heaviest(), space.random(1), space.random(2)]
    entries = {p.key: 1.0 for a in architectures for p in pieces(a, (8, 8, 3), 3)}
    sums = np.array([len(pieces(a, (8, 8, 3), 3)) for a in architectures], float)
    measured = [1.1 * sums[0], 1.2 * sums[1], 1.3 * sums[2], 1.25 * sums[3]]
    fit = calibrate(entries, architectures, measured, (8, 8, 3), 3)
    scale, overhead = fit_affine(sums[1:], measured[1:])
    assert fit.networks[0].held_out_ms == pytest.approx(overhead + scale * sums[0])
    assert fit.networks[2].predicted_ms == pytest.approx(fit.overhead_ms + fit.scale * sums[2])
    errors = [abs(row.held_out_ms / row.measured_ms - 1) for row in fit.networks]
    assert fit.mean_error == pytest.approx(sum(errors) / 4)
    assert fit.worst_error == max(errors)


def test_two_networks_are_not_enough(space):
    networks = [space.lightest(), space.heaviest()]
    entries = {p.key: 1.0 for a in networks for p in pieces(a, (8, 8, 3), 3)}
    with pytest.raises(ValueError, match="at least 3 networks, received 2"):
        calibrate(entries, networks, [3.0, 4.0], (8, 8, 3), 3)


def test_the_right_stairs_predict_best():
    """Blocks take as long as the next multiple of 16 channels; measured are a few widths only."""

    def true_ms(piece):
        width = getattr(piece.part, "fixed_middle_channels", 0)
        return 1.0 + 0.01 * (-(-width // 16) * 16) * piece.input_shape[0] / 7

    shape = TF_NAS.input_shape
    networks = [TF_NAS.random(seed) for seed in range(8)]
    measured = [sum(map(true_ms, pieces(a, shape, 10))) for a in networks]
    entries = {piece.key: true_ms(piece) for piece in all_pieces(TF_NAS, 10)}
    errors = {
        step: calibrate(entries, networks, measured, shape, 10, step).mean_error
        for step in (1, 4, 8, 16, 32)
    }
    assert errors[16] < 1e-6 and sorted(errors, key=errors.__getitem__)[0] == 16


def test_a_piece_that_was_not_measured_is_named(space):
    networks = [space.lightest(), space.heaviest(), space.random(1)]
    with pytest.raises(ValueError, match="no time was measured for piece stem"):
        calibrate({}, networks, [3.0, 4.0, 5.0], (8, 8, 3), 3)
