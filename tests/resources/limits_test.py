"""Limits against the range of a space, found by enumeration."""

import itertools

import pytest

from keras_nas.resources import CostModel, cost_model, macs, piece_macs, piece_parameters
from keras_nas.resources.limits import Limit, check_limits, range_table
from keras_nas.space import ElasticStage, Head, SearchSpace, Stem

SPACE = SearchSpace(
    "two",
    stem=Stem(8),
    stages=(ElasticStage(8, 2, min_depth=1, max_depth=2), ElasticStage(16, 2, "relu", 1, 1)),
    kernel_sizes=(3,),
    expansion_ratios=(2, 4),
    se_ratios=(0,),
    head=Head(16),
    resolution=16,
)
MODELS = [
    cost_model(SPACE, piece_macs, 10, name="macs"),
    cost_model(SPACE, piece_parameters, 10, name="parameters"),
]


def every_network():
    for depth, *configurations in itertools.product((1, 2), *[range(2)] * 3):
        yield depth, SPACE.architecture([depth, 1], configurations)


def test_the_range_is_that_of_all_networks():
    costs = [macs(a, SPACE.input_shape, 10) for _, a in every_network()]
    row = check_limits(MODELS[:1], {"macs": sum(costs) / len(costs)})[0]
    assert row.smallest == pytest.approx(min(costs))
    assert row.largest == pytest.approx(max(costs))
    assert row.typical == pytest.approx(sum(costs) / len(costs))  # uniform over both depths


def test_limits_on_the_edges_are_accepted_in_silence(recwarn):
    smallest, largest = MODELS[0].smallest(), MODELS[0].largest()
    for limit in (smallest, largest):
        assert check_limits(MODELS[:1], {"macs": limit})[0].limit == limit
    assert not recwarn


def test_below_the_smallest_shows_the_range_of_all_resources():
    limits = {"macs": MODELS[0].largest(), "parameters": 5}
    with pytest.raises(ValueError) as caught:
        check_limits(MODELS, limits)
    text = str(caught.value)
    assert "parameters <= 5: the smallest is " in text
    assert f"{MODELS[1].smallest():.6g}" in text
    assert f"{MODELS[1].largest():.6g}" in text
    assert "Raise the limit" in text
    assert "macs" in text.split("\n", 1)[1]


def test_above_the_largest_warns():
    with pytest.warns(UserWarning, match=r"macs <= 1e\+12 does not bind: the largest network"):
        check_limits(MODELS[:1], {"macs": 1e12})


def test_range_table_has_a_row_a_resource():
    rows = range_table([Limit("latency_ms", 3.5, 1.25, 2.5, 5.0), Limit("macs", 4, 1, 2, 3)])
    lines = [line.split() for line in rows.splitlines()]
    assert lines[0] == ["resource", "smallest", "typical", "largest", "limit"]
    assert lines[1] == ["latency_ms", "1.25", "2.5", "5", "3.5"]
    assert lines[2] == ["macs", "1", "2", "3", "4"]
    assert isinstance(MODELS[0], CostModel)
