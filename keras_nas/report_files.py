"""Gathers a work directory's files into the report. Needs no TensorFlow."""

from __future__ import annotations

import importlib.metadata
import platform
from collections.abc import Sequence

from keras_nas import files
from keras_nas.config import Config, flatten
from keras_nas.method_space import method_space
from keras_nas.report import ReportData
from keras_nas.resources import LatencyTable
from keras_nas.space import Architecture
from keras_nas.stage_list import TFLITE_FILES, stages_of
from tpu.storage import AnyPath

TRAINING_STAGES = ("pretrain", "supernet", "finetune", "train")
"""Stages that leave a training record."""
PACKAGES = (
    "keras_nas", "tensorflow", "keras", "ai-edge-litert", "numpy", "scipy", "tensorflow-datasets"
)  # fmt: skip
RESULTS = (
    "latency_table.json", "search.json", "projection.json", "architecture.json", "network.keras",
    *TFLITE_FILES.values(), "measurement.json",
)  # fmt: skip


def gather(config: Config, folder: AnyPath, class_names: Sequence[str]) -> ReportData:
    """Everything the report shows.

    Raises:
      ValueError, FileNotFoundError: a file is damaged or missing.
    """
    table_path = folder / "latency_table.json"
    architecture_path = folder / "architecture.json"
    table = LatencyTable.from_json(files.read_text(table_path, "latency table"), str(table_path))
    architecture = Architecture.from_json(
        files.read_text(architecture_path, "architecture"), str(architecture_path)
    )
    search = files.read_json(folder / "search.json", "search record")
    training = {
        stage: files.read_json(folder / f"{stage}.json", "training record")
        for stage in (stage.name for stage in stages_of(config))
        if stage in TRAINING_STAGES
    }
    space = method_space(config)
    exported = files.read_json(folder / "export.json", "record of the export")
    return ReportData(
        title=config.name,
        space=space,
        architecture=architecture,
        input_shape=table.input_shape,
        classes=table.classes,
        class_names=class_names,
        latency=table.piece_ms,
        search=search,
        projection=files.read_json(folder / "projection.json", "projection record"),
        measurement=files.read_json(folder / "measurement.json", "measurement"),
        exported=exported.get(TFLITE_FILES.get(table.precision, TFLITE_FILES["float32"]), {}),
        training=training,
        table=files.read_json(table_path, "latency table"),
        files=[
            (name, (folder / name).stat().st_size) for name in RESULTS if (folder / name).exists()
        ],
        settings=flatten(config),
        versions={"python": platform.python_version()} | {p: _version(p) for p in PACKAGES},
        directory=str(folder),
    )


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"
