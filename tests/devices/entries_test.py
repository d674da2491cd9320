"""Entries from samples with a known answer."""

import numpy as np
import pytest

from keras_nas.devices import Profile, Run, entries
from keras_nas.space import pieces

CLASSES = 3


@pytest.fixture
def networks(space):
    return [space.architecture([2], [0, 1], "a"), space.architecture([2], [1, 1], "b")]


@pytest.fixture
def paths(networks, space, tmp_path, monkeypatch):
    """Files of the pieces, of which each is said to have two operations."""

    def operations_of_parts(parts):
        assert parts[0].startswith(b"stem") and parts[-1].startswith(b"head")
        return [["CONV_2D", "ADD"] for _ in parts]

    monkeypatch.setattr(entries, "operations_of_parts", operations_of_parts)
    found = {}
    for network in networks:
        for piece in pieces(network, space.input_shape, CLASSES):
            found[piece.key] = tmp_path / piece.key
            found[piece.key].write_bytes(piece.key.encode())
    return found


def profile_of(networks, space, factors):
    """Piece number n takes n + 1 ms a round, in two operations; b takes twice as long."""
    operations, ms, reference_ms = {}, {}, {}
    for network in networks:
        parts = pieces(network, space.input_shape, CLASSES)
        operations[network.name] = ["Convolution", "Add"] * len(parts)
        row = np.repeat(np.arange(1.0, len(parts) + 1), 2) * np.tile([0.25, 0.75], len(parts))
        row *= 1 + (network.name == "b")
        ms[network.name] = np.outer(factors, row).tolist()
        reference_ms[network.name] = [4.0] * len(factors)
    return Profile(operations, ms, reference_ms)


def test_pieces_are_sums_of_operations_and_means_of_places(space, networks, paths):
    # Medians over rounds 1, 2 and 5; over processes 1, 2 and 5.
    profiles = [profile_of(networks, space, [x, 1.0, 9.0]) for x in (0.5, 0.8)]
    profiles.append(profile_of(networks, space, [5.0, 5.0, 5.0]))
    found = entries.in_place(profiles, networks, paths, space, CLASSES)
    stem, first, second, head = pieces(networks[0], space.input_shape, CLASSES)
    other = pieces(networks[1], space.input_shape, CLASSES)[1]
    assert found.ratios == pytest.approx(
        {
            stem.key: (1 + 2) / 2 / 4,  # in a and in b
            first.key: 2 / 4,
            other.key: 4 / 4,
            second.key: (3 + 6) / 2 / 4,
            head.key: (4 + 8) / 2 / 4,
        }
    )
    assert found.method == "operations profiled inside 2 whole networks"
    assert found.samples[f"b/1 {other.key}"] == [[0.5, 1.0, 9.0], [0.8, 1.0, 9.0], [5.0] * 3]


def test_alone_the_call_is_subtracted():
    ms = {"empty": [1.0, 1.0], "small": [0.9, 0.9], "large": [5.0, 7.0]}
    run = Run(ms, {name: [2.0, 2.0] for name in ms})
    found = entries.alone([run, run], ["small", "large"])
    assert found.ratios == {"small": 0.0, "large": 2.5}
    assert found.samples["large"] == [[2.5, 3.5]] * 2


def test_samples_keep_five_digits():
    assert entries.as_samples([np.array([1 / 3, 123456.7])]) == [[0.33333, 123460.0]]
