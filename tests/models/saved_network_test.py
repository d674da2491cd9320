"""`.keras` files: there and back, and as the start of another network."""

import dataclasses

import keras
import numpy as np
import pytest

from keras_nas.models import build_network
from keras_nas.models.saved_network import load_network, network_to_bytes, start_from
from keras_nas.space import Architecture, BatchNorm, Head, Stem

ARCHITECTURE = Architecture.from_block_strings(
    [["ds_k3_s1_c8"], ["ir_k3_s2_e2_c12_se0.25"]],
    stem=Stem(8),
    head=Head(10, dropout_rate=0.2),
    padding="symmetric",
)


@pytest.fixture(scope="module")
def saved(tmp_path_factory, randomized):
    """A file, and the network in it."""
    network = randomized(build_network(ARCHITECTURE, (16, 16, 3), 5))
    path = tmp_path_factory.mktemp("saved") / "network.keras"
    path.write_bytes(network_to_bytes(network))
    return path, network


def test_there_and_back(saved):
    path, network = saved
    images = np.random.default_rng(0).normal(size=(2, 16, 16, 3)).astype("f4")
    np.testing.assert_array_equal(load_network(path)(images), network(images))


def test_a_start_at_another_size_and_with_other_classes(saved):
    path, network = saved
    same = build_network(ARCHITECTURE, (24, 32, 3), 5)
    start_from(path, same, reset_classifier=False)
    for ours, theirs in zip(same.weights, network.weights, strict=True):
        np.testing.assert_array_equal(ours.numpy(), theirs.numpy())
    for classes in (5, 7):
        fresh = build_network(ARCHITECTURE, (16, 16, 3), classes)
        before = fresh.get_layer("head_classifier").get_weights()
        start_from(path, fresh, reset_classifier=True)
        for ours, theirs in zip(fresh.layers, network.layers, strict=True):
            expected = before if ours.name == "head_classifier" else theirs.get_weights()
            for a, b in zip(ours.get_weights(), expected, strict=True):
                np.testing.assert_array_equal(a, b)


def test_other_classes_only_when_asked(saved):
    network = build_network(ARCHITECTURE, (16, 16, 3), 7)
    before = network.get_weights()
    with pytest.raises(
        ValueError, match=r"network\.keras has 5 classes, and 7 .* reset_classifier"
    ):
        start_from(saved[0], network, reset_classifier=False)
    for ours, theirs in zip(network.get_weights(), before, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def blocks(*stages):
    return {"stages": Architecture.from_block_strings(stages).stages}


# Weights have the same shapes in the first six: only what is computed differs.
@pytest.mark.parametrize(
    ("change", "difference"),
    [
        ({"padding": "same"}, "stem_convolution_padding is a ZeroPadding2D, not a Conv2D"),
        ({"batch_norm": BatchNorm(epsilon=1e-3)}, "stem_batch_norm has epsilon 1e-05, not 0.001"),
        ({"stem": Stem(8, stride=1)}, "is a ZeroPadding2D, not a Conv2D"),
        ({"stem": Stem(8, activation="swish")}, "is a Relu, not a Silu"),
        ({"head": Head(10, "relu", dropout_rate=0.2)}, "is a HardSilu, not a Relu"),
        ({"head": Head(10)}, "head_dropout is a Dropout, not a Dense"),
        ({"stem": Stem(4)}, "stem_convolution has filters 8, not 4"),
        (
            blocks(["ds_k5_s1_c8"], ["ir_k3_s2_e2_c12_se0.25"]),
            r"kernel_size \(3, 3\), not \(5, 5\)",
        ),
        (blocks(["ds_k3_s1_c8"], ["ir_k3_s2_e2_c12"]), "se_pool is a GlobalAverage"),
        (blocks(["ds_k3_s1_c8"]), "stage1_block0_expand is a Conv2D, not a GlobalAverage"),
    ],
)
def test_another_architecture_is_refused(saved, change, difference):
    network = build_network(dataclasses.replace(ARCHITECTURE, **change), (16, 16, 3), 5)
    message = rf"network\.keras has another architecture than 'network', .*: .*{difference}"
    with pytest.raises(ValueError, match=message):
        start_from(saved[0], network, reset_classifier=False)


def test_a_network_that_goes_on_is_refused(saved, tmp_path):
    _, network = saved
    longer = keras.Sequential([network, keras.layers.Softmax()])
    longer.save(tmp_path / "longer.keras")
    outputs = keras.layers.Softmax()(network.output)
    keras.Model(network.input, outputs).save(tmp_path / "softmax.keras")
    fresh = build_network(ARCHITECTURE, (16, 16, 3), 5)
    for name, difference in (("longer", "is a "), ("softmax", r"has (\d+) operations, not ")):
        with pytest.raises(ValueError, match=rf"{name}\.keras has another arch.*: .*{difference}"):
            start_from(tmp_path / f"{name}.keras", fresh, reset_classifier=False)


def test_files_that_cannot_be_loaded(saved, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no network at .*none\.keras"):
        load_network(tmp_path / "none.keras")
    path, whole = tmp_path / "damaged.keras", saved[0].read_bytes()
    flipped = bytearray(whole)
    flipped[whole.index(b"config.json") + 200] ^= 255
    for content in (b"", b"text", whole[: len(whole) // 2], bytes(flipped)):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"network .*damaged\.keras cannot be loaded: .* anew"):
            load_network(path)
