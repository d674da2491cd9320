"""`--config.finetune.init=FILE`: the finetune stage of the tiny experiment starts from a file."""

import json

import keras
import numpy as np
import pytest

from keras_nas import pipeline
from keras_nas.experiment import load_space
from keras_nas.models import build_network
from keras_nas.models.saved_network import network_to_bytes
from keras_nas.stage_list import final_stage


@pytest.fixture
def imported(tiny_config, tmp_path):
    """Number of classes -> a network in a file; next to a work directory that knows only the
    architecture, as there is nothing else to start from."""
    space = load_space(tiny_config.space)
    architecture = space.random(1)
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "architecture.json").write_text(architecture.to_json())
    # Next to no learning: trained weights are those that training started from.
    recipe = tiny_config.finetune
    recipe.distillation, recipe.learning_rate, recipe.weight_average = 0.0, 1e-9, 0.0

    def write(classes):
        network = build_network(architecture, space.input_shape, classes)
        path = tmp_path / "imported.keras"
        path.write_bytes(network_to_bytes(network))
        recipe.init = str(path)
        return network

    return write


def run(config, folder):
    lines = []
    pipeline.run(config, folder / "work", ["finetune"], log=lines.append)
    return "\n".join(lines)


def test_the_stage_starts_from_the_file_and_notices_another(tiny_config, tmp_path, imported):
    start = imported(10)
    said = run(tiny_config, tmp_path)
    assert f"finetune: fine-tunes the found network from {tmp_path}/imported.keras\n" in said
    network = keras.models.load_model(tmp_path / "work" / "network.keras")
    for ours, theirs in zip(network.trainable_weights, start.trainable_weights, strict=True):
        np.testing.assert_allclose(ours.numpy(), theirs.numpy(), atol=1e-6)
    assert 0 <= json.loads((tmp_path / "work" / "finetune.json").read_text())["accuracy"] <= 1
    assert "up to date" in run(tiny_config, tmp_path)

    imported(7)  # another file of the same name
    with pytest.raises(ValueError, match=r"imported\.keras has 7 classes, and 10 are needed"):
        run(tiny_config, tmp_path)
    tiny_config.finetune.reset_classifier = True
    said = run(tiny_config, tmp_path)
    assert "imported.keras, its classifier re-initialised\n" in said
    network = keras.models.load_model(tmp_path / "work" / "network.keras")
    assert network.output_shape == (None, 10)


def test_what_is_read(tiny_config, imported):
    assert final_stage(tiny_config).reads == ("architecture.json", "supernet.npz", "heaviest.npz")
    imported(10)
    assert final_stage(tiny_config).reads == ("architecture.json",)
    tiny_config.finetune.distillation = 0.5
    assert final_stage(tiny_config).reads == ("architecture.json", "heaviest.npz")
    tiny_config.final = "train"
    assert final_stage(tiny_config).name == "train"


def test_a_missing_file_is_refused_before_anything_runs(tiny_config, tmp_path):
    tiny_config.finetune.init = str(tmp_path / "none.keras")
    with pytest.raises(FileNotFoundError, match=r"none\.keras; check config\.finetune\.init"):
        pipeline.run(tiny_config, tmp_path / "work")
    assert not (tmp_path / "work").exists()
