"""Labels of serialized examples, from their ends and whole."""

import pytest
import tensorflow as tf

from keras_nas.data.record_labels import END_BYTES, label_at_end, label_of

IMAGE = bytes(range(256)) * 3


def feature(value: bytes | int | list[int]) -> tf.train.Feature:
    if isinstance(value, bytes):
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))
    values = value if isinstance(value, list) else [value]
    return tf.train.Feature(int64_list=tf.train.Int64List(value=values))


def record(*features: tuple[str, bytes | int | list[int]]) -> bytes:
    """Features in this order: messages that follow one another are one message."""
    parts = (tf.train.Features(feature={key: feature(value)}) for key, value in features)
    content = b"".join(part.SerializeToString() for part in parts)
    length = len(content)
    assert 128 <= length < 128 * 128
    return b"\n" + bytes([length % 128 + 128, length // 128]) + content


@pytest.mark.parametrize("label", [0, 7, 127, 128, 999, 21_840])
def test_label_after_the_image(label):
    stored = record(("file_name", b"n01440764_9.JPEG"), ("image", IMAGE), ("label", label))
    assert label_of(stored, "label") == label
    assert label_at_end(stored[-END_BYTES:], "label") == label


def test_label_before_the_image():
    stored = record(("coarse", 3), ("image", IMAGE))
    assert label_at_end(stored[-END_BYTES:], "coarse") is None
    assert label_of(stored, "coarse") == 3


@pytest.mark.parametrize(
    "last", [("label", [1, 2]), ("label", b"7"), ("labels", 7), ("my_label", 7), ("label", [])]
)
def test_another_end_is_no_label(last):
    stored = record(("image", IMAGE), last)
    assert label_at_end(stored[-END_BYTES:], "label") is None


def test_an_image_that_holds_such_an_end():
    inner = record(("image", IMAGE), ("label", 5))
    stored = record(("image", inner + b"\xff\xd9"), ("label", 6))
    assert label_at_end(stored[-END_BYTES:], "label") == 6
    assert label_at_end((inner + b"\xff\xd9")[-END_BYTES:], "label") is None
    assert label_at_end(b"", "label") is None
