"""A limit on peak memory against all networks of a space, one by one."""

import itertools

import numpy as np
import pytest

from keras_nas.resources import cost_model, macs, piece_macs
from keras_nas.resources.activation_memory import peak_memory_bytes
from keras_nas.resources.memory_limit import allowed_by_memory
from keras_nas.space import ElasticStage, Head, SearchSpace, Stem

SPACE = SearchSpace(
    "two",
    stem=Stem(4),
    stages=(ElasticStage(8, 2, min_depth=1, max_depth=2), ElasticStage(24, 1, "relu", 1, 2)),
    kernel_sizes=(3,),
    expansion_ratios=(2, 4),
    se_ratios=(0,),
    head=Head(16),
    resolution=16,
)


def networks():
    for depths in itertools.product((1, 2), repeat=2):
        for configurations in itertools.product(range(2), repeat=4):
            yield depths, configurations, SPACE.architecture(depths, configurations)


PEAKS = {row[:2]: peak_memory_bytes(row[2], SPACE.input_shape, 10) for row in networks()}


@pytest.mark.parametrize("limit", sorted({*PEAKS.values(), max(PEAKS.values()) - 1}))
def test_exactly_the_networks_that_keep_the_limit_are_left(limit):
    left = allowed_by_memory(SPACE, 10, "float32", limit)
    for depths, configurations, architecture in networks():
        entries = [SPACE.depths[s].index(depth) for s, depth in enumerate(depths)]
        runs = [index < depths[stage] for stage in (0, 1) for index in (0, 1)]
        allowed = all(left.depths[s, entry] for s, entry in enumerate(entries)) and all(
            left.configurations[b, c] for b, c in enumerate(configurations) if runs[b]
        )
        assert allowed == (peak_memory_bytes(architecture, SPACE.input_shape, 10) <= limit)
    assert left.limit.smallest == min(PEAKS.values())
    assert left.limit.largest == max(PEAKS.values())
    assert min(PEAKS.values()) <= left.limit.typical <= max(PEAKS.values())


def test_other_resources_range_over_what_is_left():
    limit = int(np.median(list(PEAKS.values())))
    model = cost_model(SPACE, piece_macs, 10, name="macs")
    left = allowed_by_memory(SPACE, 10, "float32", limit).restrict(model)
    kept = [
        macs(architecture, SPACE.input_shape, 10)
        for depths, configurations, architecture in networks()
        if PEAKS[depths, configurations] <= limit
    ]
    assert (left.smallest(), left.largest()) == (min(kept), max(kept))
    assert left.largest() < model.largest()


def test_too_small_a_limit_names_both_ends():
    with pytest.raises(ValueError, match=rf"smallest is {min(PEAKS.values())}") as caught:
        allowed_by_memory(SPACE, 10, "float32", min(PEAKS.values()) - 1)
    assert f"largest {max(PEAKS.values())}" in str(caught.value)
