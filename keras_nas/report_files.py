"""Gathers a work directory's files into the report. Needs no TensorFlow."""

from __future__ import annotations

import importlib.metadata
import platform
from collections.abc import Callable, Sequence

from keras_nas import files
from keras_nas.config import Config, flatten
from keras_nas.method_space import method_space, read_table
from keras_nas.report import ReportData
from keras_nas.report.data import OtherDevice
from keras_nas.report.front import SEARCH, FrontPoint
from keras_nas.resources.limits import latency_on
from keras_nas.space import Architecture
from keras_nas.stage_list import TABLE, TFLITE_FILES, of_device, stages_of
from tpu.storage import AnyPath

TRAINING_STAGES = ("pretrain", "supernet", "finetune", "train")
"""Stages that leave a training record."""
PACKAGES = (
    "keras_nas", "tensorflow", "keras", "ai-edge-litert", "numpy", "scipy", "tensorflow-datasets"
)  # fmt: skip
RESULTS = (
    TABLE, "search.json", "projection.json", "architecture.json", "network.keras",
    *TFLITE_FILES.values(), "measurement.json",
)  # fmt: skip


def result_names(config: Config) -> list[str]:
    """Names of the files that an experiment may leave, each once.

    A device may have the name of a precision, whose network is in the list already.
    """
    names = (of_device(result, device) for result in RESULTS for device in config.devices())
    return list(dict.fromkeys(names))


def gather(
    config: Config, find: Callable[[str], AnyPath], class_names: Sequence[str]
) -> ReportData:
    """Everything the report shows.

    Args:
      config: the experiment.
      find: name of a file -> where it is.
      class_names: of the data set.

    Raises:
      ValueError, FileNotFoundError: a file is damaged or missing.
    """
    table_path = find(TABLE)
    architecture_path = find("architecture.json")
    table = read_table(find)
    architecture = Architecture.from_json(
        files.read_text(architecture_path, "architecture"), str(architecture_path)
    )
    search = files.read_json(find("search.json"), "search record")
    projection = files.read_json(find("projection.json"), "projection record")
    if "limits" in projection:  # first used there, since the search needs none
        search |= {"limits": projection["limits"], "resources": projection["ranges"]}
    training = {
        stage: files.read_json(find(f"{stage}.json"), "training record")
        for stage in (stage.name for stage in stages_of(config))
        if stage in TRAINING_STAGES
    }
    space = method_space(config)
    exported = files.read_json(find("export.json"), "record of the export")
    return ReportData(
        title=config.name,
        space=space,
        architecture=architecture,
        input_shape=table.input_shape,
        classes=table.classes,
        class_names=class_names,
        latency=table.piece_ms,
        search=search,
        projection=projection,
        measurement=files.read_json(find("measurement.json"), "measurement"),
        others={
            device: OtherDevice(
                files.read_json(find(of_device(TABLE, device)), "latency table"),
                files.read_json(find(of_device("measurement.json", device)), "measurement"),
            )
            for device in config.other_devices
        },
        exported=exported.get(TFLITE_FILES.get(table.precision, TFLITE_FILES["float32"]), {}),
        training=training,
        table=files.read_json(table_path, "latency table"),
        files=[
            (name, find(name).stat().st_size)
            for name in result_names(config)
            if find(name).exists()
        ],
        settings=flatten(config),
        versions={"python": platform.python_version()} | {p: _version(p) for p in PACKAGES},
        directory=str(find("report.html").parent),
    )


def gather_front(config: Config, folder: AnyPath) -> list[FrontPoint]:
    """Every limit's network, and those that the baselines found.

    Raises:
      ValueError, FileNotFoundError: a file is damaged or missing.
    """
    points = []
    for name in config.limits.each():
        own = folder / name
        projected = files.read_json(own / "projection.json", "projection record")
        measured = files.read_json(own / "measurement.json", "measurement")
        trained = files.read_json(own / f"{config.final}.json", "training record")
        searched = files.read_json(own / "search.json", "search record")
        others = {
            latency_on(device): files.read_json(
                own / of_device("measurement.json", device), "measurement"
            )
            for device in config.other_devices
        }
        points.append(
            FrontPoint(
                method=SEARCH,
                name=name,
                limit_ms=searched["limits"]["latency_ms"],
                predicted_ms=projected["resources"]["latency_ms"],
                one_shot_accuracy=projected["one_shot_accuracy"],
                measured_ms=measured["latency_ms"],
                spread_ms=measured["spread_ms"],
                accuracy=trained["accuracy"],
                keeps_others=all(
                    other["latency_ms"] + other["spread_ms"] <= searched["limits"][name]
                    for name, other in others.items()
                ),
            )
        )
    if config.baselines.evaluations:
        found = files.read_json(folder / "baselines.json", "record of the baselines")["found"]
        points += [FrontPoint(**row["point"]) for row in found]
    return points


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"
