"""The plain blocks against NumPy."""

import keras
import numpy as np
import pytest

from keras_nas.layers.mbconv import convolution, fused_mbconv, mbconv, squeeze_excite

FUNCTIONS = {
    "relu": lambda x: np.maximum(x, 0),
    "relu6": lambda x: np.clip(x, 0, 6),
    "swish": lambda x: x / (1 + np.exp(-x)),
    "hard_swish": lambda x: x * np.clip(x + 3, 0, 6) / 6,
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "hard_sigmoid": lambda x: np.clip(x + 3, 0, 6) / 6,
}


def padded(x, kernel_size, stride, symmetric):
    """PyTorch: k // 2 everywhere. SAME: what the outputs need, the odd pixel below and right."""
    pads = []
    for size in x.shape[1:3]:
        total = max((-(-size // stride) - 1) * stride + kernel_size - size, 0)
        pads.append((kernel_size // 2,) * 2 if symmetric else (total // 2, total - total // 2))
    return np.pad(x, ((0, 0), *pads, (0, 0)))


def convolve(x, kernel, stride=1, symmetric=False, groups=1):
    """x [B, H, W, C], kernel [k, k, C / groups, F], by the definition."""
    size, share = kernel.shape[0], kernel.shape[3] // groups
    x = padded(x, size, stride, symmetric)
    height, width = ((length - size) // stride + 1 for length in x.shape[1:3])
    out = np.zeros((len(x), height, width, kernel.shape[3]))
    for i in range(height):
        for j in range(width):
            patch = x[:, i * stride : i * stride + size, j * stride : j * stride + size]
            for g, part in enumerate(np.split(patch, groups, axis=3)):
                weights = kernel[..., g * share : (g + 1) * share]
                out[:, i, j, g * share : (g + 1) * share] = np.tensordot(part, weights, 3)
    return out


def depthwise(x, kernels, stride, symmetric):
    """kernels: one [k, k, C / n, 1] for each of n equal shares of the channels."""
    shares = np.split(x, len(kernels), axis=3)
    channels = [
        convolve(share[..., [c]], kernel[:, :, [c]], stride, symmetric)
        for share, kernel in zip(shares, kernels, strict=True)
        for c in range(kernel.shape[2])
    ]
    return np.concatenate(channels, axis=3)


def excite(x, weights, inside, gate):
    reduce, reduce_bias, expand, expand_bias = weights
    hidden = FUNCTIONS[inside](x.mean((1, 2)) @ reduce + reduce_bias)
    return x * FUNCTIONS[gate](hidden @ expand + expand_bias)[:, None, None]


def no_norm(x, name):
    return x


def built(apply, shape=(8, 6, 8)):
    """A model of one block with random weights, an input, its output, and weights by layer."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input(shape, dtype="float32")
    model = keras.Model(inputs, apply(inputs))
    for weight in model.weights:
        weight.assign(np.random.default_rng(len(weight.path)).normal(0, 0.5, weight.shape))
    x = np.random.default_rng(1).normal(size=(2, *shape)).astype("f4")
    weights = {layer.name: layer.get_weights() for layer in model.layers if layer.weights}
    return x, model(x).numpy(), weights


@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("kernel_size", [1, 3, 5])
@pytest.mark.parametrize("shape", [(8, 6, 4), (7, 6, 4)])
def test_padding(symmetric, kernel_size, shape):
    x, y, weights = built(
        lambda x: convolution(x, 3, kernel_size, 2, "relu", no_norm, "a", symmetric=symmetric),
        shape,
    )
    expected = FUNCTIONS["relu"](convolve(x, weights["a_convolution"][0], 2, symmetric))
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("inside", ["relu", "swish", "hard_swish", "relu6"])
@pytest.mark.parametrize("gate", ["hard_sigmoid", "sigmoid"])
def test_squeeze_and_excitation(inside, gate):
    x, y, weights = built(lambda x: squeeze_excite(x, 3, "se", (inside, gate)))
    expected = excite(x, [*weights["se_reduce"], *weights["se_expand"]], inside, gate)
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("kernel_size", "stride", "groups", "residual", "project_activation", "symmetric"),
    [
        (3, 1, (1, 1), True, None, False),
        ((3, 5, 7), 2, (1, 1), False, None, True),
        ((3, 5), 2, (2, 4), False, None, False),
        ((3, 5, 7, 9, 11, 3), 1, (4, 2), True, None, True),
        (5, 2, (1, 1), False, "relu6", True),
    ],
)
def test_mbconv(kernel_size, stride, groups, residual, project_activation, symmetric):
    x, y, weights = built(
        lambda x: mbconv(
            x,
            expand=True,
            middle_channels=24,
            channels=8,
            kernel_size=kernel_size,
            stride=stride,
            se_channels=5,
            residual=residual,
            activation_name="swish",
            normalization=no_norm,
            name="b",
            groups=groups,
            se_variant=("hard_swish", "sigmoid"),
            project_activation_name=project_activation,
            symmetric=symmetric,
        )
    )
    names = [name for name in weights if name.startswith("b_depthwise")]
    several = isinstance(kernel_size, tuple)
    sizes = range(len(kernel_size)) if several else ()
    assert names == ([f"b_depthwise_{i}" for i in sizes] or ["b_depthwise"])
    z = FUNCTIONS["swish"](convolve(x, weights["b_expand"][0], groups=groups[0]))
    z = FUNCTIONS["swish"](depthwise(z, [weights[name][0] for name in names], stride, symmetric))
    z = excite(z, [*weights["b_se_reduce"], *weights["b_se_expand"]], "hard_swish", "sigmoid")
    z = convolve(z, weights["b_project"][0], groups=groups[1])
    if project_activation:
        z = FUNCTIONS[project_activation](z)
    np.testing.assert_allclose(y, x + z if residual else z, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(("stride", "symmetric"), [(1, False), (2, False), (2, True)])
def test_fused_mbconv(stride, symmetric):
    x, y, weights = built(
        lambda x: fused_mbconv(
            x,
            middle_channels=12,
            channels=8,
            kernel_size=3,
            stride=stride,
            se_channels=4,
            residual=stride == 1,
            activation_name="relu",
            normalization=no_norm,
            name="b",
            symmetric=symmetric,
        )
    )
    z = FUNCTIONS["relu"](convolve(x, weights["b_expand"][0], stride, symmetric))
    z = excite(z, [*weights["b_se_reduce"], *weights["b_se_expand"]], "relu", "hard_sigmoid")
    z = convolve(z, weights["b_project"][0])
    np.testing.assert_allclose(y, x + z if stride == 1 else z, rtol=1e-3, atol=1e-4)
