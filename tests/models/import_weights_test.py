"""Imported weights against PyTorch's convolutions and norms written in NumPy, for two networks that
have every kind of module; names and shapes are written out as timm has them."""

import dataclasses

import numpy as np
import pytest

from keras_nas.models.import_weights import import_weights
from keras_nas.space import Architecture, BatchNorm, Head, Stem

SHAPE = (16, 12, 3)
EPSILON = 1e-3

AFTER = Architecture.from_block_strings(
    [
        ["ds_k3_s1_c8_nre_se0.5-d4"],
        ["ir_k5_s2_e2_c12_nhs_se0.25-d4-nre", "ir_k3_s1_e2_c12_nhs"],
        ["cn_k1_s1_c24_nhs"],
    ],
    name="after",
    stem=Stem(8, activation="hard_swish"),
    head=Head(10),
    batch_norm=BatchNorm(epsilon=EPSILON),
    padding="symmetric",
)
AFTER_TENSORS = """
    conv_stem.weight 8 3 3 3
    bn1 8
    blocks.0.0.conv_dw.weight 8 1 3 3
    blocks.0.0.bn1 8
    blocks.0.0.se.conv_reduce.weight 4 8 1 1
    blocks.0.0.se.conv_reduce.bias 4
    blocks.0.0.se.conv_expand.weight 8 4 1 1
    blocks.0.0.se.conv_expand.bias 8
    blocks.0.0.conv_pw.weight 8 8 1 1
    blocks.0.0.bn2 8
    blocks.1.0.conv_pw.weight 16 8 1 1
    blocks.1.0.bn1 16
    blocks.1.0.conv_dw.weight 16 1 5 5
    blocks.1.0.bn2 16
    blocks.1.0.se.conv_reduce.weight 4 16 1 1
    blocks.1.0.se.conv_reduce.bias 4
    blocks.1.0.se.conv_expand.weight 16 4 1 1
    blocks.1.0.se.conv_expand.bias 16
    blocks.1.0.conv_pwl.weight 12 16 1 1
    blocks.1.0.bn3 12
    blocks.1.1.conv_pw.weight 24 12 1 1
    blocks.1.1.bn1 24
    blocks.1.1.conv_dw.weight 24 1 3 3
    blocks.1.1.bn2 24
    blocks.1.1.conv_pwl.weight 12 24 1 1
    blocks.1.1.bn3 12
    blocks.2.0.conv.weight 24 12 1 1
    blocks.2.0.bn1 24
    conv_head.weight 10 24 1 1
    conv_head.bias 10
    classifier.weight 5 10
    classifier.bias 5
"""

BEFORE = Architecture.from_block_strings(
    [
        ["er_k3_s2_m16_c8_nre"],
        ["dsa_k3_s1_c8_nre"],
        ["ir_k3.5_s2_e2_c12_nre_a1.1_p1.1"],
    ],
    name="before",
    stem=Stem(6),
    head=Head(10, "relu", before_pooling=True),
    batch_norm=BatchNorm(epsilon=EPSILON),
    padding="symmetric",
)
BEFORE_TENSORS = """
    conv_stem.weight 6 3 3 3
    bn1 6
    blocks.0.0.conv_exp.weight 16 6 3 3
    blocks.0.0.bn1 16
    blocks.0.0.conv_pwl.weight 8 16 1 1
    blocks.0.0.bn2 8
    blocks.1.0.conv_dw.weight 8 1 3 3
    blocks.1.0.bn1 8
    blocks.1.0.conv_pw.weight 8 8 1 1
    blocks.1.0.bn2 8
    blocks.2.0.conv_pw.0.weight 8 4 1 1
    blocks.2.0.conv_pw.1.weight 8 4 1 1
    blocks.2.0.bn1 16
    blocks.2.0.conv_dw.0.weight 8 1 3 3
    blocks.2.0.conv_dw.1.weight 8 1 5 5
    blocks.2.0.bn2 16
    blocks.2.0.conv_pwl.0.weight 6 8 1 1
    blocks.2.0.conv_pwl.1.weight 6 8 1 1
    blocks.2.0.bn3 12
    conv_head.weight 10 12 1 1
    bn2 10
    classifier.weight 5 10
    classifier.bias 5
"""


def state_dict(listed, seed=0):
    """Random tensors of the listed names; a name without a tensor is a batch norm."""
    generator = np.random.default_rng(seed)
    tensors = {}
    for line in listed.split("\n    ")[1:]:
        name, *sizes = line.split()
        shape = tuple(map(int, sizes))
        if name.endswith(("weight", "bias")):
            fan_in = np.prod(shape[1:]) if len(shape) > 1 else 9
            tensors[name] = generator.normal(0, fan_in**-0.5, shape)
            continue
        tensors[f"{name}.weight"] = generator.uniform(0.5, 1.5, shape)
        tensors[f"{name}.bias"] = generator.normal(0, 0.3, shape)
        tensors[f"{name}.running_mean"] = generator.normal(0, 0.3, shape)
        tensors[f"{name}.running_var"] = generator.uniform(0.01, 2, shape)
        tensors[f"{name}.num_batches_tracked"] = np.array(1234)
    return {k: v if v.dtype.kind == "i" else v.astype("f4") for k, v in tensors.items()}


class Reference:
    """PyTorch's operations on [N, C, H, W] in float64, by the names in a state dict."""

    def __init__(self, tensors):
        self.tensors = {name: value.astype("f8") for name, value in tensors.items()}

    def convolution(self, x, name, stride=1, groups=1):
        weight = self.tensors[f"{name}.weight"]  # [O, I / groups, k, k]
        size = weight.shape[2]
        x = np.pad(x, [(0, 0), (0, 0), *[(size // 2, size // 2)] * 2])
        windows = np.lib.stride_tricks.sliding_window_view(x, (size, size), (2, 3))
        windows = windows[:, :, ::stride, ::stride]  # [N, C, H, W, k, k]
        parts = [
            np.einsum("nchwij,ocij->nohw", part, kernel)
            for part, kernel in zip(
                np.split(windows, groups, 1), np.split(weight, groups), strict=True
            )
        ]
        y = np.concatenate(parts, 1)
        bias = self.tensors.get(f"{name}.bias")
        return y if bias is None else y + bias[:, None, None]

    def depthwise(self, x, name, stride=1):
        return self.convolution(x, name, stride, groups=x.shape[1])

    def norm(self, x, name):
        scale, offset, mean, variance = (
            self.tensors[f"{name}.{part}"][:, None, None]
            for part in ("weight", "bias", "running_mean", "running_var")
        )
        return (x - mean) / np.sqrt(variance + EPSILON) * scale + offset

    def squeeze_excite(self, x, name):
        y = relu(self.convolution(pool(x), f"{name}.conv_reduce"))
        return x * hard_sigmoid(self.convolution(y, f"{name}.conv_expand"))

    def linear(self, x, name):
        return x @ self.tensors[f"{name}.weight"].T + self.tensors[f"{name}.bias"]


def relu(x):
    return np.maximum(x, 0)


def hard_sigmoid(x):
    return np.clip(x / 6 + 0.5, 0, 1)


def hard_swish(x):
    return x * hard_sigmoid(x)


def pool(x):
    return x.mean((2, 3), keepdims=True)


def run_after(net, x):
    x = hard_swish(net.norm(net.convolution(x, "conv_stem", 2), "bn1"))
    b = "blocks.0.0."
    y = relu(net.norm(net.depthwise(x, b + "conv_dw"), b + "bn1"))
    y = net.squeeze_excite(y, b + "se")
    x = x + net.norm(net.convolution(y, b + "conv_pw"), b + "bn2")
    b = "blocks.1.0."
    y = hard_swish(net.norm(net.convolution(x, b + "conv_pw"), b + "bn1"))
    y = hard_swish(net.norm(net.depthwise(y, b + "conv_dw", 2), b + "bn2"))
    y = net.squeeze_excite(y, b + "se")
    x = net.norm(net.convolution(y, b + "conv_pwl"), b + "bn3")
    b = "blocks.1.1."
    y = hard_swish(net.norm(net.convolution(x, b + "conv_pw"), b + "bn1"))
    y = hard_swish(net.norm(net.depthwise(y, b + "conv_dw"), b + "bn2"))
    x = x + net.norm(net.convolution(y, b + "conv_pwl"), b + "bn3")
    x = hard_swish(net.norm(net.convolution(x, "blocks.2.0.conv"), "blocks.2.0.bn1"))
    return net.linear(hard_swish(net.convolution(pool(x), "conv_head"))[..., 0, 0], "classifier")


def run_before(net, x):
    x = relu(net.norm(net.convolution(x, "conv_stem", 2), "bn1"))
    b = "blocks.0.0."
    y = relu(net.norm(net.convolution(x, b + "conv_exp", 2), b + "bn1"))
    x = net.norm(net.convolution(y, b + "conv_pwl"), b + "bn2")
    b = "blocks.1.0."
    y = relu(net.norm(net.depthwise(x, b + "conv_dw"), b + "bn1"))
    x = relu(net.norm(net.convolution(y, b + "conv_pw"), b + "bn2"))
    b = "blocks.2.0."
    halves = np.split(x, 2, 1)
    y = [net.convolution(half, f"{b}conv_pw.{i}") for i, half in enumerate(halves)]
    halves = np.split(relu(net.norm(np.concatenate(y, 1), b + "bn1")), 2, 1)
    y = [net.depthwise(half, f"{b}conv_dw.{i}", 2) for i, half in enumerate(halves)]
    halves = np.split(relu(net.norm(np.concatenate(y, 1), b + "bn2")), 2, 1)
    y = [net.convolution(half, f"{b}conv_pwl.{i}") for i, half in enumerate(halves)]
    x = net.norm(np.concatenate(y, 1), b + "bn3")
    x = relu(net.norm(net.convolution(x, "conv_head"), "bn2"))
    return net.linear(pool(x)[..., 0, 0], "classifier")


@pytest.mark.parametrize(
    ("architecture", "listed", "run"),
    [(AFTER, AFTER_TENSORS, run_after), (BEFORE, BEFORE_TENSORS, run_before)],
)
def test_the_network_computes_what_pytorch_does(architecture, listed, run):
    tensors = state_dict(listed)
    network = import_weights(architecture, SHAPE, tensors)
    images = np.random.default_rng(1).normal(size=(2, 3, 16, 12)).astype("f4")
    expected = run(Reference(tensors), images.astype("f8"))
    ours = network(images.transpose(0, 2, 3, 1), training=False).numpy()
    assert np.abs(ours - expected).max() < 1e-5 * np.abs(expected).max()


def with_(tensors, **changes):
    return tensors | {name.replace("__", "."): value for name, value in changes.items()}


def without(tensors, *names):
    return {name: value for name, value in tensors.items() if name not in names}


def test_everything_that_does_not_fit_is_listed():
    tensors = state_dict(AFTER_TENSORS)
    tensors = without(tensors, "conv_head.bias", "blocks.1.1.bn2.running_var")
    tensors = with_(
        tensors,
        bn2__weight=np.ones(10, "f4"),
        classifier__num_batches_tracked=np.array(1),
        conv_stem__weight=np.ones((8, 1, 3, 3), "f4"),
        blocks__0__0__bn1__bias=np.full(8, np.inf, "f4"),
        bn1__running_mean=np.arange(8),
    )
    with pytest.raises(ValueError, match="does not fit 'after'") as error:
        import_weights(AFTER, SHAPE, tensors)
    assert str(error.value).splitlines()[1:] == [
        "  missing (2): blocks.1.1.bn2.running_var (24,), conv_head.bias (10,)",
        "  left over (2): bn2.weight (10,), classifier.num_batches_tracked ()",
        "  of another shape (1): conv_stem.weight (8, 1, 3, 3) in place of (8, 3, 3, 3)",
        "  not floating-point (1): bn1.running_mean int64",
        "  not finite (1): blocks.0.0.bn1.bias",
    ]


@pytest.mark.parametrize(
    ("change", "missing", "left_over"),
    [
        ({"stages": BEFORE.stages}, "blocks.0.0.conv_exp.weight", "blocks.0.0.conv_dw.weight"),
        ({"head": BEFORE.head}, "bn2.running_mean (10,)", "conv_head.bias (10,)"),
    ],
)
def test_another_architecture_is_refused(change, missing, left_over):
    with pytest.raises(ValueError, match="does not fit 'after'") as error:
        import_weights(dataclasses.replace(AFTER, **change), SHAPE, state_dict(AFTER_TENSORS))
    _, first, second, *_ = str(error.value).splitlines()
    assert missing in first and first.startswith("  missing")
    assert left_over in second and second.startswith("  left over")


def test_half_precision_and_double_are_taken():
    tensors = state_dict(AFTER_TENSORS)
    whole = import_weights(AFTER, SHAPE, tensors)
    for dtype, tolerance in (("f2", 1e-3), ("f8", 1e-7)):
        cast = {k: v.astype(dtype) if v.dtype.kind == "f" else v for k, v in tensors.items()}
        for a, b in zip(import_weights(AFTER, SHAPE, cast).weights, whole.weights, strict=True):
            assert a.dtype == "float32"
            np.testing.assert_allclose(a.numpy(), b.numpy(), tolerance, tolerance)


def test_another_number_of_classes_only_when_asked():
    tensors = state_dict(AFTER_TENSORS)
    with pytest.raises(ValueError, match=r"for 5 classes, and 7 are .* reset_classifier"):
        import_weights(AFTER, SHAPE, tensors, classes=7)
    whole = import_weights(AFTER, SHAPE, tensors, classes=5)
    fresh = import_weights(AFTER, SHAPE, tensors, classes=7, reset_classifier=True)
    headless = without(tensors, "classifier.weight", "classifier.bias")
    grown = import_weights(AFTER, SHAPE, headless, classes=7, reset_classifier=True)
    for network in (fresh, grown):
        assert network.output_shape == (None, 7)
        for ours, theirs in zip(network.weights[:-2], whole.weights[:-2], strict=True):
            np.testing.assert_array_equal(ours.numpy(), theirs.numpy())
    same = import_weights(AFTER, SHAPE, tensors, reset_classifier=True)
    assert same.output_shape == (None, 5)
    assert np.all(same.weights[-2].numpy() != whole.weights[-2].numpy())


def test_a_state_dict_without_a_classifier():
    headless = without(state_dict(AFTER_TENSORS), "classifier.weight", "classifier.bias")
    with pytest.raises(ValueError, match=r"holds no classifier.* set classes, and reset"):
        import_weights(AFTER, SHAPE, headless)
    with pytest.raises(ValueError, match=r"missing \(2\): classifier\.weight \(5, 10\), class"):
        import_weights(AFTER, SHAPE, headless, classes=5)
