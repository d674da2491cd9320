"""Bad tables, images and failures of TensorFlow: one line each, before anything is lost."""

import json

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from keras_nas import journal, pipeline, stages
from keras_nas.context import Context
from keras_nas.data import sources
from keras_nas.data.augmentation import Augmentation
from keras_nas.data.examples import Examples


def refused(tiny_config, folder, error, message, names=("profile",)):
    with pytest.raises(error, match=message):
        pipeline.run(tiny_config, folder, names, log=lambda line: None)
    left = {path.name for path in folder.iterdir()}
    assert left == {pipeline.RECORDS, journal.LOG, journal.EVENTS}
    assert (folder / journal.EVENTS).read_text().splitlines()[-1].count('"error"') == 1


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("device.precision", "float16", "made for precision 'float32', and is asked for 'float16'"),
        ("device.threads", 2, "made for threads 1, and is asked for 2"),
        ("space.resolution", 32, r"made for input_shape \(16, 16, 3\), .* \(32, 32, 3\)"),
        ("space.width_multiplier", 2.0, "made for space 'tiny' .* lacks .* pieces"),
        (None, None, "made for device processor 'Chip 9', and is asked for"),
    ],
)
def test_a_table_of_something_else_is_refused(
    tiny_config, tiny_table, tmp_path, path, value, message
):
    text = tiny_table.to_json()
    if path:
        group, field = path.split(".")
        setattr(getattr(tiny_config, group), field, value)
    else:
        text = text.replace(json.dumps(tiny_table.device.processor), '"Chip 9"')
    (tmp_path / "table.json").write_text(text)
    tiny_config.device.latency_table = str(tmp_path / "table.json")
    refused(tiny_config, _made(tmp_path / "work"), ValueError, message)


@pytest.mark.parametrize("text", ["", "{", '{"format": "keras_nas.latency_table"}', "\xff"])
def test_a_damaged_given_table_is_refused(tiny_config, tiny_table, tmp_path, text):
    file = tmp_path / "table.json"
    file.write_bytes(text.encode("latin-1"))
    tiny_config.device.latency_table = str(file)
    refused(tiny_config, _made(tmp_path / "work"), ValueError, str(file))
    file.unlink()
    refused(tiny_config, tmp_path / "work", FileNotFoundError, str(file))


def _made(folder):
    folder.mkdir()
    return folder


def _images(folder, size=16, mode="RGB", classes=("cats", "dogs"), count=5):
    for number, name in enumerate(classes):
        (folder / name).mkdir(parents=True)
        for i in range(count):
            Image.new(mode, (size, size), 10 * i + number).save(folder / name / f"{i}.png")
    return folder


def test_bad_images_are_refused_before_anything_is_measured(tiny_config, tmp_path):
    work = _made(tmp_path / "work")
    cases = [
        (tmp_path / "missing", FileNotFoundError, "missing does not exist"),
        (_made(tmp_path / "empty"), ValueError, "empty is empty of class folders"),
        (_images(tmp_path / "one", classes=("cats",)), ValueError, r"one class only \(cats\)"),
        (_images(tmp_path / "small", size=15), ValueError, r"small.*png.*15"),
        (_images(tmp_path / "modes", mode="LA"), ValueError, r"modes.*png has mode LA"),
        (_images(tmp_path / "damaged"), ValueError, r"damaged/dogs/3\.png is damaged"),
        (_images(tmp_path / "none", count=0), ValueError, "cats is empty"),
    ]
    image = tmp_path / "damaged" / "dogs" / "3.png"
    image.write_bytes(image.read_bytes()[:40])
    tiny_config.data.resize = "none"
    for folder, error, message in cases:
        tiny_config.data.source = f"folder:{folder}"
        refused(tiny_config, work, error, message)
    tiny_config.data.source = "digitz"
    refused(tiny_config, work, ValueError, 'source .digitz.; use "digits", "tfds:NAME" or "folder')
    tiny_config.data.source, tiny_config.data.data_dir = "tfds:nothing_such", str(tmp_path)
    refused(tiny_config, work, ValueError, "Unknown TFDS data set 'nothing_such'.*Correct the name")


def test_a_damaged_image_found_late_is_one_line(tiny_config, tmp_path, monkeypatch):
    """Sets too large for memory are decoded while training, inside TensorFlow."""
    folder = _images(tmp_path / "lazy")
    source = sources.load(
        f"folder:{folder}", resolution=16, memory_limit_bytes=0, test_fraction=0.4
    )
    for image in folder.glob("*/*.png"):
        image.write_bytes(image.read_bytes()[:40])
    context = Context(tiny_config, tmp_path)
    indices = np.arange(source.train.examples)
    context.__dict__["examples"] = Examples(
        source, indices, indices, (0.5,) * 3, (0.5,) * 3, Augmentation(), 0
    )
    context.checkpoints = tmp_path / "checkpoints"
    with pytest.raises(RuntimeError) as caught:
        stages.run("pretrain", context)
    text = str(caught.value)
    assert text.startswith("stage 'pretrain': ")
    assert ".png is damaged or not an image" in text
    assert "replace or remove it" in text
    assert len(text.splitlines()) == 1


def test_other_failures_of_tensorflow_name_the_stage(monkeypatch, tiny_config, tmp_path):
    def fail(context):
        raise tf.errors.ResourceExhaustedError(None, None, "OOM when allocating\nlong dump")

    monkeypatch.setitem(stages.SEARCHES["hardcore_nas"], "search", fail)
    with pytest.raises(RuntimeError, match=r"stage 'search': .*OOM when allocating \(--debug") as e:
        stages.run("search", Context(tiny_config, tmp_path))
    assert "long dump" not in str(e.value)
