import dataclasses
import subprocess
import sys

import keras
import numpy as np
import pytest

from keras_nas.layers.batch_norm import FusedBatchNormalization
from keras_nas.models import build_network, build_piece
from keras_nas.space import HARDCORE_NAS_TABLE_3, Head, pieces


def images(count=3, resolution=24):
    return np.random.default_rng(0).normal(size=(count, resolution, resolution, 3)).astype("f4")


@pytest.fixture(scope="module")
def variants(space):
    """Both orders of the head, and a head without features."""
    table_3 = Head(32, "swish", before_pooling=True)
    heads = (space.head, table_3, Head(features=0), Head(16, dropout_rate=0.5))
    return [dataclasses.replace(space.random(i), head=head) for i, head in enumerate(heads)]


LOAD = """
import sys, keras, numpy as np
for i in range(2):
    model = keras.models.load_model(f"{i}.keras")
    np.save(f"{i}.npy", model(np.load("images.npy"), training=False))
assert "keras_nas" not in sys.modules
"""


def test_loads_in_a_process_that_does_not_know_this_package(variants, randomized, tmp_path):
    np.save(tmp_path / "images.npy", images())
    networks = [randomized(build_network(a, (24, 24, 3), 5)) for a in variants[:2]]
    for i, network in enumerate(networks):
        network.save(tmp_path / f"{i}.keras")
    subprocess.run([sys.executable, "-c", LOAD], check=True, cwd=tmp_path, capture_output=True)
    for i, network in enumerate(networks):
        expected = network(images(), training=False)
        np.testing.assert_allclose(np.load(tmp_path / f"{i}.npy"), expected, rtol=1e-5, atol=1e-6)


def test_is_functional_and_made_of_keras_layers(variants):
    for architecture in variants:
        network = build_network(architecture, (24, 24, 3), 5)
        assert isinstance(network, keras.Model) and network.input_shape == (None, 24, 24, 3)
        assert network.output_shape == (None, 5)
        kinds = [type(network), *map(type, network.operations)]
        own = [kind for kind in kinds if not kind.__module__.startswith("keras.")]
        assert own == []


def test_follows_the_pieces(space):
    """A network is its pieces in a row, with the shapes that the space states."""
    architecture = space.random(3)
    parts = pieces(architecture, (24, 24, 3), 5)
    network = build_network(architecture, (24, 24, 3), 5)
    weights, x = network.get_weights(), images()
    for piece in parts:
        model = build_piece(piece, architecture.batch_norm)
        model.set_weights([weights.pop(0) for _ in model.weights])
        assert model.input_shape[1:] == piece.input_shape
        x = model(x, training=False)
        assert x.shape[1:] == (piece.output_shape if piece is not parts[-1] else (5,))
    assert not weights
    np.testing.assert_allclose(x, network(images(), training=False), rtol=1e-5, atol=1e-6)


def test_batch_norm_constants(space):
    batch_norm = dataclasses.replace(space.batch_norm, momentum=0.7, epsilon=1e-4)
    architecture = dataclasses.replace(space.lightest(), batch_norm=batch_norm)
    for fused, kind in ((False, keras.layers.BatchNormalization), (True, FusedBatchNormalization)):
        network = build_network(architecture, (24, 24, 3), 2, fused_batch_norm=fused)
        norms = [m for m in network.layers if isinstance(m, keras.layers.BatchNormalization)]
        assert {type(m) for m in norms} == {kind}
        assert {(m.momentum, m.epsilon) for m in norms} == {(0.7, 1e-4)}


def test_fused_batch_norm_gives_the_same_network(space, randomized):
    plain = randomized(build_network(space.random(1), (24, 24, 3), 4))
    fused = build_network(space.random(1), (24, 24, 3), 4, fused_batch_norm=True)
    assert [w.path for w in fused.weights] == [w.path for w in plain.weights]
    fused.set_weights(plain.get_weights())
    for training in (False, True):
        np.testing.assert_allclose(
            fused(images(8), training=training),
            plain(images(8), training=training),
            rtol=1e-3,
            atol=1e-3,
        )


def test_dropout_is_active_in_training_only(space):
    head = Head(features=0, dropout_rate=0.5)
    architecture = dataclasses.replace(space.lightest(), head=head)
    network = build_network(architecture, (24, 24, 3), 3)
    assert network.get_layer("head_dropout").rate == 0.5
    # Batch norm in training would hide what dropout does.
    features = keras.Model(network.get_layer("head_dropout").input, network.output)
    x = np.ones((2, 24), "f4")
    np.testing.assert_array_equal(features(x, training=False), features(x, training=False))
    assert np.any(features(x, training=True) != features(x, training=True))
    names = [layer.name for layer in build_network(space.lightest(), (24, 24, 3), 3).layers]
    assert "head_dropout" not in names


@pytest.mark.parametrize(
    ("name", "tolerance"), [("mixed_bfloat16", 0.1), ("mixed_float16", 0.02), ("float64", 1e-4)]
)
def test_precision(space, randomized, policy, name, tolerance):
    expected = randomized(build_network(space.random(5), (24, 24, 3), 4))(images(), training=False)
    policy(name)
    network = randomized(build_network(space.random(5), (24, 24, 3), 4, fused_batch_norm=True))
    logits = network(images(), training=False)
    assert logits.dtype == "float32"
    np.testing.assert_allclose(logits, expected, atol=tolerance * np.abs(expected).max())
    assert np.all(np.isfinite(network(images(), training=True)))


def test_paper_variant_has_swish_and_features_before_pooling():
    network = build_network(HARDCORE_NAS_TABLE_3.lightest(), (32, 32, 3), 10)
    assert network.get_layer("head_features_convolution").output.shape == (None, 1, 1, 1280)
    names = [layer.name for layer in network.layers]
    assert names.index("head_features_batch_norm") < names.index("head_pool")
    kinds = {type(operation).__name__ for operation in network.operations}
    assert {"Silu", "Relu"} <= kinds and "HardSilu" not in kinds


@pytest.mark.parametrize("name", ["with space", "a/b:c", "", "_x", "größe", "0"])
def test_any_name_will_do(space, name):
    architecture = dataclasses.replace(space.lightest(), name=name)
    assert build_network(architecture, (24, 24, 3), 2).predict(images(), verbose=0).shape == (3, 2)


@pytest.mark.parametrize(
    ("input_shape", "classes", "message"),
    [
        ((24, 24), 2, "input shape should be"),
        (
            (24, -1, 3),
            2,
            "every entry of the input shape should be a positive integer, received -1",
        ),
        ((24, 24, 3), 0, "number of classes should be a positive integer, received 0"),
    ],
)
def test_bad_input(space, input_shape, classes, message):
    with pytest.raises(ValueError, match=message):
        build_network(space.lightest(), input_shape, classes)
