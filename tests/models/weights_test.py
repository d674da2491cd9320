import numpy as np
import pytest

from keras_nas.models import build_network
from keras_nas.models.weights import weights_from_bytes, weights_to_bytes


@pytest.fixture(scope="module")
def network(space, randomized):
    return randomized(build_network(space.lightest(), space.input_shape, 3))


def test_round_trip(network, space):
    other = build_network(space.lightest(), space.input_shape, 3)
    weights_from_bytes(other, weights_to_bytes(network), "w.npz")
    for one, two in zip(network.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize("cut", [0, 10, 1000, -1])
def test_damaged(network, cut):
    before = network.get_weights()
    with pytest.raises(ValueError, match=r"w\.npz is damaged .* Delete it and run its stage again"):
        weights_from_bytes(network, weights_to_bytes(network)[:cut], "w.npz")
    for one, two in zip(before, network.get_weights(), strict=True):
        np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize("position", [0.3, 0.6, 0.9])
def test_one_changed_byte(network, position):
    data = bytearray(weights_to_bytes(network))
    data[int(position * len(data))] ^= 0xFF
    with pytest.raises(ValueError, match="is damaged"):
        weights_from_bytes(network, bytes(data), "w.npz")


def test_another_model(network, space):
    data = weights_to_bytes(network)
    with pytest.raises(
        ValueError, match=r"head_classifier/kernel has shape \(32, 3\), and the mod"
    ):
        weights_from_bytes(build_network(space.lightest(), space.input_shape, 5), data, "w.npz")
    with pytest.raises(ValueError, match=r"w\.npz holds \d+ weights, and the model has \d+"):
        weights_from_bytes(build_network(space.heaviest(), space.input_shape, 3), data, "w.npz")
