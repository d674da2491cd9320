"""Class labels of serialized `tf.train.Example`s.

Where features are stored in alphabetical order, as in TFDS' Fashion-MNIST, the label follows the
image: then the last bytes of a record tell it, and a part of a large set's classes is chosen
without reading its images.
"""

import tensorflow as tf
from google.protobuf.message import DecodeError

END_BYTES = 64
"""Of a record, in which a label that comes last is found; with its key it takes about 16."""


def label_at_end(end: bytes, key: str) -> int | None:
    """The integer feature `key` of a record, if it is what the record ends with; else None.

    Args:
      end: the last bytes of a serialized `tf.train.Example`.
      key: name of the feature.
    """
    # An entry of the map: its tag and length (one byte each), then the key, then the feature's tag
    # and length, here of nothing.
    entry = tf.train.Features(feature={key: tf.train.Feature()}).SerializeToString()
    start = entry[2:-1]
    _, found, feature = end.rpartition(start)
    if not found or not feature or feature[0] != len(feature) - 1:
        return None
    try:
        values = tf.train.Feature.FromString(feature[1:]).int64_list.value
    except DecodeError:
        return None
    return values[0] if len(values) == 1 else None


def label_of(record: bytes, key: str) -> int:
    """The integer feature `key` of a serialized `tf.train.Example`."""
    return tf.train.Example.FromString(record).features.feature[key].int64_list.value[0]
