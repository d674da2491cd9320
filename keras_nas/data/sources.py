"""Image sets behind one contract: embedded digits, TFDS, folders of images."""

import dataclasses
import functools
import importlib.util
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import numpy.typing as npt

from keras_nas.data import folder, images, splits
from keras_nas.data.chosen_classes import keep_classes
from keras_nas.data.images import Pixels, StoredImage
from keras_nas.data.reader import Reader

DIGITS_TEST_FRACTION = 0.2
DIGITS_SPLIT_SEED = 0


@dataclasses.dataclass(frozen=True, eq=False)
class Split:
    """Training or test examples of one set, random access.

    Attributes:
      examples: how many.
      resolution: side of the images that `example` gives, pixels.
      read: index -> (image in the size it is stored in, label).
      fit: (that image, index) -> uint8 `[resolution, resolution, 3]`.
      images: uint8 `[examples, resolution, resolution, 3]`, or None for a set that is read from
        disk example by example.
      labels: int32 `[examples]`, or None likewise.
    """

    examples: int
    resolution: int
    read: Callable[[int], tuple[StoredImage, int]]
    fit: Callable[[StoredImage, int], Pixels]
    images: Pixels | None = None
    labels: npt.NDArray[np.int32] | None = None

    def example(self, index: int) -> tuple[Pixels, int]:
        """Returns one image, uint8 `[resolution, resolution, 3]`, and its label."""
        stored, label = self.read(index)
        return self.fit(stored, index), label


@dataclasses.dataclass(frozen=True, eq=False)
class Source:
    """An image set.

    Attributes:
      name: as given to `load`.
      class_names: in label order.
      train: training examples.
      test: test examples.
    """

    name: str
    class_names: tuple[str, ...]
    train: Split
    test: Split

    @property
    def classes(self) -> int:
        """Number of classes."""
        return len(self.class_names)


def load(
    source: str,
    data_dir: str | os.PathLike[str] | None = None,
    *,
    resolution: int,
    resize: str = "crop",
    crop_fraction: float = 1.0,
    convert_modes: bool = False,
    train_split: str = "train",
    test_split: str = "test",
    test_fraction: float = 0.2,
    split_seed: int = 0,
    download: bool = False,
    classes: int = 0,
    memory_limit_bytes: int = 2 * 1024**3,
) -> Source:
    """Opens an image set.

    Args:
      source: "digits" (scikit-learn's 8x8 handwritten digits, scaled), "tfds:NAME" or
        "tfds:NAME/CONFIG" (prepared at DATA_DIR/NAME[/CONFIG]/VERSION), or "folder:PATH" (one
        folder a class, in PATH/train and PATH/test, or in PATH itself).
      data_dir: where TFDS sets are prepared; needed for "tfds:" only.
      resolution: side of the images, pixels.
      resize: "crop", "stretch" or "none", see `images.fit`.
      crop_fraction: side of the centre crop over the short side (ImageNet: 0.875).
      convert_modes: accept images with transparency, inks or 16 bits, see `images.decode`.
      train_split: TFDS split to train on.
      test_split: TFDS split to test on (imagenet2012: "validation").
      test_fraction: share of the test set where a folder has none of its own.
      split_seed: seed of that split.
      download: let TFDS download and prepare the set where it is missing.
      classes: how many to keep, see `chosen_classes`; 0 keeps all.
      memory_limit_bytes: splits whose images take more stay on disk.

    Returns:
      The set; labels are 0 .. classes - 1.

    Raises:
      ValueError: unknown source or set, damaged or unsuitable images, one class only, fewer than
        `classes`.
      FileNotFoundError: the set or its folder does not exist.
    """
    _check_geometry(resolution, resize, crop_fraction)
    class_names, train, test = _open(
        source,
        data_dir,
        convert_modes=convert_modes,
        tfds_splits=(train_split, test_split),
        folder_split=(test_fraction, split_seed),
        download=download,
    )
    if len(class_names) < 2:
        raise ValueError(
            f"{source} has one class only ({', '.join(class_names)}); classification needs at "
            "least two."
        )
    if classes:
        class_names, (train, test) = keep_classes(source, class_names, (train, test), classes)
    make = functools.partial(
        _make_split,
        resolution=resolution,
        resize=resize,
        crop_fraction=crop_fraction,
        memory_limit_bytes=memory_limit_bytes,
    )
    return Source(source, class_names, make(train), make(test))


def _check_geometry(resolution: int, resize: str, crop_fraction: float) -> None:
    if resize not in images.RESIZE_MODES:
        raise ValueError(f"resize must be one of {images.RESIZE_MODES}. Received: {resize!r}")
    if resolution < 1:
        raise ValueError(f"resolution must be at least 1 pixel. Received: {resolution}")
    if not 0.0 < crop_fraction <= 1.0:
        raise ValueError(f"crop_fraction must be in (0, 1]. Received: {crop_fraction}")


def _open(
    source: str,
    data_dir: str | os.PathLike[str] | None,
    *,
    convert_modes: bool,
    tfds_splits: tuple[str, str],
    folder_split: tuple[float, int],
    download: bool,
) -> tuple[tuple[str, ...], Reader, Reader]:
    """Class names, training and test reader of whichever kind `source` names."""
    kind, _, name = source.partition(":")
    if source == "digits":
        return _digits()
    if kind == "tfds" and name:
        # tensorflow_datasets takes seconds to import, which the other sources need not pay.
        from keras_nas.data import tfds_records

        return tfds_records.open_readers(name, data_dir, tfds_splits, convert_modes, download)
    if kind == "folder" and name:
        return folder.open_readers(name, convert_modes, *folder_split)
    raise ValueError(f'Unknown data source {source!r}; use "digits", "tfds:NAME" or "folder:PATH".')


def _make_split(
    reader: Reader,
    resolution: int,
    resize: str,
    crop_fraction: float,
    memory_limit_bytes: int,
) -> Split:
    def fit(stored: StoredImage, index: int) -> Pixels:
        return images.fit(stored, resolution, resize, reader.describe(index), crop_fraction)

    split = Split(reader.examples, resolution, reader.read, fit)
    if reader.examples * resolution * resolution * 3 > memory_limit_bytes:
        return split
    if reader.read_all is not None:
        stored, labels = reader.read_all()
        if stored.shape[1:3] == (resolution, resolution) and crop_fraction == 1.0:
            return from_arrays(stored, labels)
        pixels = np.empty((len(stored), resolution, resolution, 3), np.uint8)
        for index, image in enumerate(stored):
            pixels[index] = fit(image, index)
        return from_arrays(pixels, labels)
    # Pillow decodes and scales without holding Python's lock.
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        pairs = list(pool.map(split.example, range(split.examples)))
    pixels = np.stack([image for image, _ in pairs])  # [N, H, W, 3]
    labels = np.array([label for _, label in pairs], np.int32)  # [N]
    return from_arrays(pixels, labels)


def from_arrays(pixels: Pixels, labels: npt.NDArray[np.int32]) -> Split:
    """Makes a split of images in memory.

    Args:
      pixels: uint8 `[examples, resolution, resolution, 3]`.
      labels: int32 `[examples]`.

    Raises:
      ValueError: shapes or dtypes differ from these.
    """
    if (
        pixels.dtype != np.uint8
        or pixels.ndim != 4
        or pixels.shape[1:]
        != (
            pixels.shape[1],
            pixels.shape[1],
            3,
        )
    ):
        raise ValueError(
            "images must be uint8 [examples, resolution, resolution, 3]. Received: "
            f"{pixels.dtype} {list(pixels.shape)}"
        )
    if labels.dtype != np.int32 or labels.shape != pixels.shape[:1]:
        raise ValueError(
            f"labels must be int32 [{len(pixels)}]. Received: {labels.dtype} {list(labels.shape)}"
        )
    return Split(
        examples=len(pixels),
        resolution=pixels.shape[1],
        read=lambda index: (pixels[index], int(labels[index])),
        fit=lambda stored, index: np.asarray(stored),
        images=pixels,
        labels=labels,
    )


def _digits() -> tuple[tuple[str, ...], Reader, Reader]:
    table = np.loadtxt(_digits_file(), delimiter=",", dtype=np.uint8)  # [N, 65]
    labels = table[:, -1].astype(np.int32)  # [N]
    # 17 grey levels, 0 .. 16.
    grey = np.round(table[:, :-1] * (255 / 16)).astype(np.uint8)  # [N, 64]
    pixels = np.repeat(grey.reshape(-1, 8, 8, 1), 3, axis=-1)  # [N, 8, 8, 3]
    parts = splits.stratified_split(labels, DIGITS_TEST_FRACTION, DIGITS_SPLIT_SEED, "digits")

    def reader(part: splits.Indices) -> Reader:
        return Reader(
            examples=len(part),
            read=lambda index: (pixels[part[index]], int(labels[part[index]])),
            describe=lambda index: f"digit {part[index]}",
            labels=lambda: labels[part],
            read_all=lambda: (pixels[part], labels[part]),
        )

    return tuple("0123456789"), reader(parts[0]), reader(parts[1])


def _digits_file() -> Path:
    """The digits inside scikit-learn, whose own reader would import all of it: a second or more."""
    package = importlib.util.find_spec("sklearn")
    folder = package and package.submodule_search_locations
    path = Path(folder[0]) / "datasets" / "data" / "digits.csv.gz" if folder else None
    if path is None or not path.exists():
        raise FileNotFoundError(
            f"The digits of scikit-learn are not there ({path or 'it is not installed'}); install "
            "the versions of requirements.txt, or use another data.source."
        )
    return path
