"""Random, seeded, disjoint splits of a set of examples."""

import math

import numpy as np
import numpy.typing as npt

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

    Examples stand in a line, class after class and in random order inside of one; the test set is
    taken from it at equal distances. So each class gives its share, up to one example.

    Args:
      labels: int32 `[examples]`.
      fraction: share of the test set, in (0, 1); rounded up to whole examples.
      seed: the same seed gives the same split.
      name: what error messages call the set.

    Returns:
      Two disjoint, sorted int64 arrays: training and test examples.

    Raises:
      ValueError: a part has no example of some class, or `fraction` is out of range.
    """
    if not 0.0 < fraction < 1.0:
        raise ValueError(f"test_fraction must be in (0, 1). Received: {fraction}")
    examples = len(labels)
    order = np.random.default_rng(seed).permutation(examples)
    order = order[np.argsort(labels[order], kind="stable")]
    tested = math.ceil(examples * fraction)
    places = ((np.arange(tested) + 0.5) * examples / tested).astype(np.int64)
    train, test = np.delete(order, places), order[places]
    for part, members in (("training", train), ("test", test)):
        lacking = np.setdiff1d(labels, labels[members])
        if lacking.size:
            raise ValueError(
                f"{name} cannot be split with test_fraction {fraction}: the {part} part would have "
                f"no image of class {lacking[0]}, of which there are "
                f"{np.count_nonzero(labels == lacking[0])}. Add images, change test_fraction, or "
                "provide a test folder."
            )
    return np.sort(train), np.sort(test)
