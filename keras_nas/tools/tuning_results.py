"""What a study has found so far, as rows."""

from __future__ import annotations

import csv
import dataclasses
import io
from collections.abc import Mapping, Sequence
from typing import Any

import optuna
from optuna.storages import RetryHeartbeatStaleTrialCallback
from optuna.trial import FrozenTrial, TrialState

RUNGS = "rungs"
"""Attribute of a trial: what it reached at each length, shortest first."""
ERROR = "error"
"""Attribute of a trial that failed: why."""


@dataclasses.dataclass(frozen=True)
class TrialRow:
    """One trial.

    Attributes:
      number: in the storage; that of the first attempt also names its work directory.
      folder_number: of its work directory.
      state: `complete`, `pruned` (ended early), `fail`, `running` or `waiting`.
      parameters: value of every tuned field, by path.
      accuracy, runtime_ms, objective: at the largest length it reached; None before the first.
      evaluations: what it cost, in full-length evaluations.
      spent: the same of all trials that had ended until this one did.
      seconds: of processes that worked on it.
      error: why it failed.
    """

    number: int
    folder_number: int
    state: str
    parameters: Mapping[str, Any]
    accuracy: float | None
    runtime_ms: float | None
    objective: float | None
    evaluations: float
    spent: float
    seconds: float
    error: str

    @property
    def folder(self) -> str:
        """Name of the work directory."""
        return folder_name(self.folder_number)


def folder_name(number: int) -> str:
    """Of a trial's work directory, in the study's folder."""
    return f"trials/{number:04d}"


def first_number(trial: FrozenTrial) -> int:
    """Of a trial that was begun again after a kill, the number of its first attempt."""
    first = RetryHeartbeatStaleTrialCallback.retried_trial_number(trial)
    return trial.number if first is None else first


def trial_rows(study: optuna.Study) -> list[TrialRow]:
    """Trials in the order in which they ended, then those that have not. An attempt that another
    one goes on with is left out."""
    trials = study.get_trials(deepcopy=False)
    retried = {n for t in trials for n in RetryHeartbeatStaleTrialCallback.retry_history(t)}
    kept = [trial for trial in trials if trial.number not in retried]
    ended = [trial for trial in kept if trial.state.is_finished()]
    ended.sort(key=lambda trial: (trial.datetime_complete, trial.number))
    rows, spent = [], 0.0
    for trial in (*ended, *(trial for trial in kept if not trial.state.is_finished())):
        row = _row(trial, spent)
        spent = row.spent
        rows.append(row)
    return rows


def _row(trial: FrozenTrial, spent: float) -> TrialRow:
    rungs = trial.user_attrs.get(RUNGS, [])
    reached = rungs[-1] if rungs else {}
    evaluations = sum(rung["share"] for rung in rungs)
    if trial.state is TrialState.FAIL:
        evaluations = max(evaluations, 1.0)  # else a study of failures would never end
    ended = trial.state.is_finished()
    return TrialRow(
        number=trial.number,
        folder_number=first_number(trial),
        state=trial.state.name.lower(),
        parameters=trial.params,
        accuracy=reached.get("accuracy"),
        runtime_ms=reached.get("runtime_ms"),
        objective=reached.get("objective"),
        evaluations=evaluations,
        spent=spent + evaluations if ended else spent,
        seconds=sum(rung["seconds"] for rung in rungs),
        error=_error(trial),
    )


def _error(trial: FrozenTrial) -> str:
    left = "its process was killed each time" if trial.state is TrialState.FAIL else ""
    return trial.user_attrs.get(ERROR, left)


def best_row(rows: Sequence[TrialRow], target_ms: float) -> TrialRow | None:
    """The trial of full length with the largest objective among those that keep the target; if
    none does, among all. None before there is one."""
    complete = [row for row in rows if row.state == "complete" and row.objective is not None]
    kept = [row for row in complete if row.runtime_ms is not None and row.runtime_ms <= target_ms]
    return max(kept or complete, key=lambda row: row.objective or 0.0, default=None)


def to_json_object(
    rows: Sequence[TrialRow], settings: Mapping[str, Any], target_ms: float, name: str
) -> dict[str, Any]:
    """The study as a JSON object."""
    best = best_row(rows, target_ms)
    return {
        "format": "keras_nas.study",
        "version": 1,
        "study": name,
        "target_ms": target_ms,
        "settings": dict(settings),
        "best": best and best.number,
        "keeps_target": best and best.runtime_ms is not None and best.runtime_ms <= target_ms,
        "trials": [dataclasses.asdict(row) | {"folder": row.folder} for row in rows],
    }


def to_csv(rows: Sequence[TrialRow]) -> str:
    """A line a trial, a column a tuned field."""
    paths = list(dict.fromkeys(path for row in rows for path in row.parameters))
    columns = ("accuracy", "runtime_ms", "objective", "evaluations", "spent", "seconds", "error")
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["trial", "folder", "state", *paths, *columns])
    for row in rows:
        values = [row.parameters.get(path, "") for path in paths]
        writer.writerow(
            [row.number, row.folder, row.state, *values, *(getattr(row, name) for name in columns)]
        )
    return text.getvalue()
