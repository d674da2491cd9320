"""Latency by width: linear between knots, refused outside, expectation and gradient by hand."""

import dataclasses
import itertools

import numpy as np
import pytest

from keras_nas.resources import DeviceDescription, LatencyTable, WidthLatency
from keras_nas.resources.latency_table import RawSamples, all_pieces
from keras_nas.space import ElasticStage, Stem, TFNASOperation, TFNASSpace

CLASSES = 10
SPACE = TFNASSpace(
    "tiny",
    stages=(ElasticStage(16, 1, min_depth=1, max_depth=3), ElasticStage(24, 2, "swish", 1, 2)),
    operations=(TFNASOperation(3, 1, 2), TFNASOperation(5, 2, 3, se=0.5)),
    stem=Stem(16),
    resolution=32,
    knot_spacing=12,
)
DEVICE = DeviceDescription("host", "Chip 9", 2, "Linux x86_64", "LiteRT", "2.3.0", "XNNPACK")
BLOCKS, OPERATIONS = 5, 2


@pytest.fixture(scope="module")
def table():
    """Random times, so that nothing agrees by chance."""
    keys = [piece.key for piece in all_pieces(SPACE, CLASSES)]
    times = np.random.default_rng(0).uniform(0.1, 2, len(keys))
    return LatencyTable(
        device=DEVICE,
        precision="float32",
        threads=1,
        batch=1,
        input_shape=(32, 32, 3),
        classes=CLASSES,
        date="2024-05-01T12:00:00+00:00",
        method="made up",
        space_name=SPACE.name,
        space_fingerprint=SPACE.fingerprint(),
        reference=SPACE.lightest(),
        reference_ms=1.0,
        overhead_ms=0.25,
        scale=1.5,
        entries=dict(zip(keys, times.tolist(), strict=True)),
        calibration=(),
        mean_error=0.0,
        worst_error=0.0,
        samples=RawSamples([[1.0]], {}),
    )


@pytest.fixture(scope="module")
def latency(table):
    return WidthLatency.from_table(table, SPACE, CLASSES)


def random_point(seed):
    generator = np.random.default_rng(seed)
    alpha = generator.dirichlet(np.ones(OPERATIONS), BLOCKS)
    beta = np.zeros((2, 3))
    beta[0], beta[1, :2] = generator.dirichlet(np.ones(3)), generator.dirichlet(np.ones(2))
    low, high = SPACE.smallest_widths(), SPACE.largest_widths()
    return alpha, beta, generator.uniform(low, high)


def all_networks():
    for depths in itertools.product((1, 2, 3), (1, 2)):
        for operations in itertools.product(range(OPERATIONS), repeat=BLOCKS):
            yield operations, depths


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("width_step", [1, 8])
def test_networks_cost_what_the_table_says(table, seed, width_step):
    network = SPACE.random(seed)
    table = dataclasses.replace(table, width_step=width_step)
    latency = WidthLatency.from_table(table, SPACE, CLASSES)
    expected = table.latency_ms(network, (32, 32, 3), CLASSES)
    assert latency.network_ms(*SPACE.encode(network)) == pytest.approx(expected, rel=1e-14)


def test_stairs_between_knots(table):
    latency = WidthLatency.from_table(dataclasses.replace(table, width_step=8), SPACE, CLASSES)
    at_40 = latency.block_ms(3, 1, 40)
    assert [latency.block_ms(3, 1, width) for width in (33, 36, 39)] == [at_40] * 3
    assert latency.block_ms(3, 1, 47) == latency.block_ms(3, 1, 48)


def test_linear_between_knots(table, latency):
    left, right = (latency.block_ms(3, 1, width) for width in (32, 44))
    assert latency.block_ms(3, 1, 35) == pytest.approx(left + 3 / 12 * (right - left), rel=1e-14)
    assert latency.block_ms(3, 1, 41.5) == pytest.approx(left + 9.5 / 12 * (right - left))
    piece = next(p for p in SPACE.block_pieces()[3] if p.part == SPACE.block(3, 1, 44))
    assert right == 1.5 * table.entries[piece.key]


@pytest.mark.parametrize("width", [15.999, 32.001, -3, float("nan")])
def test_refused_outside_the_knots(latency, width):
    with pytest.raises(ValueError, match=r"k3_e1\.5 in block 0 is known for widths 16 to 32, rec"):
        latency.block_ms(0, 0, width)
    widths = SPACE.initial_widths().astype(float)
    widths[0, 0] = width
    with pytest.raises(ValueError, match="in block 0 is known for widths 16 to 32"):
        latency.operation_ms(widths)


def test_operation_ms(latency):
    widths = random_point(3)[2]
    times = latency.operation_ms(widths)
    assert times.shape == (BLOCKS, OPERATIONS) and times.dtype == np.float64
    for b, o in np.ndindex(times.shape):
        assert times[b, o] == latency.block_ms(b, o, widths[b, o])
    with pytest.raises(ValueError, match=r"shape \(5, 2\).*received \(2, 5\)"):
        latency.operation_ms(widths.T)


@pytest.mark.parametrize("seed", range(3))
def test_expectation_is_the_mean_over_all_networks(latency, seed):
    alpha, beta, _ = random_point(seed)
    widths = SPACE.encode(SPACE.random(seed))[2]
    mean = 0.0
    for operations, depths in all_networks():
        chance = beta[0, depths[0] - 1] * beta[1, depths[1] - 1]
        chance *= np.prod(alpha[np.arange(BLOCKS), operations])
        mean += chance * latency.network_ms(operations, depths, widths)
    assert latency.expected_ms(alpha, beta, widths) == pytest.approx(mean, rel=1e-12)


@pytest.mark.parametrize("seed", range(3))
def test_gradient_agrees_with_finite_differences(latency, seed):
    alpha, beta, widths = random_point(seed)
    alpha_gradient, beta_gradient = latency.expected_ms_gradient(alpha, beta, widths)
    step = 1e-6
    for array, gradient in ((alpha, alpha_gradient), (beta, beta_gradient)):
        assert gradient.shape == array.shape
        for index in np.ndindex(array.shape):
            values = []
            for sign in (1, -1):
                array[index] += sign * step
                values.append(latency.expected_ms(alpha, beta, widths))
                array[index] -= sign * step
            assert gradient[index] == pytest.approx((values[0] - values[1]) / (2 * step), abs=1e-8)


def test_range_is_that_of_all_networks_and_widths(latency):
    fastest, slowest = latency.range_ms()
    found = []
    for operations, depths in all_networks():
        best, worst = latency.fixed_ms, latency.fixed_ms
        for b in SPACE.blocks_of_depths(depths):
            knots = SPACE.knots(b, operations[b])
            times = [latency.block_ms(b, operations[b], width) for width in knots]
            best, worst = best + min(times), worst + max(times)
        found += [best, worst]
    assert (fastest, slowest) == pytest.approx((min(found), max(found)), rel=1e-13)


def test_targets(latency, recwarn):
    fastest, slowest = latency.range_ms()
    found = [latency.check_target(target) for target in (fastest, slowest)]
    assert not recwarn.list
    assert [row.limit for row in found] == [fastest, slowest]
    assert (found[0].smallest, found[0].largest) == (fastest, slowest)
    beta = [[1 / 3] * 3, [0.5, 0.5, 0]]
    uniform = latency.expected_ms(np.full((5, 2), 0.5), beta, SPACE.initial_widths())
    assert found[0].typical == pytest.approx(uniform)
    below = f"the smallest is {fastest:.6g}, the largest {slowest:.6g}. Raise the limit"
    for target in (fastest - 1e-6, float("nan")):
        with pytest.raises(ValueError, match=f"no network of the space keeps.*{below}"):
            latency.check_target(target)
    with pytest.warns(UserWarning, match=f"does not bind: the largest .* {slowest:.6g}"):
        latency.check_target(slowest + 1e-6)


def test_network_choices_are_checked(latency):
    widths = SPACE.initial_widths()
    with pytest.raises(ValueError, match="operation 0 to 1"):
        latency.network_ms([0, 0, 0, 0, 2], None, widths)
    with pytest.raises(ValueError, match="depth of stage 1 should be 1 to 2, received 3"):
        latency.network_ms([0] * 5, (1, 3), widths)
    widths[2, 0] = 33
    with pytest.raises(ValueError, match="in block 2 should be 16 to 32, received 33"):
        latency.network_ms([0] * 5, None, widths)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"resolution": 64}, "made for input_shape.*asked for"),
        ({"knot_spacing": 8}, "lacks .* pieces of space 'tiny'"),
        ({"operations": (TFNASOperation(7, 1, 2),)}, "such as ir_r1_k7_s1_m16_c16_nre@16x16x16"),
    ],
)
def test_tables_of_other_spaces_are_refused(table, changes, message):
    with pytest.raises(ValueError, match=message):
        WidthLatency.from_table(table, dataclasses.replace(SPACE, **changes), CLASSES)
    with pytest.raises(ValueError, match="made for classes 10"):
        WidthLatency.from_table(table, SPACE, 11)
