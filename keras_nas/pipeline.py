"""Stages, the work directory, and what is up to date.

A stage reads and writes files of the work directory. It is skipped when its outputs are there and
neither its inputs nor the settings it depends on have changed; a stage that was cut off continues
from its checkpoint. TensorFlow is imported only when a stage has to run.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from keras_nas import files
from keras_nas.config import Config, flatten

RECORDS = ".keras_nas"
"""Folder in the work directory with the record of every finished stage, and checkpoints."""


@dataclasses.dataclass(frozen=True)
class Stage:
    """One step from data set and limits to report.

    Attributes:
      name: as in `--stages`.
      does: one line for the terminal.
      settings: prefixes of the settings that its outputs depend on.
      reads, writes: file names in the work directory.
    """

    name: str
    does: str
    settings: tuple[str, ...]
    reads: tuple[str, ...]
    writes: tuple[str, ...]


TRAINING = ("seed", "space.", "data.", "precision", "accelerator", "steps_per_loop")

PROFILE = Stage(
    "profile",
    "measures every block of the search space on the device",
    ("space.", "device.", "data.source", "data.data_dir"),
    (),
    ("latency_table.json",),
)
PRETRAIN = Stage(
    "pretrain",
    "trains the heaviest network (w-bar)",
    (*TRAINING, "pretrain.", "evaluation_batch_size"),
    (),
    ("heaviest.npz", "pretrain.json"),
)
SUPERNET = Stage(
    "supernet",
    "trains the one-shot weights (w*) by multi-path sampling",
    (*TRAINING, "supernet.", "evaluation_batch_size"),
    ("heaviest.npz",),
    ("supernet.npz", "supernet.json"),
)
SEARCH = Stage(
    "search",
    "searches the architecture under the limits",
    (*TRAINING, "search.", "limits.", "evaluation_batch_size", "batch_norm_images"),
    ("latency_table.json", "supernet.npz"),
    ("search.json", "architecture.json"),
)
FINETUNE = Stage(
    "finetune",
    "fine-tunes the found network with distillation",
    (*TRAINING, "finetune.", "evaluation_batch_size", "batch_norm_images"),
    ("architecture.json", "supernet.npz", "heaviest.npz"),
    ("network.keras", "finetune.json"),
)
TRAIN = Stage(
    "train",
    "trains the found network from scratch",
    (*TRAINING, "train.", "evaluation_batch_size"),
    ("architecture.json", "heaviest.npz"),
    ("network.keras", "train.json"),
)
EXPORT = Stage(
    "export",
    "exports to TFLite and checks that it computes the same",
    ("data.", "seed"),
    ("network.keras",),
    ("network.tflite", "network_float16.tflite", "export.json"),
)
MEASURE = Stage(
    "measure",
    "measures the exported network on the device",
    ("device.",),
    ("latency_table.json", "network.tflite", "network_float16.tflite"),
    ("measurement.json",),
)


def stages_of(config: Config) -> tuple[Stage, ...]:
    """The stages of an experiment in order: the method's, then what every method ends with."""
    final = FINETUNE if config.final == "finetune" else TRAIN
    report = Stage(
        "report",
        "draws and writes up the result",
        ("",),
        (
            "latency_table.json", "search.json", "architecture.json", "measurement.json",
            "export.json", "pretrain.json", "supernet.json", f"{final.name}.json",
        ),
        ("report.html", "summary.txt"),
    )  # fmt: skip
    return (PROFILE, PRETRAIN, SUPERNET, SEARCH, final, EXPORT, MEASURE, report)


def run(
    config: Config,
    work_directory: str | os.PathLike[str],
    names: Sequence[str] = (),
    *,
    log: Callable[[str], None] = print,
) -> None:
    """Runs an experiment's stages, as far as they are not up to date.

    Args:
      config: the experiment; validated here.
      work_directory: made if it is not there.
      names: run only these stages; empty runs all.
      log: receives a line for every stage.

    Raises:
      ValueError: bad settings, an unknown stage, a limit that cannot be kept, damaged files.
      OSError: the work directory cannot be written, or another process works in it.
    """
    config.validate()
    stages = stages_of(config)
    unknown = sorted(set(names) - {stage.name for stage in stages})
    if unknown:
        raise ValueError(
            f"unknown stage {unknown[0]!r}; stages of this experiment are "
            f"{', '.join(stage.name for stage in stages)}."
        )
    folder = Path(work_directory)
    with _locked(folder):
        for number, stage in enumerate(stages, 1):
            if names and stage.name not in names:
                continue
            title = f"[{number}/{len(stages)}] {stage.name}"
            settings = relevant_settings(config, stage)
            if is_up_to_date(folder, stage, settings):
                log(f"{title}: up to date")
            else:
                _require_inputs(folder, stage, stages)
                log(f"{title}: {stage.does}")
                began = time.monotonic()
                _run_stage(config, folder, stage, settings)
                log(f"{title}: done in {time.monotonic() - began:.0f} s")
            if stage is PROFILE:
                _check_limits(config, folder, log)


def _run_stage(config: Config, folder: Path, stage: Stage, settings: dict[str, Any]) -> None:
    from keras_nas import stages  # imports TensorFlow

    reads = {name: _digest(folder / name) for name in stage.reads}
    fingerprint = _fingerprint([settings, reads])
    context = stages.Context(config, folder, folder / RECORDS / f"{stage.name}-{fingerprint}")
    stages.RUN[stage.name](context)
    writes = {name: _digest(folder / name) for name in stage.writes}
    record = {"settings": settings, "reads": reads, "writes": writes}
    files.write_json(_record_path(folder, stage), record)
    context.forget_checkpoints()


def _check_limits(config: Config, folder: Path, log: Callable[[str], None]) -> None:
    """Before anything is trained: is there a network that keeps the limits?"""
    from keras_nas.experiment import limited_resources, load_space
    from keras_nas.resources import LatencyTable
    from keras_nas.resources.limits import range_table

    path = folder / "latency_table.json"
    table = LatencyTable.from_json(files.read_text(path, "latency table"), str(path))
    _, limits = limited_resources(load_space(config.space), table, config.limits)
    log(range_table(limits))


def relevant_settings(config: Config, stage: Stage) -> dict[str, Any]:
    """The settings that a stage's outputs depend on, as JSON has them."""
    chosen = {
        path: value
        for path, value in flatten(config).items()
        if any(path.startswith(prefix) for prefix in stage.settings)
    }
    return json.loads(json.dumps(chosen))


def is_up_to_date(folder: Path, stage: Stage, settings: dict[str, Any]) -> bool:
    """Whether a stage's outputs are there, whole, and made from these settings and inputs.

    Raises:
      ValueError: an output is not what its stage wrote, though nothing it depends on has changed:
        it was damaged or edited, and running the stage would overwrite it.
    """
    record_path = _record_path(folder, stage)
    if not record_path.exists():
        return False
    record = files.read_json(record_path, "record of a stage")
    if record.get("settings") != settings:
        return False
    for name, digest in record["reads"].items():
        if not (folder / name).exists() or _digest(folder / name) != digest:
            return False
    for name, digest in record["writes"].items():
        path = folder / name
        if not path.exists():
            return False
        if _digest(path) != digest:
            raise ValueError(
                f"{path} is not what stage {stage.name!r} wrote: it was damaged or edited. Restore "
                "it, or delete it to have the stage make it anew."
            )
    return True


def _require_inputs(folder: Path, stage: Stage, stages: Sequence[Stage]) -> None:
    for name in stage.reads:
        if not (folder / name).exists():
            maker = next(other.name for other in stages if name in other.writes)
            raise FileNotFoundError(
                f"stage {stage.name!r} needs {folder / name}; run stage {maker!r} first, or leave "
                "--stages out."
            )


def _record_path(folder: Path, stage: Stage) -> Path:
    return folder / RECORDS / f"{stage.name}.json"


def _digest(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _fingerprint(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:12]


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Keeps a second process out of the work directory.

    Raises:
      OSError: the folder cannot be written, or another process holds it.
    """
    try:
        (folder / RECORDS).mkdir(parents=True, exist_ok=True)
        lock = open(folder / RECORDS / "lock", "a+")  # noqa: SIM115 (held until the run ends)
    except OSError as error:
        raise OSError(
            f"work directory {folder} cannot be written ({error.strerror}); choose another with "
            "--workdir."
        ) from None
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            raise OSError(
                f"work directory {folder} is in use by process {lock.read().strip() or '?'}; wait "
                "for it, stop it, or choose another with --workdir."
            ) from None
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield
