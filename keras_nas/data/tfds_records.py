"""Prepared TFDS image sets, read record by record at any position.

TFDS reads TFRecord files only from the front; a run that resumes in the middle of an epoch, and a
random 80% of the examples, need random access. The position of every record takes one pass over
the record headers (16 bytes each), so the files stay what TFDS wrote.
"""

import dataclasses
import functools
import os
import re
import struct
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import tensorflow as tf
import tensorflow_datasets as tfds

from keras_nas.data import images
from keras_nas.data.local_copy import local_copy
from keras_nas.data.reader import Arrays, Reader
from keras_nas.data.record_labels import END_BYTES, label_at_end, label_of
from tpu.storage import AnyPath, StoredPath, to_path

_HEADER = struct.Struct("<QI")  # length of the record, its masked CRC
_FOOTER_BYTES = 4


class _Records(NamedTuple):
    """`ends` gives the last so many bytes of every record, in order, or all of a shorter one."""

    examples: int
    read: Callable[[int], bytes]
    describe: Callable[[int], str]
    ends: Callable[[int], Iterator[bytes]]


def open_readers(
    name: str,
    data_dir: str | os.PathLike[str] | None,
    splits: tuple[str, str],
    convert_modes: bool,
    download: bool,
) -> tuple[tuple[str, ...], Reader, Reader]:
    """Opens two splits of a prepared TFDS set (TFRecord or ArrayRecord files).

    Args:
      name: NAME or NAME/CONFIG; the newest prepared version is taken.
      data_dir: holds NAME[/CONFIG]/VERSION; of a set on cloud storage a local copy is read.
      splits: names of the training and the test split.
      convert_modes: see `images.decode`.
      download: let TFDS download and prepare the set where it is missing.

    Returns:
      Class names, training and test reader.

    Raises:
      ValueError: no `data_dir`, unknown set or split, no image or class label in the set.
      FileNotFoundError: the set is not prepared.
      OSError: record files are truncated.
    """
    if data_dir is None:
        raise ValueError(
            f"tfds:{name} needs data_dir, the directory that holds {name}/VERSION; set it."
        )
    info = _open_builder(name, to_path(data_dir), download).info
    image_key, label_key = _feature_keys(info)
    readers = []
    for split in splits:
        if split not in info.splits:
            raise ValueError(
                f"tfds:{name} has no split {split!r}; choose train_split and test_split from "
                f"{', '.join(info.splits)}."
            )
        records = _open_records(info, split)
        reader = _reader(records, image_key, label_key, convert_modes)
        image = info.features[image_key]
        if _is_uniform(image):
            read_all = functools.partial(_read_all, records, image_key, label_key, image.shape)
            reader = dataclasses.replace(reader, read_all=read_all)
        readers.append(reader)
    return tuple(info.features[label_key].names), readers[0], readers[1]


def _open_builder(name: str, data_dir: AnyPath, download: bool) -> tfds.core.DatasetBuilder:
    if isinstance(data_dir, StoredPath) and not data_dir.is_dir() and not download:
        raise FileNotFoundError(
            f"data_dir {data_dir} does not exist, or may not be read from here; correct it, or "
            "give this account access."
        )
    versions = [
        path for path in _prepared_in(data_dir / name) if re.fullmatch(r"\d+\.\d+\.\d+", path.name)
    ]
    if versions:
        newest = max(versions, key=lambda path: tuple(map(int, path.name.split("."))))
        return tfds.builder_from_directory(local_copy(newest))
    prepared = sorted({path.name for path in _children(data_dir) if _prepared_in(path)})
    known = name.partition("/")[0] in tfds.list_builders(with_community_datasets=False)
    if not known:
        raise ValueError(
            f"Unknown TFDS data set {name!r}; prepared in {data_dir}: "
            f"{', '.join(prepared) or 'none'}. Correct the name or data_dir."
        )
    if not download:
        raise FileNotFoundError(
            f"TFDS data set {name!r} is not prepared in {data_dir} (prepared there: "
            f"{', '.join(prepared) or 'none'}); correct data_dir, or prepare it with "
            f"`tfds build {name} --data_dir={data_dir}` or download=True."
        )
    builder = tfds.builder(name, data_dir=os.fspath(data_dir))
    builder.download_and_prepare()
    return tfds.builder_from_directory(local_copy(to_path(builder.data_dir)))


def _prepared_in(folder: AnyPath) -> list[AnyPath]:
    """Folders of prepared versions."""
    return [path for path in _children(folder) if (path / "dataset_info.json").exists()]


def _children(folder: AnyPath) -> list[AnyPath]:
    return list(folder.iterdir()) if folder.is_dir() else []


def _feature_keys(info: tfds.core.DatasetInfo) -> tuple[str, str]:
    keys = info.supervised_keys
    if (
        keys is None
        or len(keys) != 2
        or not isinstance(info.features[keys[0]], tfds.features.Image)
        or not isinstance(info.features[keys[1]], tfds.features.ClassLabel)
    ):
        raise ValueError(
            f"tfds:{info.name} is not an image classification set (its supervised keys are "
            f"{keys}); choose one with an image and a class label."
        )
    return keys[0], keys[1]


def _is_uniform(feature: tfds.features.Image) -> bool:
    """Whether all images have one size and an exact 8-bit RGB form."""
    return (
        None not in feature.shape and feature.shape[-1] in (1, 3) and feature.np_dtype == np.uint8
    )


def _read_all(
    records: _Records, image_key: str, label_key: str, shape: tuple[int, int, int]
) -> Arrays:
    features = {
        image_key: tf.io.FixedLenFeature([], tf.string),
        label_key: tf.io.FixedLenFeature([], tf.int64),
    }

    def decode(serialized: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        parsed = tf.io.parse_single_example(serialized, features)
        # decode_jpeg reads PNG as well; the accurate method gives what Pillow gives, bit by bit.
        pixels = tf.io.decode_jpeg(parsed[image_key], channels=3, dct_method="INTEGER_ACCURATE")
        return tf.ensure_shape(pixels, (*shape[:2], 3)), tf.cast(parsed[label_key], tf.int32)

    serialized = tf.constant([records.read(index) for index in range(records.examples)])
    dataset = tf.data.Dataset.from_tensor_slices(serialized)
    dataset = dataset.map(decode, num_parallel_calls=tf.data.AUTOTUNE).batch(1024)
    batches = list(dataset.as_numpy_iterator())
    pixels = np.concatenate([pixels for pixels, _ in batches])  # [N, H, W, 3]
    return pixels, np.concatenate([labels for _, labels in batches])


def _reader(records: _Records, image_key: str, label_key: str, convert_modes: bool) -> Reader:
    def read(index: int) -> tuple[images.StoredImage, int]:
        features = tf.train.Example.FromString(records.read(index)).features.feature
        encoded = features[image_key].bytes_list.value[0]
        label = features[label_key].int64_list.value[0]
        return images.decode(encoded, records.describe(index), convert_modes), label

    def labels() -> npt.NDArray[np.int32]:
        found = np.empty(records.examples, np.int32)
        for index, end in enumerate(records.ends(END_BYTES)):
            label = label_at_end(end, label_key)
            found[index] = label_of(records.read(index), label_key) if label is None else label
        return found

    return Reader(records.examples, read, records.describe, labels)


def _open_records(info: tfds.core.DatasetInfo, split: str) -> _Records:
    paths = [Path(path) for path in info.splits[split].filepaths]
    missing = [str(path) for path in paths if not path.is_file()]
    if missing:
        raise FileNotFoundError(f"Record file {missing[0]} is missing; prepare the set again.")
    if info.file_format == tfds.core.FileFormat.ARRAY_RECORD:
        records = _open_array_records(paths)
    elif info.file_format == tfds.core.FileFormat.TFRECORD:
        records = _open_tfrecords(paths)
    else:
        raise ValueError(
            f"tfds:{info.name} is stored as {info.file_format.value}; prepare it as tfrecord or "
            "array_record."
        )
    expected = info.splits[split].num_examples
    if records.examples != expected:
        raise OSError(
            f"Split {split} of tfds:{info.name} holds {records.examples} records, its "
            f"dataset_info.json says {expected}; prepare the set again."
        )
    return records


def _open_array_records(paths: list[Path]) -> _Records:
    from array_record.python.array_record_data_source import ArrayRecordDataSource

    source = ArrayRecordDataSource([str(path) for path in paths])
    return _Records(
        len(source),
        source.__getitem__,
        lambda index: f"record {index} of {paths[0].parent}",
        lambda count: (source[index][-count:] for index in range(len(source))),
    )


def _open_tfrecords(paths: list[Path]) -> _Records:
    with ThreadPoolExecutor(16) as pool:
        positions = list(pool.map(_record_positions, paths))  # one int64 [records, 2] a file
    first = np.cumsum([0] + [len(rows) for rows in positions])  # [files + 1]

    def locate(index: int) -> tuple[int, int]:
        file = int(np.searchsorted(first, index, side="right")) - 1
        return file, index - int(first[file])

    def read(index: int) -> bytes:
        file, row = locate(index)
        offset, length = positions[file][row]
        with paths[file].open("rb") as stream:
            stream.seek(offset)
            return stream.read(length)

    def describe(index: int) -> str:
        file, row = locate(index)
        return f"record {row} of {paths[file]}"

    def ends(count: int) -> Iterator[bytes]:
        with ThreadPoolExecutor(16) as pool:
            for part in pool.map(functools.partial(_record_ends, count), paths, positions):
                yield from part

    return _Records(int(first[-1]), read, describe, ends)


def _record_ends(count: int, path: Path, rows: npt.NDArray[np.int64]) -> list[bytes]:
    found = []
    with path.open("rb", buffering=0) as stream:
        for offset, length in rows.tolist():
            stream.seek(offset + max(length - count, 0))
            found.append(stream.read(min(length, count)))
    return found


def _record_positions(path: Path) -> npt.NDArray[np.int64]:
    """Returns offset and length in bytes of every record, int64 `[records, 2]`."""
    size = path.stat().st_size
    rows = []
    offset = 0
    with path.open("rb", buffering=0) as stream:
        while offset < size:
            stream.seek(offset)
            header = stream.read(_HEADER.size)
            length = _HEADER.unpack(header)[0] if len(header) == _HEADER.size else size
            end = offset + _HEADER.size + length + _FOOTER_BYTES
            if end > size:
                raise OSError(f"Record file {path} is truncated; prepare the set again.")
            rows.append((offset + _HEADER.size, length))
            offset = end
    return np.array(rows, np.int64).reshape(-1, 2)
