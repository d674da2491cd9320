"""Random, seeded, disjoint splits of a set of examples."""

import numpy as np
import numpy.typing as npt
from sklearn.model_selection import train_test_split

Indices = npt.NDArray[np.int64]


def split_held_out(examples: int, fraction: float = 0.2, *, seed: int) -> tuple[Indices, Indices]:
    """Splits the training set for weights and for the search (HC section 4: random 80% and 20%).

    Args:
      examples: size of the training set.
      fraction: share that is held out for the search, in (0, 1).
      seed: the same seed gives the same split.

    Returns:
      Two disjoint, sorted int64 arrays that together hold 0 .. examples - 1: the examples to train
      on, and those held out.

    Raises:
      ValueError: `fraction` or `examples` leaves one of the two empty.
    """
    if not 0.0 < fraction < 1.0:
        raise ValueError(f"fraction must be in (0, 1). Received: {fraction}")
    held_out = round(examples * fraction)
    if not 0 < held_out < examples:
        raise ValueError(
            f"Holding out {fraction} of {examples} examples leaves one part empty; use more "
            "examples or another fraction."
        )
    order = np.random.default_rng(seed).permutation(examples)
    return np.sort(order[held_out:]), np.sort(order[:held_out])


def stratified_split(
    labels: npt.NDArray[np.int32], fraction: float, seed: int, name: str
) -> tuple[Indices, Indices]:
    """Splits so that each class keeps its share; for sets that come without a test set.

    Args:
      labels: int32 `[examples]`.
      fraction: share of the test set, in (0, 1).
      seed: the same seed gives the same split.
      name: what error messages call the set.

    Returns:
      Two disjoint, sorted int64 arrays: training and test examples.

    Raises:
      ValueError: a class has too few examples, or `fraction` is out of range.
    """
    try:
        train, test = train_test_split(
            np.arange(len(labels)), test_size=fraction, random_state=seed, stratify=labels
        )
    except ValueError as error:
        raise ValueError(
            f"{name} cannot be split with test_fraction {fraction}: {error} Add images, change "
            "test_fraction, or provide a test folder."
        ) from error
    return np.sort(train), np.sort(test)
