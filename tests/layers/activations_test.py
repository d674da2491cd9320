import numpy as np
import pytest

from keras_nas.layers.activations import ACTIVATIONS, activation
from keras_nas.space.blocks import ACTIVATIONS as NAMES_IN_BLOCK_STRINGS

X = np.linspace(-8.0, 8.0, 65)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("relu", np.maximum(X, 0)),
        ("relu6", np.clip(X, 0, 6)),
        ("hard_swish", X * np.clip(X + 3, 0, 6) / 6),
        ("swish", X / (1 + np.exp(-X))),
    ],
)
def test_values(name, expected):
    np.testing.assert_allclose(activation(name)(X), expected, rtol=1e-6, atol=1e-6)


def test_every_name_of_the_notation_is_known():
    assert set(ACTIVATIONS) == set(NAMES_IN_BLOCK_STRINGS)


def test_unknown():
    with pytest.raises(ValueError, match="unknown activation 'tanh'; one of relu, relu6"):
        activation("tanh")
