"""Kills an experiment with SIGKILL again and again and checks that nothing of its result changes.

    python -m benchmarks.kill
    python -m benchmarks.kill --kills=4 --override=pretrain.epochs=1 --override=supernet.epochs=1

One undisturbed run comes first. Then the same experiment runs in another folder on the same latency
table, and is killed and started again: half of the kills come at a random moment of a stage, half
as soon as a partial file appears while a stage writes. Each run goes on where the last was killed,
so that a kill costs a restart; kills that come after the end are made up for in further folders.
Bit for bit the same have to be the architecture, the search's trajectory, and the weights of w-bar,
w* and the network; and no run may end in an error. What is timed never repeats: so the projection
takes the table at its word, and kills while profiling are a run of their own, whose table must be
complete and predict like the other. Checkpoints are saved every two seconds, so that there are some
to kill.

The program itself can be stopped: run again, it goes on.
"""

import dataclasses
import json
import math
import random
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from absl import app, flags

from benchmarks.kills import differences, partial_files, place, run
from keras_nas import files
from keras_nas.journal import read_events
from keras_nas.resources import LatencyTable

_CONFIG = flags.DEFINE_string("experiment", "configs/quickstart.py", "Configuration file.")
_KILLS = flags.DEFINE_integer("kills", 20, "How many.", lower_bound=1)
_SEED = flags.DEFINE_integer("seed", 0, "Of the moments.")
_MINUTES = flags.DEFINE_float("minutes", 90.0, "No run begins after this.", lower_bound=0.0)
_OUTPUT = flags.DEFINE_string("output", "runs/benchmarks/kill", "Folder.")
_OVERRIDES = flags.DEFINE_multi_string("override", [], "FIELD=VALUE of the configuration.")
_PROFILING = flags.DEFINE_bool("profiling", True, "Kill while profiling too.")

ALWAYS = ("save_every_seconds=2", "projection.rounds=0")
TRAINING = ("pretrain", "supernet", "search", "finetune")
STAGES = (
    "profile", "pretrain", "supernet", "search", "project", "finetune", "export", "measure",
    "report",
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Kill:
    """When to kill.

    Attributes:
      stage: that runs then.
      share: the moment, in [0, 1): so many of the stage's steps and then so many seconds, which is
        anywhere in a loop; of stages without steps, so many of their usual seconds.
      writing: whether to wait for the first partial file, after so many steps where there are any.
    """

    stage: str
    writing: bool
    share: float


def plan(count: int, stages: Sequence[str], seed: int) -> list[Kill]:
    """Kills in order, spread evenly over the stages, every second one in a write."""
    draw = random.Random(seed)
    chosen = sorted((i % len(stages), draw.random()) for i in range(count))
    return [Kill(stages[s], bool(i % 2), share) for i, (s, share) in enumerate(chosen)]


class Moment:
    """Whether the moment of a kill has come, for `run`.

    Args:
      kill: which.
      folder: work directory.
      seconds: that the stage takes when nobody disturbs it.
    """

    def __init__(self, kill: Kill, folder: Path, seconds: float):
        self._kill, self._folder, self._seconds = kill, folder, seconds
        self._seen = len(read_events(folder))
        self._comes_at = math.inf
        self._next_look = 0.0

    def __call__(self) -> bool:
        now = time.monotonic()
        if math.isinf(self._comes_at) and now >= self._next_look:
            self._next_look = now + 0.05
            self._look(now)
        if self._kill.writing and now >= self._comes_at:
            return bool(partial_files(self._folder))
        return now >= self._comes_at

    def _look(self, now: float) -> None:
        """Notes that the stage, or a later one, has begun, and when the moment will be."""
        awaited = STAGES[STAGES.index(self._kill.stage) :]
        fresh = read_events(self._folder)[self._seen :]
        began = [e["stage"] for e in fresh if e["event"] == "stage_began" and e["stage"] in awaited]
        if not began:
            return
        share, stage = self._kill.share, began[-1]
        if stage not in TRAINING:
            self._comes_at = now + (0.0 if self._kill.writing else share * self._seconds)
        elif stage != self._kill.stage or any(
            e["event"] == "loop" and e["step"] >= share * e["steps"] for e in fresh
        ):
            self._comes_at = now + (0.0 if self._kill.writing else share)


class Series:
    """Kills of one work directory, kept in a file after each.

    Args:
      folder: the work directory.
      arguments: of the program.
      kills: planned.
      seconds: usual seconds of every stage.
    """

    def __init__(
        self, folder: Path, arguments: Sequence[str], kills: list[Kill], seconds: dict[str, float]
    ):
        self.folder, self._arguments = folder, list(arguments)
        self._kills, self._seconds = kills, seconds
        self._path = folder.with_name(f"{folder.name}_kills.json")
        settings = {"arguments": self._arguments, "kills": [dataclasses.asdict(k) for k in kills]}
        self._value: dict[str, Any] = {"settings": settings, "rows": [], "finished": False}
        if self._path.exists():
            earlier = files.read_json(self._path, "kills")
            if earlier["settings"] != json.loads(json.dumps(settings)):
                raise ValueError(f"{self._path} is of other settings; choose another --output.")
            self._value = earlier

    @property
    def rows(self) -> list[dict[str, Any]]:
        """One for every kill so far."""
        return self._value["rows"]

    @property
    def finished(self) -> bool:
        """Whether the experiment ended."""
        return self._value["finished"]

    def go_on(self, until: float) -> None:
        """Kills and starts again until the plan is done and the experiment ends, or time is up.

        Raises:
          RuntimeError: a run ended in an error.
        """
        while not self.finished and time.monotonic() < until:
            left = self._kills[len(self.rows) :]
            moment = Moment(left[0], self.folder, self._seconds[left[0].stage]) if left else None
            code = run(self._arguments, self.folder, moment or (lambda: False))
            if code == -signal.SIGKILL and moment:
                self.rows.append({"planned": dataclasses.asdict(left[0]), **place(self.folder)})
            elif code == 0:
                self._value["finished"] = True
            else:
                raise RuntimeError(
                    f"a run ended with exit code {code} after {len(self.rows)} kills; see "
                    f"{self.folder}.log"
                )
            files.write_json(self._path, self._value)


def killed_experiments(
    folder: Path,
    arguments: Sequence[str],
    count: int,
    stages: Sequence[str],
    seconds: dict[str, float],
    until: float,
) -> list[Series]:
    """Kills an experiment `count` times.

    A kill may come too late, as the experiment has ended; another work directory makes up for it.

    Returns:
      The series of kills, of which the last one is not finished if time is up.

    Raises:
      RuntimeError: a run ended in an error, or all kills came too late.
    """
    found: list[Series] = []
    while count > 0 and all(one.finished for one in found):
        number = len(found)
        own = folder.with_name(f"{folder.name}_{number + 1}") if number else folder
        one = Series(own, arguments, plan(count, stages, _SEED.value + number), seconds)
        one.go_on(until)
        if one.finished and not one.rows:
            raise RuntimeError(f"none of {count} kills came before the end; choose another --seed.")
        found.append(one)
        count -= len(one.rows)
    return found


def check_table(killed: Path, whole: Path) -> str:
    """Says in a line how the table of a killed profiling compares with an undisturbed one.

    Raises:
      ValueError: it is damaged or lacks pieces.
    """
    ours, theirs = (
        LatencyTable.from_json((folder / "latency_table.json").read_text(), str(folder))
        for folder in (killed, whole)
    )
    missing = theirs.entries.keys() - ours.entries.keys()
    if missing:
        raise ValueError(f"the table of the killed profiling lacks {sorted(missing)[:3]}.")
    ratios = [
        ours.latency_ms(a.architecture, ours.input_shape, ours.classes)
        / theirs.latency_ms(a.architecture, theirs.input_shape, theirs.classes)
        for a in theirs.calibration
    ]
    return (
        f"table of the killed profiling: {len(ours.entries)} pieces, error on its own networks "
        f"{100 * ours.mean_error:.1f}%; its predictions / the other table's: {min(ratios):.3f} to "
        f"{max(ratios):.3f}"
    )


def print_rows(rows: Sequence[dict[str, Any]]) -> None:
    """The table of kills."""
    print("| kill | planned | stage | step | being written |\n|---|---|---|---|---|")
    for number, row in enumerate(rows, 1):
        planned = "writing" if row["planned"]["writing"] else f"{row['planned']['share']:.2f}"
        planned = f"{row['planned']['stage']}, {planned}"
        written = row["writing"] or "-"
        print(f"| {number} | {planned} | {row['stage']} | {row['step']} | {written} |")


def main(_) -> None:
    until = time.monotonic() + 60 * _MINUTES.value
    output = Path(_OUTPUT.value)
    output.mkdir(parents=True, exist_ok=True)
    arguments = [
        f"--config={_CONFIG.value}",
        *(f"--config.{o}" for o in (*ALWAYS, *_OVERRIDES.value)),
    ]
    whole = output / "whole"
    if run(arguments, whole) != 0:
        raise RuntimeError(f"the undisturbed run ended in an error; see {whole}.log")
    seconds = {e["stage"]: e["seconds"] for e in read_events(whole) if e["event"] == "stage_ended"}
    table = f"--config.device.latency_table={whole / 'latency_table.json'}"
    killed = killed_experiments(
        output / "killed", [*arguments, table], _KILLS.value, STAGES[1:], seconds, until
    )
    profiled = []
    if _PROFILING.value:
        count = max(2, _KILLS.value // 6)
        profile = [*arguments, "--stages=profile"]
        profiled = killed_experiments(
            output / "profiled", profile, count, ("profile",), seconds, until
        )
    print_rows([row for one in (*killed, *profiled) for row in one.rows])
    if not all(one.finished for one in (*killed, *profiled)):
        print(f"not finished within {_MINUTES.value:g} minutes; run again to go on")
        return
    for one in profiled:
        print(check_table(one.folder, whole))
    different = [d for one in killed for d in differences(one.folder, whole)]
    print(f"DIFFERENT: {different[:5]}" if different else "bit for bit the undisturbed result")
    sys.exit(bool(different))


if __name__ == "__main__":
    app.run(main)
