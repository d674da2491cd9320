"""A study: trials by any number of processes until the budget is spent."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import RDBStorage, RetryHeartbeatStaleTrialCallback
from optuna.trial import TrialState

from keras_nas.report.text import duration
from keras_nas.tools import tuning_sampler
from keras_nas.tools.tuning_fields import FULL_LENGTH, Field, Rung, Value
from keras_nas.tools.tuning_results import (
    ERROR,
    RUNGS,
    TrialRow,
    best_row,
    first_number,
    folder_name,
    trial_rows,
)
from keras_nas.tools.tuning_storage import GRACE, check_there, clear_errors
from keras_nas.tools.tuning_trial import Evaluated, objective

Evaluate = Callable[[Mapping[str, Value], Path], Evaluated]
"""Values of tuned and fidelity fields, and the trial's work directory -> what it reached."""

MADE_WITH = "made_with"
"""Attribute of a study: the settings that all its trials share."""
FAILURES = 3
"""So many trials in a row that fail end the program."""
WAIT_SECONDS = 1.0
ROUNDING = 1e-9


@dataclasses.dataclass(frozen=True)
class Plan:
    """What a study does.

    Attributes:
      fields: that are tuned.
      target_ms: see `objective`.
      algorithm: one of `tuning_sampler.ALGORITHMS`.
      evaluations: how many of full length the study may spend.
      rungs: lengths of a trial, shortest first.
      reduction: of successive halving.
      seed: of the algorithm.
      minutes: no trial begins after so many; None is no such limit.
    """

    fields: tuple[Field, ...]
    target_ms: float
    algorithm: str
    evaluations: float
    rungs: tuple[Rung, ...] = FULL_LENGTH
    reduction: int = 3
    seed: int = 0
    minutes: float | None = None


def open_study(
    storage: RDBStorage, name: str, plan: Plan, made_with: Mapping[str, Any]
) -> optuna.Study:
    """The study of this name; made if it is not there.

    Args:
      storage: where.
      name: of the study, of which a storage can hold several.
      plan: what it does.
      made_with: settings that all its trials share, as JSON has them.

    Raises:
      ValueError: it was made with other settings, which are named.
      OSError: the storage failed.
    """
    with clear_errors(storage.url):
        study = optuna.create_study(
            storage=storage,
            study_name=name,
            direction="maximize",
            sampler=tuning_sampler.sampler(plan.algorithm, plan.seed),
            pruner=tuning_sampler.pruner(plan.algorithm, plan.reduction),
            load_if_exists=True,
        )
        earlier = study.user_attrs.get(MADE_WITH)
        if earlier is None:
            study.set_user_attr(MADE_WITH, dict(made_with))
            return study
    differences = [
        f"{key} {earlier.get(key)!r} there and {made_with.get(key)!r} here"
        for key in sorted({*earlier, *made_with})
        if earlier.get(key) != made_with.get(key)
    ]
    if differences:
        raise ValueError(
            f"study {name!r} in this storage was made with other settings: "
            f"{'; '.join(differences)}. Use those, or choose another --output or --study."
        )
    return study


class Runner:
    """Runs trials until the study's budget is spent.

    Args:
      study: from `open_study`.
      storage: that it is in.
      plan: what it does.
      evaluate: runs a trial.
      output: folder of the study.
      log: receives lines.
      after_trial: called when a trial ended.
    """

    def __init__(
        self,
        study: optuna.Study,
        storage: RDBStorage,
        plan: Plan,
        evaluate: Evaluate,
        output: Path,
        log: Callable[[str], None],
        after_trial: Callable[[list[TrialRow]], None] = lambda rows: None,
    ):
        self._study, self._storage = study, storage
        self._plan, self._evaluate = plan, evaluate
        self._output, self._log, self._after_trial = output, log, after_trial
        self._began = time.monotonic()
        self._failures: list[str] = []

    def run(self) -> list[TrialRow]:
        """Runs trials; at the end waits for those of other processes, and takes over what a killed
        one left.

        Raises:
          OSError: the storage or the disk failed. The trial goes back into the queue.
          ValueError: so many trials failed in a row that something is wrong with all of them.
          KeyboardInterrupt: likewise back into the queue.
        """
        waited = False
        while True:
            check_there(self._storage.url)
            with clear_errors(self._storage.url):
                self._release_stale()
                rows = trial_rows(self._study)
            running = sum(row.state == "running" for row in rows)
            waiting = any(row.state == "waiting" for row in rows)
            spent = max((row.spent for row in rows), default=0.0)
            least = self._plan.rungs[0].share
            left = self._plan.evaluations - spent - running * least
            if not waiting and left < least - ROUNDING:
                if not running:
                    return rows
                if not waited:
                    self._log(f"waits for {running} trials of other processes")
                waited = True
                time.sleep(WAIT_SECONDS)
                continue
            if not self._has_time():
                self._log(f"{self._plan.minutes:g} minutes are over; run again to go on")
                return rows
            self._run_trial()

    def _has_time(self) -> bool:
        minutes = self._plan.minutes
        return minutes is None or time.monotonic() - self._began < 60 * minutes

    def _release_stale(self) -> None:
        """Puts trials that a killed process left back into the queue."""
        optuna.storages.fail_stale_trials(self._study)
        # Killed before its first heartbeat, a trial has no values either.
        grace = datetime.timedelta(seconds=GRACE * (self._storage.heartbeat_interval or 1))
        for trial in self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            began = trial.datetime_start
            if not trial.params and began and datetime.datetime.now() - began > grace:
                with contextlib.suppress(UpdateFinishedTrialError, ValueError):
                    self._study.tell(trial.number, state=TrialState.FAIL)

    def _run_trial(self) -> None:
        try:
            with clear_errors(self._storage.url):
                self._study.optimize(self._objective, n_trials=1, catch=(ValueError, RuntimeError))
                rows = trial_rows(self._study)
        except (UpdateFinishedTrialError, ValueError):  # of the storage: those of trials are caught
            self._log("another process missed this one's heartbeat and took over the trial")
            return
        self._after_trial(rows)
        if len(self._failures) == FAILURES:
            raise ValueError(
                f"{FAILURES} trials failed one after the other, the last with: {self._failures[-1]}"
            )

    def _objective(self, trial: optuna.Trial) -> float:
        plan, frozen = self._plan, self._study.trials[trial.number]
        number = first_number(frozen)
        values = {field.path: field.suggest(trial) for field in plan.fields}
        shown = ", ".join(f"{path}={_shown(value)}" for path, value in values.items())
        again = "goes on with " if number != trial.number else ""
        self._log(f"trial {number}: {again}{shown}")
        known = self._known(values)
        if known is not None:
            self._log(f"  the same values as trial {known.number}")
            trial.set_user_attr(RUNGS, known.user_attrs[RUNGS])
            return known.user_attrs[RUNGS][-1]["objective"]
        try:
            reached = self._climb(trial, values, frozen)
            self._failures.clear()
            return reached
        except (OSError, KeyboardInterrupt):  # no fault of these values
            retry = RetryHeartbeatStaleTrialCallback(inherit_intermediate_values=True)
            retry(self._study, self._study.trials[trial.number])
            raise
        except (ValueError, RuntimeError) as error:
            trial.set_user_attr(ERROR, str(error))
            self._failures.append(str(error))
            raise

    def _climb(self, trial: optuna.Trial, values: Mapping[str, Value], frozen) -> float:
        """Runs a trial at one length after the other, as far as it is worth it.

        What an earlier attempt reached is not repeated.
        """
        folder = self._output / folder_name(first_number(frozen))
        done = list(frozen.user_attrs.get(RUNGS, []))
        for index, rung in enumerate(self._plan.rungs):
            last = index == len(self._plan.rungs) - 1
            if index >= len(done):
                began = time.monotonic()
                found = self._evaluate({**values, **rung.values}, folder)
                row = dataclasses.asdict(found) | {
                    "share": rung.share,
                    "objective": objective(found.accuracy, found.runtime_ms, self._plan.target_ms),
                    "seconds": time.monotonic() - began,
                }
                done.append(row)
                trial.set_user_attr(RUNGS, done)
            elif index + 1 < len(done):
                continue
            if last:
                break
            if rung.step not in frozen.intermediate_values:
                trial.report(done[-1]["objective"], rung.step)
            if trial.should_prune():
                raise optuna.TrialPruned
        return done[-1]["objective"]

    def _known(self, values: Mapping[str, Value]) -> optuna.trial.FrozenTrial | None:
        complete = self._study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        return next((trial for trial in complete if trial.params == values), None)


def _shown(value: Value) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def progress_line(rows: list[TrialRow], plan: Plan) -> str:
    """Where the study stands after the newest trial that ended: how far, its result, the best."""
    ended = [row for row in rows if row.state not in ("running", "waiting")]
    newest, spent = ended[-1], ended[-1].spent
    parts = [f"trial {newest.folder_number}"]
    if newest.objective is None:
        parts.append(f"failed: {newest.error}")
    else:
        parts.append(f"{_figures(newest)}{' (ended early)' if newest.state == 'pruned' else ''}")
    best = best_row(rows, plan.target_ms)
    if best is not None:
        over = "" if (best.runtime_ms or 0.0) <= plan.target_ms else ", over the target"
        parts.append(f"best: trial {best.folder_number}, {_figures(best)}{over}")
    timed = [row for row in ended if row.evaluations and row.seconds]
    left = ""
    if timed:
        each = sum(row.seconds for row in timed) / sum(row.evaluations for row in timed)
        processes = 1 + sum(row.state == "running" for row in rows)
        seconds = max(0.0, plan.evaluations - spent) * each / processes
        left = f", about {duration(seconds)} left"
    return f"[{spent:.3g} of {plan.evaluations:g} evaluations{left}] {'; '.join(parts)}"


def _figures(row: TrialRow) -> str:
    return (
        f"accuracy {100 * (row.accuracy or 0):.2f}%, {row.runtime_ms:.4g} ms, "
        f"objective {row.objective:.4f}"
    )
