"""Folders of images, one folder a class."""

from pathlib import Path

import numpy as np

from keras_nas.data import images, splits
from keras_nas.data.local_copy import local_copy
from keras_nas.data.reader import Reader
from tpu.storage import to_path

TEST_FOLDERS = ("test", "val", "validation")

LabelledPaths = list[tuple[Path, int]]


def open_readers(
    path: str, convert_modes: bool, test_fraction: float, seed: int
) -> tuple[tuple[str, ...], Reader, Reader]:
    """Finds the classes and files of PATH/train + PATH/test|val|validation, or of PATH/CLASS.

    Args:
      path: the folder; on cloud storage a local copy is read.
      convert_modes: see `images.decode`.
      test_fraction: share of the test set where the folder has none of its own.
      seed: of that split.

    Returns:
      Class names in alphabetical order, training and test reader.

    Raises:
      FileNotFoundError: the folder does not exist.
      ValueError: no class folders, an empty one, or test classes that differ.
    """
    root = local_copy(to_path(path))
    if not root.is_dir():
        raise FileNotFoundError(f"Image folder {root} does not exist; correct the path.")
    train_root = root / "train"
    if train_root.is_dir():
        test_root = _test_root(root)
        class_names, train = _list_images(train_root)
        test_names, test = _list_images(test_root)
        if test_names != class_names:
            differing = ", ".join(sorted(set(class_names) ^ set(test_names)))
            raise ValueError(
                f"{train_root} and {test_root} hold different classes ({differing}); give both "
                "the same class folders."
            )
    else:
        class_names, everything = _list_images(root)
        if len(class_names) < 2:
            # The caller refuses a single class by name; there is nothing to stratify.
            return class_names, _reader(everything, convert_modes), _reader([], convert_modes)
        labels = np.array([label for _, label in everything], np.int32)
        train_part, test_part = splits.stratified_split(labels, test_fraction, seed, str(root))
        train = [everything[index] for index in train_part]
        test = [everything[index] for index in test_part]
    return class_names, _reader(train, convert_modes), _reader(test, convert_modes)


def _test_root(root: Path) -> Path:
    found = [root / name for name in TEST_FOLDERS if (root / name).is_dir()]
    if len(found) != 1:
        names = ", ".join(str(path) for path in found) or "none"
        raise ValueError(
            f"{root} has a train folder, so it needs exactly one of {', '.join(TEST_FOLDERS)} "
            f"beside it. Found: {names}"
        )
    return found[0]


def _list_images(root: Path) -> tuple[tuple[str, ...], LabelledPaths]:
    folders = sorted(
        entry for entry in root.iterdir() if entry.is_dir() and not entry.name.startswith(".")
    )
    if not folders:
        raise ValueError(
            f"{root} is empty of class folders; put the images of each class into a folder of "
            "its own."
        )
    paths: LabelledPaths = []
    for label, class_folder in enumerate(folders):
        files = sorted(
            entry
            for entry in class_folder.rglob("*")
            if entry.is_file() and not entry.name.startswith(".")
        )
        if not files:
            raise ValueError(
                f"Class folder {class_folder} is empty; add images or remove the folder."
            )
        paths += [(file, label) for file in files]
    return tuple(entry.name for entry in folders), paths


def _reader(paths: LabelledPaths, convert_modes: bool) -> Reader:
    def read(index: int) -> tuple[images.StoredImage, int]:
        path, label = paths[index]
        return images.decode(path, str(path), convert_modes), label

    labels = np.array([label for _, label in paths], np.int32)
    return Reader(len(paths), read, lambda index: str(paths[index][0]), lambda: labels)
