"""A part of an image set's classes, as TF-NAS searches on 100 of ImageNet's 1000."""

import functools
from collections.abc import Callable, Sequence

import numpy as np

from keras_nas.data.images import StoredImage
from keras_nas.data.reader import Arrays, Reader

_SEED = 0
"""Of the choice: the same classes in every experiment."""


def keep_classes(
    source: str, class_names: Sequence[str], readers: Sequence[Reader], count: int
) -> tuple[tuple[str, ...], list[Reader]]:
    """Leaves `count` classes, drawn at random, always the same ones.

    Args:
      source: what messages call the set.
      class_names: of the whole set, in label order.
      readers: of its splits.
      count: how many classes stay, in their order; labels are 0 .. count - 1 afterwards.

    Returns:
      Their names, and a reader for each given one.

    Raises:
      ValueError: the set has fewer classes.
    """
    if not 2 <= count <= len(class_names):
        raise ValueError(
            f"config.data.classes should be 2 to {len(class_names)}, the classes of {source}, or 0 "
            f"for all; received {count}."
        )
    drawn = np.random.default_rng(_SEED).permutation(len(class_names))[:count]
    kept = np.sort(drawn)  # [count]
    new_label = np.full(len(class_names), -1, np.int32)
    new_label[kept] = np.arange(count)
    names = tuple(class_names[label] for label in kept)
    return names, [_part(reader, new_label) for reader in readers]


def _part(reader: Reader, new_label: np.ndarray) -> Reader:
    """The examples whose class has a new label, 0 or more."""
    labels, read_all = new_label[reader.labels()], reader.read_all  # [all examples]
    indices = np.flatnonzero(labels >= 0)  # [examples]

    def read(index: int) -> tuple[StoredImage, int]:
        stored, label = reader.read(int(indices[index]))
        return stored, int(new_label[label])

    def read_part(read_whole: Callable[[], Arrays]) -> Arrays:
        pixels, stored = read_whole()
        return pixels[indices], new_label[stored[indices]]

    return Reader(
        examples=len(indices),
        read=read,
        describe=lambda index: reader.describe(int(indices[index])),
        labels=lambda: labels[indices],
        read_all=functools.partial(read_part, read_all) if read_all else None,
    )
