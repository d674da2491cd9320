"""Finds the network that a command line names: a published one, a file, or a run's."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from keras_nas import files
from keras_nas.resources import LatencyTable
from keras_nas.space import Architecture
from keras_nas.space.pieces import Shape
from keras_nas.space.published import PublishedNetwork, published_network, published_networks

CLASSES = 1000
RESOLUTION = 224
CHANNELS = 3
"""What networks on ImageNet take and give, where nothing says otherwise."""

ARCHITECTURE = "architecture.json"
TABLE = "latency_table.json"
FINAL_STAGES = ("finetune", "train")
"""Stages of a run that leave the final network, and its accuracy in a JSON file of their name."""


@dataclasses.dataclass(frozen=True)
class NamedNetwork:
    """A network as the command line names it.

    Attributes:
      name: a published network's own name, else the path as given.
      architecture: the network.
      input_shape, classes: what it was made for.
      published: its figures, where it is a published one.
      table: the latency table of the work directory it is from.
      folder: that work directory.
    """

    name: str
    architecture: Architecture
    input_shape: Shape
    classes: int
    published: PublishedNetwork | None = None
    table: LatencyTable | None = None
    folder: Path | None = None


def named_network(text: str) -> NamedNetwork:
    """The network that `text` names.

    Args:
      text: a published network's name or alias, an architecture's JSON file, or a work directory. A
        path that exists goes before a name.

    Raises:
      FileNotFoundError: the work directory has no architecture.
      OSError: a file cannot be read.
      ValueError: `text` is neither a name nor a path, or a file is damaged.
    """
    path = Path(text)
    if text and path.is_dir():
        return _from_folder(text, path)
    if path.is_file():
        architecture = read_architecture(path)
        return NamedNetwork(text, architecture, (RESOLUTION, RESOLUTION, CHANNELS), CLASSES)
    try:
        found = published_network(text)
    except ValueError:
        names = ", ".join(network.name for network in published_networks())
        raise ValueError(
            f"{text!r} is neither a file, nor a work directory, nor a published network's name. "
            f"Published are {names}."
        ) from None
    return of_published(found)


def of_published(network: PublishedNetwork) -> NamedNetwork:
    """A published network on the images it was published for."""
    shape = (network.resolution, network.resolution, CHANNELS)
    return NamedNetwork(network.name, network.architecture, shape, CLASSES, network)


def read_architecture(path: Path) -> Architecture:
    """The architecture in a JSON file.

    Raises:
      FileNotFoundError, OSError, ValueError: it is missing, cannot be read, or is damaged.
    """
    return Architecture.from_json(files.read_text(path, "architecture"), f"architecture {path}")


def read_table(path: Path) -> LatencyTable:
    """The latency table in a JSON file.

    Raises:
      FileNotFoundError, OSError, ValueError: it is missing, cannot be read, or is damaged.
    """
    return LatencyTable.from_json(files.read_text(path, "latency table"), f"latency table {path}")


def run_accuracy(folder: Path) -> tuple[float, str] | None:
    """A run's accuracy on its own test images, percent, and the stage that reached it.

    Returns:
      None where the final network is not trained yet.

    Raises:
      ValueError: a record is damaged, or there are two final networks.
    """
    stages = [stage for stage in FINAL_STAGES if (folder / f"{stage}.json").exists()]
    if not stages:
        return None
    if len(stages) > 1:
        raise ValueError(
            f"work directory {folder} holds accuracies of the stages {' and '.join(stages)}; say "
            f"which one counts, in percent: {folder}=ACCURACY."
        )
    record = files.read_json(folder / f"{stages[0]}.json", "training record")
    accuracy = record.get("accuracy")
    if not isinstance(accuracy, float) or not 0 <= accuracy <= 1:
        raise ValueError(
            f"training record {folder / f'{stages[0]}.json'} should hold an accuracy between 0 and "
            f"1, received {accuracy!r}. Run that stage again."
        )
    return 100 * accuracy, stages[0]


def _from_folder(text: str, folder: Path) -> NamedNetwork:
    if not (folder / ARCHITECTURE).is_file():
        raise FileNotFoundError(
            f"folder {text} has no {ARCHITECTURE}; name a work directory whose search has ended."
        )
    architecture = read_architecture(folder / ARCHITECTURE)
    if not (folder / TABLE).is_file():
        shape = (RESOLUTION, RESOLUTION, CHANNELS)
        return NamedNetwork(text, architecture, shape, CLASSES, folder=folder)
    table = read_table(folder / TABLE)
    return NamedNetwork(
        text, architecture, table.input_shape, table.classes, table=table, folder=folder
    )
