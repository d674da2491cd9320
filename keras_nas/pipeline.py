"""The work directory, what is up to date, and running the stages that are not.

A stage reads and writes files of the work directory. It is skipped when its outputs are there and
neither its inputs nor the settings it depends on have changed; a stage that was cut off continues
from its checkpoint. TensorFlow is imported only when a stage has to run.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from keras_nas import files, journal
from keras_nas.config import Config, flatten
from keras_nas.config.ranges import rule_of
from keras_nas.devices import device_from_name
from keras_nas.imports import lean_imports
from keras_nas.method_space import checked_limits, method_space, other_latencies, read_table
from keras_nas.progress import quiet_native_code
from keras_nas.resources.limits import range_table
from keras_nas.several_hosts import Team
from keras_nas.stage_list import PROFILE, Stage, stages_of
from keras_nas.work_directory import RECORDS, locked
from tpu.storage import AnyPath, StoredPath, to_path

if TYPE_CHECKING:
    from keras_nas.context import Context

FILE_SETTINGS = {
    "space.name": "file:",
    "device.latency_table": "",
    "finetune.init": "",
    "single_path.runtime_table": "",
}
"""Settings that name a file -> what stands before its path."""


def show(line: str) -> None:
    """Prints a line at once, also where output goes to a file."""
    print(line, flush=True)


def run(
    config: Config,
    work_directory: str | os.PathLike[str],
    names: Sequence[str] = (),
    *,
    log: Callable[[str], None] = show,
    profile_steps: tuple[int, int] | None = None,
) -> None:
    """Runs an experiment's stages, as far as they are not up to date.

    Args:
      config: the experiment; validated here.
      work_directory: made if it is not there; also on cloud storage (`gs://`).
      names: run only these stages; empty runs all.
      log: receives a line for every stage.
      profile_steps: a trace of these steps, first and last, of every training that runs is written
        for TensorBoard.

    Raises:
      ValueError: bad settings, an unknown stage, a limit that cannot be kept, damaged files.
      FileNotFoundError: the file that fine-tuning starts from is not there.
      OSError: the work directory cannot be written, or another process works in it.
    """
    stages = _checked_stages(config, names)
    folder = to_path(work_directory)
    team = Team(config)
    if not team.is_chief:
        asked = [stage for stage in stages if not names or stage.name in names]
        team.follow(config, folder, asked, lambda stage: _checkpoints(config, folder, stage), log)
        return
    with locked(folder) as check_lock, journal.opened(folder, config.name) as book:

        def tell(line: str) -> None:
            log(line)
            book.line(line)

        _remove_partial(folder, stages)
        context = None
        profiled = [stage for stage in stages if stage.name == PROFILE.name]
        for number, stage in enumerate(stages, 1):
            if names and stage.name not in names:
                if stage is profiled[-1] and all((folder / s.writes[0]).exists() for s in profiled):
                    _check_limits(config, folder, tell)
                continue
            check_lock()
            title = f"[{number}/{len(stages)}] {stage.key}"
            settings = relevant_settings(config, stage)
            if not team.agree(not is_up_to_date(folder, stage, settings)):
                tell(f"{title}: up to date")
                book.event("stage_up_to_date", stage=stage.key)
            else:
                _require_inputs(folder, stage, stages)
                tell(f"{title}: {stage.does}")
                book.event("stage_began", stage=stage.key)
                began = time.monotonic()
                context = context or _new_context(config, folder, book, profile_steps)
                context.begin(stage, config, _checkpoints(config, folder, stage))
                _run_stage(context, stage, settings, check_lock)
                seconds = time.monotonic() - began
                tell(f"{title}: done in {seconds:.0f} s")
                book.event("stage_ended", stage=stage.key, seconds=round(seconds, 3))
            if stage is profiled[-1]:
                _check_limits(config, folder, tell)
        team.agree()


def _checked_stages(config: Config, names: Sequence[str]) -> tuple[Stage, ...]:
    """The experiment's stages, once all that can be checked before it starts is right."""
    config.validate()
    stages = stages_of(config)
    unknown = sorted(set(names) - {stage.name for stage in stages})
    if unknown:
        raise ValueError(
            f"unknown stage {unknown[0]!r}; stages of this experiment are "
            f"{', '.join(dict.fromkeys(stage.name for stage in stages))}."
        )
    method_space(config)
    for device in config.devices().values():
        device_from_name(device.name, device)
    if config.finetune.init and not Path(config.finetune.init).is_file():
        raise FileNotFoundError(
            f"no network at {config.finetune.init}; check config.finetune.init."
        )
    return stages


def _new_context(
    config: Config,
    folder: AnyPath,
    book: journal.Journal,
    profile_steps: tuple[int, int] | None,
) -> Context:
    with quiet_native_code(), lean_imports():
        from keras_nas import stages  # imports TensorFlow

    # Its advice on retracing is for programmers; every stage compiles its own program once.
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    return stages.Context(config, folder, journal=book, profile_steps=profile_steps)


def _run_stage(
    context: Context, stage: Stage, settings: dict[str, Any], check_lock: Callable[[], None]
) -> None:
    """Runs a stage, then replaces its outputs and its record.

    The old record goes before the first output changes: after a kill in between, the stage runs
    again, from its checkpoint.
    """
    from keras_nas import stages

    folder = context.folder
    reads = {name: _digest(folder / name) for name in stage.reads}
    outputs = stages.run(stage.name, context)
    check_lock()
    _record_path(folder, stage).unlink(missing_ok=True)
    for name in stage.writes:
        _write(folder / name, outputs[name.removeprefix(f"{stage.limit}/")])
    writes = {name: _digest(folder / name) for name in stage.writes}
    files.write_json(
        _record_path(folder, stage), {"settings": settings, "reads": reads, "writes": writes}
    )
    if isinstance(context.checkpoints, StoredPath):
        context.checkpoints.rmtree()
    else:
        shutil.rmtree(context.checkpoints, ignore_errors=True)


def _checkpoints(config: Config, folder: AnyPath, stage: Stage) -> AnyPath:
    """Where a stage with these settings and inputs keeps what it needs to continue."""
    reads = {name: _digest(folder / name) for name in stage.reads}
    key = _fingerprint([relevant_settings(config, stage), reads])
    return folder / RECORDS / f"{stage.key.replace('/', '-')}-{key}"


def _write(path: AnyPath, value: bytes | str | dict[str, Any]) -> None:
    if isinstance(value, bytes):
        files.write_bytes(path, value)
    elif isinstance(value, str):
        files.write_text(path, value)
    else:
        files.write_json(path, value)


def _remove_partial(folder: AnyPath, stages: Sequence[Stage]) -> None:
    """Removes what a killed process left of files it was writing."""
    if isinstance(folder, StoredPath):
        return
    for path in (folder / name for stage in stages for name in stage.writes):
        for partial in path.parent.glob(f".{path.name}.*"):
            partial.unlink(missing_ok=True)


def _check_limits(config: Config, folder: AnyPath, log: Callable[[str], None]) -> None:
    """Before anything is trained: is there a network that keeps the limits?"""

    def find(name: str) -> AnyPath:
        return folder / name

    table, others = read_table(find), other_latencies(config, find)
    space = method_space(config)
    for limits in config.limits.each().values():
        log(range_table(checked_limits(space, table, limits, others)))


def relevant_settings(config: Config, stage: Stage) -> dict[str, Any]:
    """The settings that a stage's outputs depend on, as JSON has them.

    Where one names a file, a digest of the file stands beside its name.
    """
    settings = flatten(stage.config(config))
    for path, value in settings.items():
        prefix = FILE_SETTINGS.get(rule_of(path))
        if prefix is None:
            continue
        file = value.removeprefix(prefix)
        if file != value or (file and not prefix):
            digest = _digest(Path(file)) if Path(file).is_file() else "missing"
            settings[path] = [value, digest]
    chosen = {
        path: value
        for path, value in settings.items()
        if any(path.startswith(prefix) for prefix in stage.settings)
    }
    return json.loads(json.dumps(chosen))


def is_up_to_date(folder: AnyPath, stage: Stage, settings: dict[str, Any]) -> bool:
    """Whether a stage's outputs are there, whole, and made from these settings and inputs.

    Raises:
      ValueError: an output is not what its stage wrote, though nothing it depends on has changed:
        it was damaged or edited, and running the stage would overwrite it.
    """
    record_path = _record_path(folder, stage)
    if not record_path.exists():
        return False
    record = files.read_json(record_path, "record of a stage")
    if any(not isinstance(record.get(key), dict) for key in ("settings", "reads", "writes")):
        raise ValueError(
            f"record of a stage {record_path} is damaged: it lacks settings, reads or writes. "
            "Delete it to run the stage again."
        )
    if record["settings"] != settings:
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


def _require_inputs(folder: AnyPath, stage: Stage, stages: Sequence[Stage]) -> None:
    for name in stage.reads:
        if not (folder / name).exists():
            maker = next(other.name for other in stages if name in other.writes)
            raise FileNotFoundError(
                f"stage {stage.name!r} needs {folder / name}; run stage {maker!r} first, or leave "
                "--stages out."
            )


def _record_path(folder: AnyPath, stage: Stage) -> AnyPath:
    return folder / RECORDS / f"{stage.key}.json"


def _digest(path: AnyPath) -> str:
    if isinstance(path, StoredPath):
        return hashlib.sha256(path.read_bytes()).hexdigest()
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _fingerprint(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:12]
