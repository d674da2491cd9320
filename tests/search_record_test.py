"""What is read off a search: probabilities, and a network that keeps the limits."""

import numpy as np
import pytest

from keras_nas.experiment import load_space
from keras_nas.resources.limits import Limit
from keras_nas.search_record import check_projection, read_probabilities
from keras_nas.solvers.staged_costs import StagedCosts
from keras_nas.space import SPACES


def test_probabilities_of_another_search_are_refused(tiny_config):
    space = load_space(tiny_config.space)
    record = {
        "format": "keras_nas.search",
        "version": 2,
        "space": space.name,
        "space_fingerprint": space.fingerprint(),
        "end": {"alpha": [[0.25, 0.75]], "beta": [[1.0, 0.0]]},
    }
    alpha, beta = read_probabilities(record, space)
    assert alpha.tolist() == [[0.25, 0.75]] and beta.tolist() == [[1.0, 0.0]]
    assert alpha.dtype == beta.dtype == np.float64
    with pytest.raises(ValueError, match=r"version 2, received 'keras_nas\.search' and 1"):
        read_probabilities(record | {"version": 1}, space)
    with pytest.raises(ValueError, match=r"of space 'tiny' .* not of 'hardcore_nas'"):
        read_probabilities(record, SPACES["hardcore_nas"])


def test_a_projection_over_a_limit_is_refused():
    costs = StagedCosts([[[1.0, 5.0]]], [1.0], [0], [[1]])
    limits = [Limit("latency_ms", 3.0, 2.0, 4.0, 6.0)]
    light, heavy = ((np.array([0]), np.array([c])) for c in (0, 1))
    check_projection("lp", light, costs, limits)
    with pytest.raises(ValueError, match=r"'lp' found a network with latency_ms 6, over .* 3; use"):
        check_projection("lp", heavy, costs, limits)
