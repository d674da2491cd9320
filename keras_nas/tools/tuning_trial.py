"""One trial of a study: a work directory of the pipeline, and what its files say."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from keras_nas import files, pipeline
from keras_nas.config import Config
from keras_nas.stage_list import PROFILE, SEARCHES, Stage, final_stage
from keras_nas.tools.tuning_fields import with_values
from keras_nas.work_directory import RECORDS

Log = Callable[[str], None]
Result = TypeVar("Result")

EVALUATIONS = ("search", "final")
"""What is evaluated, see `Evaluator`."""
RUNTIMES = ("predicted", "measured")
"""By the latency table, or on the device."""
COMMON = "common"
"""Folder of what all trials share."""
WAIT_SECONDS = 1.0
END_OF_SEARCH = 0.1
"""Share of a search's trajectory whose mean accuracy is that at its end."""


@dataclasses.dataclass(frozen=True)
class Evaluated:
    """What a trial reached: `accuracy` (0..1) and `runtime_ms` of the found network."""

    accuracy: float
    runtime_ms: float


def objective(accuracy: float, runtime_ms: float, target_ms: float) -> float:
    """What a study maximises: accuracy * (R / target)^w (SP eq. 19).

    w is 0 at or under the target and -1 above it.
    """
    exponent = 0.0 if runtime_ms <= target_ms else -1.0
    return accuracy * (runtime_ms / target_ms) ** exponent


def waiting(enter: Callable[[], Result], log: Log) -> Result:
    """What `enter` returns, as soon as no other process is in the folder that it works in."""
    told = False
    while True:
        try:
            return enter()
        except BlockingIOError as error:
            if not told:
                log(f"waits: {error}")
            told = True
            time.sleep(WAIT_SECONDS)


@dataclasses.dataclass(frozen=True)
class Evaluator:
    """Runs trials of an experiment.

    Stages that no tuned field has an influence on, the latency table first of all, run once, in a
    work directory that all trials take them from.

    Attributes:
      config: the experiment, with the target as its latency limit.
      output: folder of the study.
      evaluate: `search`: runs up to the found network; the accuracy is that on held-out images
        where the search ended: of the found network itself where the method has its weights, else
        the mean of the last steps. `final`: also trains the found network, and takes its accuracy
        on the test images, which then have chosen it.
      varied: paths of all fields that differ between trials.
    """

    config: Config
    output: Path
    evaluate: str
    varied: Collection[str]

    @property
    def stages(self) -> tuple[Stage, ...]:
        """What a trial runs, in order."""
        searching = (PROFILE, *SEARCHES[self.config.method])
        return (*searching, final_stage(self.config)) if self.evaluate == "final" else searching

    def common_stages(self) -> list[Stage]:
        """Those that no tuned field has an influence on."""
        changed: set[str] = set()
        common = []
        for stage in self.stages:
            own = any(path.startswith(stage.settings) for path in self.varied)
            if own or changed & set(stage.reads):
                changed |= set(stage.writes)
            else:
                common.append(stage)
        return common

    def check(self) -> None:
        """Raises ValueError where a tuned field has no influence on a trial."""
        for path in self.varied:
            if not any(path.startswith(stage.settings) for stage in self.stages):
                names = ", ".join(stage.name for stage in self.stages)
                raise ValueError(
                    f"config.{path} has no influence on a trial, which runs the stages {names}"
                    + ("; --evaluate=final trains as well." if self.evaluate != "final" else ".")
                )

    def prepare(self, log: Log) -> None:
        """Runs the common stages, or waits for the process that does.

        Raises:
          ValueError, OSError: see `pipeline.run`; e.g. a target that no network can keep.
        """
        names = [stage.name for stage in self.common_stages()]
        if names:
            self._run(self.config, self.output / COMMON, names, log)

    def run(self, values: Mapping[str, Any], folder: Path, log: Log) -> Evaluated:
        """Runs a trial, or what is missing of it, in its work directory.

        Args:
          values: of tuned fields, by path.
          folder: the work directory.
          log: receives a line for every stage.

        Raises:
          ValueError, RuntimeError: these values do not work, e.g. training diverged.
          OSError: the folder cannot be written.
        """
        config = with_values(self.config, values)
        self.take_common(folder)
        self._run(config, folder, [stage.name for stage in self.stages], log)
        return read_evaluated(config, folder, self.evaluate)

    def _run(self, config: Config, folder: Path, names: Sequence[str], log: Log) -> None:
        waiting(lambda: pipeline.run(config, folder, names, log=log), log)

    def take_common(self, folder: Path) -> None:
        """Links what the common stages left into a trial's work directory."""
        for stage in self.common_stages():
            for name in (*stage.writes, f"{RECORDS}/{stage.key}.json"):
                source, target = self.output / COMMON / name, folder / name
                target.parent.mkdir(parents=True, exist_ok=True)
                with contextlib.suppress(FileExistsError):
                    try:
                        os.link(source, target)  # files are replaced, never changed in place
                    except FileExistsError:
                        raise
                    except OSError:  # a file system without links
                        files.write_bytes(target, source.read_bytes())


def read_evaluated(config: Config, folder: Path, evaluate: str) -> Evaluated:
    """What a trial's files say, see `Evaluator.evaluate`.

    The runtime is the one measured on the device where the trial measures networks
    (`config.projection.rounds`), else the one that the latency table predicts. Single-Path NAS
    trades it softly: there it is that of the network as the search found it, not of the one that is
    projected to keep the target, unless that one was trained.
    """
    projection = files.read_json(folder / "projection.json", "projection record")
    if evaluate == "final":
        record = files.read_json(folder / f"{config.final}.json", "training record")
        return Evaluated(record["accuracy"], _used_ms(projection))
    searched = files.read_json(folder / "search.json", "search record")
    if config.method == "single_path":
        found = projection["candidates"]["search"]
        runtime_ms = found.get("measured_ms", found["latency_ms"])
        return Evaluated(searched["accuracy"]["held_out"], runtime_ms)
    if "held_out_accuracy" in projection:
        return Evaluated(projection["held_out_accuracy"], _used_ms(projection))
    rows = searched["trajectory"]
    last = rows[-max(1, round(END_OF_SEARCH * len(rows))) :]
    return Evaluated(float(np.mean([row["accuracy"] for row in last])), _used_ms(projection))


def _used_ms(projection: Mapping[str, Any]) -> float:
    kept = [row for row in projection["rounds"] if row["keeps_limit"]]
    if kept:
        return max(kept, key=lambda row: row["credit"])["measured_ms"]
    return projection["resources"]["latency_ms"]
