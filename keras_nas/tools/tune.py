"""Finds fields of a configuration for a target latency: lambda of Single-Path NAS, or any others.

    python -m keras_nas.tools.tune --config=configs/single_path_quickstart.py --target_ms=0.12 \\
        --output=runs/tune
    python -m keras_nas.tools.tune --config=... --target_ms=12 --output=DIR --algorithm=random \\
        --tune=tf_nas.latency_weight:log:0.01:1 --tune=tf_nas.epochs:10:40 \\
        --tune=tf_nas.second_sampler:random,gumbel,none

Maximises accuracy * (runtime / target)^w with w = 0 at or under the target and -1 above it
(Single-Path NAS, eq. 19). Each trial is a work directory of the pipeline in --output/trials; what
no tuned field has an influence on, the latency table first of all, is made once for all of them.

Start the command in as many processes as you like, on several machines with one --storage and one
--output that all see: they share one study. A trial that a killed process left is taken over
where it was, as soon as its heartbeat is missed. Run it again to go on after an interruption;
a larger --evaluations prolongs a finished study.

The folder gets study.json, study.csv, trials.svg, trade_off.svg, report.html and the best
architecture.json, and the command that finishes it is shown.
"""

from __future__ import annotations

import contextlib
import dataclasses
import gc
import os
import sys
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import optuna
from absl import app, flags, logging
from ml_collections import config_flags
from optuna.storages import RDBStorage

from keras_nas import pipeline
from keras_nas.command_line import USER_ERRORS, fail, given_config, parse_flags, show_warning
from keras_nas.config import Config
from keras_nas.tools import tuning_page, tuning_sampler, tuning_trial
from keras_nas.tools.tuning_fields import (
    DEFAULT_FIDELITY,
    DEFAULT_FIELDS,
    FORMS,
    FULL_LENGTH,
    Value,
    read_fields,
    read_rungs,
)
from keras_nas.tools.tuning_results import TrialRow, best_row, trial_rows
from keras_nas.tools.tuning_storage import local_url, open_storage, silence_optuna
from keras_nas.tools.tuning_study import Plan, Runner, open_study, progress_line
from keras_nas.tools.tuning_trial import Evaluated, Evaluator
from keras_nas.work_directory import locked


def define_flags() -> None:
    """Called by the program only: tools share names of flags, and absl allows each name once."""
    config_flags.DEFINE_config_file(
        "config", None, "Python file with a get_config(); --config.FIELD=VALUE overrides a field."
    )
    flags.DEFINE_float("target_ms", None, "Target latency; by default the configuration's limit.")
    flags.DEFINE_string("output", None, "Folder of the study and its trials; made if missing.")
    flags.DEFINE_multi_string("tune", [], f"A field to tune, again for more: {FORMS}.")
    flags.DEFINE_enum("algorithm", "bayesian", tuning_sampler.ALGORITHMS, "Of the study.")
    flags.DEFINE_float("evaluations", 16.0, "Budget, in trials of full length.", lower_bound=0.0)
    flags.DEFINE_float("minutes", None, "No trial begins in this process after so many.")
    flags.DEFINE_enum(
        "evaluate", "search", tuning_trial.EVALUATIONS,
        "Accuracy of a trial: held-out accuracy at the end of the search, or test accuracy after "
        "the final training.",
    )  # fmt: skip
    flags.DEFINE_enum(
        "runtime", "predicted", tuning_trial.RUNTIMES,
        "Of a trial's network: by the latency table, or measured. The command that finishes the "
        "best trial measures in any case.",
    )  # fmt: skip
    flags.DEFINE_list("fidelity", [], "Lengths that multi_fidelity shortens, e.g. search.epochs.")
    flags.DEFINE_integer("rungs", 3, "Lengths of multi_fidelity.")
    flags.DEFINE_integer("reduction", 3, "Factor between them; one trial in so many goes on.")
    flags.DEFINE_string("storage", None, "SQLAlchemy URL; by default a file in --output.")
    flags.DEFINE_string("study", None, "Name in the storage; by default the configuration's.")
    flags.DEFINE_integer("heartbeat_seconds", 15, "Between signs of life.", lower_bound=1)


def make_plan(config: Config, options: Any) -> Plan:
    """What the flags ask for, checked.

    Raises:
      ValueError: naming the flag and the remedy.
    """
    config.validate()
    target_ms = options.target_ms
    if target_ms is None:
        target_ms = config.limits.latency_ms
    if not isinstance(target_ms, float) or not 0 < target_ms < float("inf"):
        raise ValueError(
            f"--target_ms should be a latency in ms above 0, as in --target_ms=12; received "
            f"{target_ms}."
        )
    if not options.output or "://" in options.output:
        raise ValueError("--output should name a local folder: --output=runs/tune.")
    if options.evaluations < 1:
        raise ValueError(f"--evaluations should be at least 1; received {options.evaluations:g}.")
    if options.runtime == "measured" and not config.projection.rounds:
        raise ValueError(
            "--runtime=measured needs config.projection.rounds above 0, the networks that a trial "
            "may measure; received 0."
        )
    rungs = FULL_LENGTH
    if options.algorithm == "multi_fidelity":
        lengths = options.fidelity or DEFAULT_FIDELITY[config.method]
        rungs = read_rungs(config, lengths, options.rungs, options.reduction)
    elif options.fidelity:
        raise ValueError("--fidelity belongs to --algorithm=multi_fidelity; leave it out.")
    return Plan(
        fields=read_fields(options.tune or DEFAULT_FIELDS[config.method], config),
        target_ms=target_ms,
        algorithm=options.algorithm,
        evaluations=options.evaluations,
        rungs=rungs,
        reduction=options.reduction,
        seed=config.seed,
        minutes=options.minutes,
    )


def trial_config(config: Config, target_ms: float, runtime: str) -> Config:
    """The experiment with the target as its latency limit; measuring nothing, unless asked to."""
    limits = dataclasses.replace(config.limits, latency_ms=target_ms, latency_fraction=None)
    rounds = config.projection.rounds if runtime == "measured" else 0
    projection = dataclasses.replace(config.projection, rounds=rounds)
    return dataclasses.replace(config, limits=limits, projection=projection)


def made_with(plan: Plan, evaluator: Evaluator) -> dict[str, Any]:
    """The settings that all trials of a study share, as JSON has them."""
    shared: dict[str, Any] = {}
    for stage in evaluator.stages:
        shared |= pipeline.relevant_settings(evaluator.config, stage)
    fixed = {f"config.{path}": v for path, v in shared.items() if path not in evaluator.varied}
    lengths = [dict(rung.values) for rung in plan.rungs]
    return fixed | {
        "method": evaluator.config.method,
        "target_ms": plan.target_ms,
        "algorithm": plan.algorithm,
        "tune": [str(field) for field in plan.fields],
        "evaluate": evaluator.evaluate,
        "lengths": lengths,
    }


def tune(config: Config, plan: Plan, options: Any, overrides: Mapping[str, Any]) -> list[TrialRow]:
    """Runs or joins a study.

    Args:
      config: the experiment.
      plan: what the study does.
      options: the flags.
      overrides: of the configuration on the command line.

    Raises:
      ValueError, OSError, RuntimeError: see `Runner.run`, `open_study`, `open_storage`.
    """
    output = Path(options.output)
    varied = {field.path for field in plan.fields}
    varied |= {path for rung in plan.rungs for path in rung.values}
    of_trials = trial_config(config, plan.target_ms, options.runtime)
    evaluator = Evaluator(of_trials, output, options.evaluate, varied)
    evaluator.check()
    settings = made_with(plan, evaluator)
    name = options.study or config.name
    storage, study = _joined(options, output, name, plan, settings)
    evaluator.prepare(pipeline.show)

    def evaluate(values: Mapping[str, Value], folder: Path) -> Evaluated:
        try:
            return evaluator.run(values, folder, _indented)
        finally:
            _free_memory()

    def write(rows: list[TrialRow]) -> None:
        best = best_row(rows, plan.target_ms)
        command = ""
        if best is not None:
            command = tuning_page.finishing_command(
                best, _config_file(), overrides, plan.target_ms, output
            )
        tuning_page.write_results(rows, plan, settings, output, name, command)

    def after_trial(rows: list[TrialRow]) -> None:
        write(rows)
        pipeline.show(progress_line(rows, plan))

    write(trial_rows(study))
    rows = Runner(study, storage, plan, evaluate, output, pipeline.show, after_trial).run()
    write(rows)
    return rows


def _joined(
    options: Any, output: Path, name: str, plan: Plan, settings: Mapping[str, Any]
) -> tuple[RDBStorage, optuna.Study]:
    """The storage and its study, made by the first process."""
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OSError(
            f"--output={output} cannot be made ({error.strerror}); choose another folder."
        ) from None
    url = options.storage or local_url(output / "study.sqlite3")
    with contextlib.ExitStack() as stack:
        # One process makes the storage's tables; others wait a moment.
        tuning_trial.waiting(lambda: stack.enter_context(locked(output)), pipeline.show)
        storage = open_storage(url, options.heartbeat_seconds)
        tuning_page.check_output(output, name)
        return storage, open_study(storage, name, plan, settings)


def _indented(line: str) -> None:
    """Stages that have to run; tables of limits and what is up to date would be noise here."""
    if line.startswith(("[", "waits")) and "up to date" not in line:
        pipeline.show(f"  {line}")


def _free_memory() -> None:
    """Of the networks of a trial that ended."""
    if "keras" in sys.modules:
        import keras

        keras.utils.clear_session()
    gc.collect()


def _config_file() -> str:
    return config_flags.get_config_filename(flags.FLAGS["config"])


def main(arguments: Sequence[str]) -> int:
    """Tunes; the exit code is 0 only when all went well."""
    options = flags.FLAGS
    if len(arguments) > 1:
        return fail(f"unexpected argument {arguments[1]!r}; flags look like --output=runs/tune.")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    warnings.showwarning = show_warning
    logging.set_verbosity(logging.WARNING)
    silence_optuna()
    try:
        config = given_config()
        overrides = config_flags.get_override_values(options["config"])
        plan = make_plan(config, options)
        rows = tune(config, plan, options, overrides)
    except KeyboardInterrupt as interrupt:
        print(f"interrupted: {interrupt or 'run again to continue.'}", file=sys.stderr)
        return 128 + (getattr(interrupt, "signal", None) or 2)
    except USER_ERRORS as error:
        return fail(str(error) or repr(error))
    best = best_row(rows, plan.target_ms)
    print(tuning_page.verdict(best, plan.target_ms))
    if best is not None:
        output = Path(options.output)
        print(f"report: {output / 'report.html'}")
        print("to finish it:")
        command = tuning_page.finishing_command(
            best, _config_file(), overrides, plan.target_ms, output
        )
        print(f"  {command}")
    return 0


if __name__ == "__main__":
    define_flags()
    app.run(main, flags_parser=parse_flags)
