"""What a comparison compares: networks, and accuracies that the user measured."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from keras_nas.space.published import published_networks
from keras_nas.tools.networks import NamedNetwork, named_network, of_published, run_accuracy

ALL = "published"
"""Stands for all published networks."""


@dataclasses.dataclass(frozen=True)
class Entry:
    """A network to compare.

    Attributes:
      network: which.
      accuracy: top-1 that the user or the user's run measured, percent.
      accuracy_source: where that is from.
    """

    network: NamedNetwork
    accuracy: float | None = None
    accuracy_source: str = ""


def read_entries(texts: Sequence[str], resolution: int | None = None) -> list[Entry]:
    """Networks as a command line names them.

    Args:
      texts: each a published network's name, `published` for all of them, an architecture's JSON
        file or a work directory; with `=ACCURACY` behind, in percent, what the user measured. A
        work directory brings its run's accuracy.
      resolution: height and width for all, in place of each network's own.

    Raises:
      FileNotFoundError, OSError, ValueError: an entry cannot be read, or stands there twice.
    """
    entries: list[Entry] = []
    for text in texts:
        if text == ALL:
            entries += [Entry(of_published(network)) for network in published_networks()]
        else:
            entries.append(_read_entry(text))
    if not entries:
        raise ValueError("no network given; name some, or leave --networks out for all published.")
    names = [entry.network.name for entry in entries]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"{', '.join(twice)} stands twice in --networks; name each network once.")
    if resolution is None:
        return entries
    return [dataclasses.replace(e, network=_resized(e.network, resolution)) for e in entries]


def _read_entry(text: str) -> Entry:
    name, equals, value = text.rpartition("=")
    if equals and not Path(text).exists():
        return Entry(named_network(name), _percent(value, text), "as given")
    network = named_network(text)
    reached = run_accuracy(network.folder) if network.folder else None
    if reached is None:
        return Entry(network)
    accuracy, stage = reached
    return Entry(network, accuracy, f"stage {stage}, on its own test images")


def _percent(value: str, text: str) -> float:
    try:
        accuracy = float(value)
    except ValueError:
        raise ValueError(
            f"the accuracy after = in {text!r} should be a number, in percent."
        ) from None
    # 0.75 is more likely a share than less than one image in a hundred.
    if not 1 < accuracy <= 100:
        raise ValueError(
            f"an accuracy should be in percent, above 1 and at most 100, received {value} in "
            f"{text!r}."
        )
    return accuracy


def _resized(network: NamedNetwork, resolution: int) -> NamedNetwork:
    shape = (resolution, resolution, network.input_shape[2])
    return dataclasses.replace(network, input_shape=shape)
