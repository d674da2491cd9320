"""Kills an experiment with SIGKILL again and again and checks that nothing of its result changes.

    python -m benchmarks.kill
    python -m benchmarks.kill --kills=4 --override=pretrain.epochs=1 --override=supernet.epochs=1

One undisturbed run comes first. Then the same experiment runs in another folder on the same latency
table, and is killed and started again: half of the kills come at a random moment of a stage, half
as soon as a partial file appears while a stage writes. Each run goes on where the last was killed,
so that a kill costs a restart. Bit for bit the same have to be the
architecture, the search's trajectory, and the weights of w-bar, w* and the network; and no run may
end in an error. What is timed never repeats: so the projection takes the table at its word, and
kills while profiling are a run of their own, whose table must be complete and predict like the
other. Checkpoints are saved every two seconds, so that there are some to kill.

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
        self._folder, self._arguments = folder, list(arguments)
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

    @property
    def missed(self) -> int:
        """Kills that are still planned."""
        return len(self._kills) - len(self.rows)

    def go_on(self, until: float) -> None:
        """Kills and starts again until the plan is done and the experiment ends, or time is up.

        Raises:
          RuntimeError: a run ended in an error.
        """
        while not self.finished and time.monotonic() < until:
            left = self._kills[len(self.rows) :]
            moment = Moment(left[0], self._folder, self._seconds[left[0].stage]) if left else None
            code = run(self._arguments, self._folder, moment or (lambda: False))
            if code == -signal.SIGKILL and moment:
                self.rows.append({"planned": dataclasses.asdict(left[0]), **place(self._folder)})
            elif code == 0:
                self._value["finished"] = True
            else:
                raise RuntimeError(
                    f"a run ended with exit code {code} after {len(self.rows)} kills; see "
                    f"{self._folder}.log"
                )
            files.write_json(self._path, self._value)


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
    series = [
        Series(
            output / "killed",
            [*arguments, table],
            plan(_KILLS.value, STAGES[1:], _SEED.value),
            seconds,
        )
    ]
    if _PROFILING.value:
        kills = plan(max(2, _KILLS.value // 6), ("profile",), _SEED.value)
        series.append(Series(output / "profiled", [*arguments, "--stages=profile"], kills, seconds))
    for one in series:
        one.go_on(until)
    print_rows([row for one in series for row in one.rows])
    missed = sum(one.missed for one in series)
    if not all(one.finished for one in series):
        print(f"not finished within {_MINUTES.value:g} minutes; run again to go on")
        return
    if _PROFILING.value:
        print(check_table(output / "profiled", whole))
    different = differences(output / "killed", whole)
    print(f"DIFFERENT: {different[:5]}" if different else "bit for bit the undisturbed result")
    if missed:
        print(
            f"{missed} of the kills came too late: the experiment had ended; choose another --seed"
        )
    sys.exit(bool(different or missed))


if __name__ == "__main__":
    app.run(main)
