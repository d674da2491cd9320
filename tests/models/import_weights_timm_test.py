"""Every published network that PyTorch Image Models has: imported, it computes the same.

pip install torch timm; python -m pytest tests/models/import_weights_timm_test.py
"""

import argparse
import importlib.util

import numpy as np
import pytest

from keras_nas.models.import_weights import import_weights
from keras_nas.models.state_dict import read_state_dict
from keras_nas.space.published import published, published_networks
from keras_nas.space.published_record import image_models

pytestmark = pytest.mark.skipif(
    not all(importlib.util.find_spec(name) for name in ("torch", "timm")),
    reason="compares with PyTorch: needs torch and timm",
)

SHAPE = (64, 96, 3)

NAMES = [
    network.name for network in published_networks() if network.source == image_models(network.name)
]


def model_of(name):
    """timm's network with batch-norm statistics and biases that are not trivial."""
    import timm
    import torch

    torch.manual_seed(0)
    model = timm.create_model(name).eval()
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.3)
            module.running_var.uniform_(0.5, 2)
            module.weight.data.uniform_(0.5, 1.5)
            module.bias.data.normal_(0, 0.3)
        elif getattr(module, "bias", None) is not None:
            module.bias.data.normal_(0, 0.3)
    return model


def outputs_of(model, images):
    import torch

    with torch.no_grad():
        return model(torch.from_numpy(images.transpose(0, 3, 1, 2))).numpy()


IMAGES = np.random.default_rng(0).normal(size=(2, *SHAPE)).astype("f4")


def test_all_of_timm_are_here():
    assert len(NAMES) == 19


@pytest.mark.parametrize("name", NAMES)
def test_forward_passes_agree(name, tmp_path):
    from safetensors.torch import save_file

    model = model_of(name)
    save_file(model.state_dict(), tmp_path / "x.safetensors")
    tensors, _ = read_state_dict(tmp_path / "x.safetensors")
    network = import_weights(published(name), SHAPE, tensors)
    expected = outputs_of(model, IMAGES)
    difference = np.abs(network(IMAGES, training=False).numpy() - expected).max()
    relative = float(difference / np.abs(expected).max())
    print(f"{name}: largest relative difference {relative:.1e}")  # -rP shows it
    assert relative < 1e-4


def test_what_a_training_program_saves(tmp_path):
    import torch

    model = model_of("mobilenetv3_small_100")
    averaged = {f"module.{name}": tensor for name, tensor in model.state_dict().items()}
    last = {name: tensor * 0 for name, tensor in model.state_dict().items()}
    settings = argparse.Namespace(model="mobilenetv3_small_100", lr=0.1)
    checkpoint = {"epoch": 3, "args": settings, "state_dict": last, "state_dict_ema": averaged}
    torch.save(checkpoint, tmp_path / "last.pth.tar")
    tensors, part = read_state_dict(tmp_path / "last.pth.tar")
    assert part == "state_dict_ema"
    network = import_weights(published("mobilenetv3_small_100"), SHAPE, tensors)
    expected = outputs_of(model, IMAGES)
    np.testing.assert_allclose(network(IMAGES), expected, atol=1e-5 * np.abs(expected).max())


def test_bfloat16_and_damaged_files(tmp_path):
    import torch

    tensors = {"a": torch.randn(3, 4).bfloat16()}
    torch.save(tensors, tmp_path / "x.pth")
    found, part = read_state_dict(tmp_path / "x.pth")
    assert part == "" and found["a"].dtype == "float32"
    np.testing.assert_array_equal(found["a"], tensors["a"].float().numpy())
    whole = (tmp_path / "x.pth").read_bytes()
    (tmp_path / "x.pth").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"x\.pth is damaged, or holds more than weights"):
        read_state_dict(tmp_path / "x.pth")
    torch.save({"a": torch.nn.Linear(1, 1)}, tmp_path / "x.pth")
    with pytest.raises(ValueError, match=r"x\.pth is damaged, or holds more than weights"):
        read_state_dict(tmp_path / "x.pth")
    torch.save({"a": torch.ones(2).to_sparse()}, tmp_path / "x.pth")
    with pytest.raises(ValueError, match="tensor a is not a plain one"):
        read_state_dict(tmp_path / "x.pth")
