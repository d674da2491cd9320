"""What a kind of source has to provide for each of its splits."""

import dataclasses
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from keras_nas.data.images import Pixels, StoredImage

Arrays = tuple[Pixels, npt.NDArray[np.int32]]


@dataclasses.dataclass(frozen=True)
class Reader:
    """Random access to stored examples.

    Attributes:
      examples: how many.
      read: index -> (image, label).
      describe: index -> what error messages call the example.
      labels: -> int32 `[examples]`, without decoding images.
      read_all: the same examples at once, uint8 `[examples, height, width, 3]` and int32
        `[examples]`; for sets of small images of one size, where a call an image would take
        longer than the work.
    """

    examples: int
    read: Callable[[int], tuple[StoredImage, int]]
    describe: Callable[[int], str]
    labels: Callable[[], npt.NDArray[np.int32]]
    read_all: Callable[[], Arrays] | None = None
