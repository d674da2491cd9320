"""`python -m keras_nas.tools.import_weights`."""

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

from keras_nas.models.import_weights import import_weights
from keras_nas.space import Architecture, BatchNorm, Head, Stem
from keras_nas.tools.import_weights import import_file
from keras_nas.tools.networks import named_network

ROOT = Path(__file__).parents[2]

ARCHITECTURE = Architecture.from_block_strings(
    [["ds_k3_s2_c6"]], name="small", stem=Stem(4), head=Head(8), padding="symmetric"
)
SHAPES = {
    "conv_stem.weight": (4, 3, 3, 3),
    "blocks.0.0.conv_dw.weight": (4, 1, 3, 3),
    "blocks.0.0.conv_pw.weight": (6, 4, 1, 1),
    "conv_head.weight": (8, 6, 1, 1),
    "conv_head.bias": (8,),
    "classifier.weight": (5, 8),
    "classifier.bias": (5,),
}
NORMS = {"bn1": 4, "blocks.0.0.bn1": 4, "blocks.0.0.bn2": 6}
SHAPES |= {
    f"{name}.{part}": (channels,)
    for name, channels in NORMS.items()
    for part in ("weight", "bias", "running_mean", "running_var")
}


def made_up_tensors():
    generator = np.random.default_rng(0)
    return {k: generator.uniform(0.1, 1, shape).astype("<f4") for k, shape in SHAPES.items()}


def safetensors(tensors):
    header, values = {}, b""
    for name, value in tensors.items():
        offsets = [len(values), len(values) + value.nbytes]
        header[name] = {"dtype": "F32", "shape": list(value.shape), "data_offsets": offsets}
        values += value.tobytes()
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + values


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "small.json").write_text(ARCHITECTURE.to_json())
    (tmp_path / "small.safetensors").write_bytes(safetensors(made_up_tensors()))
    return tmp_path


def run(folder, *arguments):
    command = [sys.executable, "-m", "keras_nas.tools.import_weights", *arguments]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, env=environment)


GIVEN = ("--network=small.json", "--checkpoint=small.safetensors", "--output=out.keras")


def test_a_network_with_the_weights_of_a_file(folder):
    done = run(folder, *GIVEN, "--batch_norm_epsilon=0.01", "--architecture_output=used.json")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "out.keras: small, 5 classes, images 224x224x3, symmetric padding, batch-norm epsilon 0.01",
        f"{len(SHAPES)} tensors of small.safetensors",
    ]
    used = Architecture.from_json((folder / "used.json").read_text())
    assert used == dataclasses.replace(ARCHITECTURE, batch_norm=BatchNorm(0.9, 0.01))
    expected = import_weights(used, (224, 224, 3), made_up_tensors())
    found = keras.models.load_model(folder / "out.keras")
    images = np.random.default_rng(1).normal(size=(1, 224, 224, 3)).astype("f4")
    np.testing.assert_array_equal(found(images), expected(images))


def test_an_error_is_no_traceback_and_leaves_nothing(folder):
    before = sorted(folder.iterdir())
    done = run(folder, *GIVEN, "--network=mixnet_s", "--architecture_output=used.json")
    assert done.returncode == 1
    assert done.stderr.startswith("error: the state dict does not fit 'mixnet_s'")
    assert "\n  missing (" in done.stderr and "Traceback" not in done.stderr
    assert sorted(folder.iterdir()) == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--network=hardcorenas_z"], "error: 'hardcorenas_z' is neither a file"),
        (["--batch_norm_epsilon=0"], "error: batch norm needs momentum in [0, 1) and epsilon"),
        (["--output=out.h5"], "error: --output should end in .keras, received 'out.h5'"),
        (["--classes=0"], "flag --classes=0"),
        (["more"], "error: unexpected argument 'more'"),
    ],
)
def test_bad_arguments(folder, arguments, message):
    done = run(folder, *GIVEN, *arguments)
    assert done.returncode == 1
    assert message in done.stderr and "Traceback" not in done.stderr


def test_flags_that_are_missing(folder):
    done = run(folder, *GIVEN[:1])
    assert done.returncode == 1
    assert "--checkpoint" in done.stderr and "--output" in done.stderr


def made(folder, checkpoint="small.safetensors", **options):
    return import_file(
        named_network(str(folder / "small.json")),
        str(folder / checkpoint),
        str(folder / "out.keras"),
        **options,
    )


def test_a_fresh_classifier_is_said_and_repeats(folder):
    weights = []
    for _ in range(2):
        said = made(folder, classes=3, reset_classifier=True)
        assert "small, 3 classes" in said
        assert said.endswith("the classifier is re-initialised, for 3 classes")
        weights.append(keras.models.load_model(folder / "out.keras").get_weights())
    for one, other in zip(*weights, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    ("checkpoint", "options", "error", "message"),
    [
        ("small.safetensors", {"classes": 3}, ValueError, "is for 5 classes, and 3 are asked"),
        ("none.safetensors", {}, FileNotFoundError, "no checkpoint at"),
        ("cut.safetensors", {}, ValueError, "is damaged"),
        ("small.json", {}, ValueError, "should end in .safetensors"),
    ],
)
def test_a_bad_checkpoint_leaves_nothing(folder, checkpoint, options, error, message):
    whole = (folder / "small.safetensors").read_bytes()
    (folder / "cut.safetensors").write_bytes(whole[:-1])
    before = sorted(folder.iterdir())
    with pytest.raises(error, match=message):
        made(folder, checkpoint, architecture_output=str(folder / "used.json"), **options)
    assert sorted(folder.iterdir()) == before


def test_an_output_that_cannot_be_written(folder):
    (folder / "out.keras").mkdir()
    with pytest.raises(OSError, match=r"cannot write .*out\.keras"):
        made(folder)
