"""Digits, folders and TFDS sets behind one contract."""

import importlib.util
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from keras_nas.data import sources, tfds_records
from keras_nas.data.chosen_classes import keep_classes
from keras_nas.data.reader import Reader

TFDS_DIR = Path("../shared/tfds")


def needs(name: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(
        not (TFDS_DIR / name).is_dir(), reason=f"{name} is not prepared in {TFDS_DIR}"
    )


def write_images(folder: Path, count: int, size=(8, 8), mode="RGB", suffix="png", seed=0) -> None:
    folder.mkdir(parents=True)
    random = np.random.default_rng(seed)
    for number in range(count):
        pixels = random.integers(0, 256, (size[1], size[0], 3), np.uint8)
        Image.fromarray(pixels).convert(mode).save(folder / f"{number:03}.{suffix}")


@pytest.fixture
def pets(tmp_path) -> Path:
    write_images(tmp_path / "pets" / "cat", 10, seed=1)
    write_images(tmp_path / "pets" / "dog", 15, seed=2)
    return tmp_path / "pets"


def test_digits_are_split_and_scaled():
    digits = sources.load("digits", resolution=8)
    assert digits.classes == 10 and digits.class_names == tuple("0123456789")
    assert (digits.train.examples, digits.test.examples) == (1437, 360)
    together = np.concatenate([digits.train.images, digits.test.images])
    assert together.shape == (1797, 8, 8, 3) and together.dtype == np.uint8
    expected = np.round(load_digits().images * 255 / 16).astype(np.uint8)
    # The same images, in whatever order.
    for ours, theirs in [(together[..., 0], expected), (together[..., 2], expected)]:
        np.testing.assert_array_equal(
            np.unique(ours.reshape(-1, 64), axis=0), np.unique(theirs.reshape(-1, 64), axis=0)
        )
    assert np.bincount(digits.test.labels).min() >= 34
    assert sources.load("digits", resolution=32).train.images.shape == (1437, 32, 32, 3)


def test_digits_without_scikit_learn_are_refused(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(FileNotFoundError, match=r"digits of scikit-learn are not there.*install"):
        sources.load("digits", resolution=8)


def test_folder_is_split_by_class(pets):
    source = sources.load(f"folder:{pets}", resolution=8)
    assert source.class_names == ("cat", "dog")
    np.testing.assert_array_equal(np.bincount(source.train.labels), [8, 12])
    np.testing.assert_array_equal(np.bincount(source.test.labels), [2, 3])
    stored = {np.asarray(Image.open(path)).tobytes() for path in (pets / "dog").iterdir()}
    dogs = source.train.images[source.train.labels == 1]
    assert len(dogs) == 12 and all(dog.tobytes() in stored for dog in dogs)


@pytest.mark.parametrize("memory_limit_bytes", [2**30, 0])
def test_a_part_of_the_classes(tmp_path, memory_limit_bytes):
    for part, count in (("train", 3), ("val", 2)):
        for label, name in enumerate("abcde"):
            write_images(tmp_path / part / name, count, seed=label)
    where = f"folder:{tmp_path}"
    limit = {"memory_limit_bytes": memory_limit_bytes}
    whole = sources.load(where, resolution=8, **limit)
    source = sources.load(where, resolution=8, classes=3, **limit)
    assert source.classes == 3 and set(source.class_names) < set("abcde")
    for split, all_classes in ((source.train, whole.train), (source.test, whole.test)):
        pairs = [split.example(index) for index in range(split.examples)]
        named = [(source.class_names[label], image.tobytes()) for image, label in pairs]
        expected = [all_classes.example(index) for index in range(all_classes.examples)]
        expected = [(whole.class_names[label], image.tobytes()) for image, label in expected]
        assert named == [pair for pair in expected if pair[0] in source.class_names]
    assert source.class_names == sources.load(where, resolution=8, classes=3).class_names


def test_a_part_of_the_digits():
    digits = sources.load("digits", resolution=8, classes=4)
    assert np.unique(digits.train.labels).tolist() == np.unique(digits.test.labels).tolist()
    assert np.unique(digits.test.labels).tolist() == [0, 1, 2, 3] and digits.classes == 4


@needs("fashion_mnist")
def test_a_part_of_a_tfds_set():
    options = {"resolution": 28, "classes": 2}
    source = sources.load("tfds:fashion_mnist", TFDS_DIR, **options)
    assert source.train.examples == 12_000 and source.test.examples == 2_000
    assert np.bincount(source.test.labels).tolist() == [1000, 1000]


@pytest.mark.parametrize("classes", [1, 11])
def test_a_part_that_is_none_is_refused(classes):
    with pytest.raises(ValueError, match=rf"2 to 10, the classes of digits.*received {classes}\."):
        sources.load("digits", resolution=8, classes=classes)


def test_classes_are_chosen_without_reading_images():
    def read(index):
        raise AssertionError("an image was read")

    stored = np.array([0, 1, 2, 3, 3, 2, 1, 0, 0], np.int32)
    reader = Reader(examples=9, read=read, describe=str, labels=lambda: stored)
    names, (part,) = keep_classes("tfds:large", tuple("abcd"), [reader], 2)
    kept = ["abcd".index(name) for name in names]
    assert part.examples == np.isin(stored, kept).sum()
    assert [kept[label] for label in part.labels()] == [n for n in stored if n in kept]


@pytest.mark.parametrize("name", ["fashion_mnist", "cifar10_jpeg"])  # label last, and before
def test_labels_of_records(name):
    if not (TFDS_DIR / name).is_dir():
        pytest.skip(f"{name} is not prepared in {TFDS_DIR}")
    _, _, test = tfds_records.open_readers(name, TFDS_DIR, ("train", "test"), False, False)
    np.testing.assert_array_equal(test.labels(), test.read_all()[1])


@pytest.mark.parametrize("test_name", ["test", "val", "validation"])
def test_folder_with_its_own_test_set(tmp_path, test_name):
    for part, count in (("train", 4), (test_name, 2)):
        for label, name in enumerate("ab"):
            write_images(tmp_path / part / name, count, mode="L", suffix="jpg", seed=label)
    source = sources.load(f"folder:{tmp_path}", resolution=16)
    assert source.train.images.shape == (8, 16, 16, 3)
    assert source.test.labels.tolist() == [0, 0, 1, 1]


def test_split_on_disk_gives_the_same_examples(pets):
    memory = sources.load(f"folder:{pets}", resolution=6)
    disk = sources.load(f"folder:{pets}", resolution=6, memory_limit_bytes=0)
    assert disk.train.images is None and disk.train.examples == memory.train.examples
    for index in range(disk.train.examples):
        pixels, label = disk.train.example(index)
        np.testing.assert_array_equal(pixels, memory.train.images[index])
        assert label == memory.train.labels[index]


def test_missing_folder():
    with pytest.raises(FileNotFoundError, match="Image folder nowhere does not exist"):
        sources.load("folder:nowhere", resolution=8)


def test_empty_folders(tmp_path, pets):
    with pytest.raises(ValueError, match="is empty of class folders"):
        (tmp_path / "empty").mkdir()
        sources.load(f"folder:{tmp_path / 'empty'}", resolution=8)
    (pets / "fish").mkdir()
    with pytest.raises(ValueError, match="fish is empty; add images or remove"):
        sources.load(f"folder:{pets}", resolution=8)


def test_one_class_only(pets):
    shutil.rmtree(pets / "dog")
    with pytest.raises(ValueError, match=r"has one class only \(cat\)"):
        sources.load(f"folder:{pets}", resolution=8)


def test_train_folder_without_test_folder(pets):
    pets.rename(pets.parent / "train")
    with pytest.raises(ValueError, match="exactly one of test, val, validation"):
        sources.load(f"folder:{pets.parent}", resolution=8)


def test_train_and_test_folders_with_different_classes(tmp_path):
    write_images(tmp_path / "train" / "cat", 2)
    write_images(tmp_path / "train" / "dog", 2)
    write_images(tmp_path / "test" / "cat", 2)
    with pytest.raises(ValueError, match=r"different classes \(dog\)"):
        sources.load(f"folder:{tmp_path}", resolution=8)


@pytest.mark.parametrize("content", [b"notes", b""])
def test_damaged_file_is_named(pets, content):
    (pets / "dog" / "bad.png").write_bytes(content)
    with pytest.raises(ValueError, match=r"dog/bad.png is damaged or not an image"):
        sources.load(f"folder:{pets}", resolution=8)


def test_mode_is_refused_or_converted(tmp_path):
    write_images(tmp_path / "cat", 5)
    write_images(tmp_path / "dog", 5, mode="RGBA")
    with pytest.raises(ValueError, match=r"dog/00.\.png has mode RGBA.*convert_modes=True"):
        sources.load(f"folder:{tmp_path}", resolution=8)
    source = sources.load(f"folder:{tmp_path}", resolution=8, convert_modes=True)
    assert source.train.examples == 8


def test_other_size_is_refused_with_resize_none(pets):
    with pytest.raises(ValueError, match=r"\.png is 8x8 pixels, expected 16x16"):
        sources.load(f"folder:{pets}", resolution=16, resize="none")


@pytest.mark.parametrize("name", ["mnist", "folder:", "tfds:", "http:x", ""])
def test_unknown_source(name):
    with pytest.raises(ValueError, match='use "digits", "tfds:NAME" or "folder:PATH"'):
        sources.load(name, resolution=8)


@pytest.mark.parametrize("wrong", [{"resize": "zoom"}, {"resolution": 0}, {"crop_fraction": 0.0}])
def test_values_out_of_range(wrong):
    with pytest.raises(ValueError, match=f"{next(iter(wrong))} must be"):
        sources.load("digits", **({"resolution": 8} | wrong))


def test_arrays_of_wrong_shape_or_dtype():
    pixels, labels = np.zeros((4, 8, 8, 3), np.uint8), np.zeros(4, np.int32)
    with pytest.raises(ValueError, match="images must be uint8"):
        sources.from_arrays(pixels.astype(np.float32), labels)
    with pytest.raises(ValueError, match="images must be uint8"):
        sources.from_arrays(pixels[..., :1], labels)
    with pytest.raises(ValueError, match=r"labels must be int32 \[4\]"):
        sources.from_arrays(pixels, labels[:3])


def test_tfds_without_data_dir():
    with pytest.raises(ValueError, match="needs data_dir"):
        sources.load("tfds:cifar10", resolution=32)


def test_tfds_not_prepared(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"not prepared in .*tfds build cifar10 --data_dir"):
        sources.load("tfds:cifar10", tmp_path, resolution=32)


def test_tfds_unknown(tmp_path):
    with pytest.raises(ValueError, match="Unknown TFDS data set 'no_such_set'; prepared in"):
        sources.load("tfds:no_such_set", tmp_path, resolution=32)


@needs("fashion_mnist")
def test_tfds_unknown_split():
    with pytest.raises(ValueError, match=r"has no split 'validation'.*train, test"):
        sources.load("tfds:fashion_mnist", TFDS_DIR, resolution=28, test_split="validation")


@needs("fashion_mnist")
def test_fashion_mnist_matches_tfds():
    import tensorflow_datasets as tfds

    source = sources.load("tfds:fashion_mnist", TFDS_DIR, resolution=28, train_split="test")
    builder = tfds.builder_from_directory(TFDS_DIR / "fashion_mnist" / "3.0.1")
    expected = builder.as_dataset(split="test", batch_size=50, shuffle_files=False)
    first = next(iter(tfds.as_numpy(expected)))
    np.testing.assert_array_equal(source.test.images[:50], np.repeat(first["image"], 3, -1))
    np.testing.assert_array_equal(source.test.labels[:50], first["label"])
    assert source.test.images.shape == (10000, 28, 28, 3)
    assert source.class_names[9] == "Ankle boot"


@needs("cifar10_jpeg")
def test_cifar10_reads_the_same_at_once_and_one_by_one():
    arguments = {"data_dir": TFDS_DIR, "resolution": 32, "train_split": "test"}
    memory = sources.load("tfds:cifar10_jpeg", **arguments)
    disk = sources.load("tfds:cifar10_jpeg", **arguments, memory_limit_bytes=0)
    assert memory.classes == 10 and memory.class_names[0] == "airplane"
    for index in (0, 1, 4321, 9999):
        pixels, label = disk.test.example(index)
        np.testing.assert_array_equal(pixels, memory.test.images[index])
        assert label == memory.test.labels[index]


@needs("cifar10_jpeg")
def test_truncated_or_missing_record_file(tmp_path):
    copy = tmp_path / "cifar10_jpeg"
    shutil.copytree(TFDS_DIR / "cifar10_jpeg", copy)
    path = next(copy.glob("*/*test.tfrecord*"))
    path.write_bytes(path.read_bytes()[:5000])
    load = {"data_dir": tmp_path, "resolution": 32, "train_split": "test"}
    with pytest.raises(OSError, match="is truncated; prepare the set again"):
        sources.load("tfds:cifar10_jpeg", **load)
    path.write_bytes(b"")
    with pytest.raises(OSError, match=r"holds 0 records, its dataset_info.json says 10000"):
        sources.load("tfds:cifar10_jpeg", **load)
    path.unlink()
    with pytest.raises(FileNotFoundError, match="is missing; prepare the set again"):
        sources.load("tfds:cifar10_jpeg", **load)
