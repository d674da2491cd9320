"""Random, Bayesian and multi-fidelity search for lambda at the same budget (SP Figure 9).

    python -m benchmarks.tuner --minutes=45
    python -m benchmarks.tuner --seeds=20 --evaluations=12

Single-Path NAS on the digits of its quickstart, at 16x16 and a quarter of its length, with one
seed of the search. Lambda is rounded to a grid and each value searched once for all studies, so
that studies differ by what they choose to try and by nothing else; further seeds of the tuner then
cost next to nothing. The budget counts epochs: a trial that ends after a ninth of them costs a
ninth. Results are kept in `--output`; run it again to go on.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import keras
import numpy as np
from absl import app, flags

from benchmarks import common
from configs.single_path_quickstart import get_config
from keras_nas import files, pipeline
from keras_nas.config import Config
from keras_nas.experiment import load_space
from keras_nas.resources import LatencyTable
from keras_nas.space import Architecture
from keras_nas.tools import tuning_plot
from keras_nas.tools.tune import trial_config
from keras_nas.tools.tuning_fields import (
    DEFAULT_FIDELITY,
    FULL_LENGTH,
    Field,
    Value,
    read_rungs,
    value_of,
    with_values,
)
from keras_nas.tools.tuning_results import TrialRow, best_row
from keras_nas.tools.tuning_sampler import ALGORITHMS
from keras_nas.tools.tuning_storage import local_url, open_storage, silence_optuna
from keras_nas.tools.tuning_study import Plan, Runner, open_study
from keras_nas.tools.tuning_trial import COMMON, Evaluated, Evaluator

_SEEDS = flags.DEFINE_integer("seeds", 3, "Of the tuner.", lower_bound=1)
_EVALUATIONS = flags.DEFINE_float("evaluations", 8.0, "Budget of a study, in full lengths.")
_FRACTION = flags.DEFINE_float("target_fraction", 0.4, "Between smallest and largest latency.")
_GRID = flags.DEFINE_integer("grid", 4, "Values of lambda a decade.")

LAMBDA = Field("single_path.runtime_weight", 10**-1.5, 10**1.5, log=True)
EPOCHS = "single_path.epochs"
LENGTHS = DEFAULT_FIDELITY["single_path"]
HEARTBEAT_SECONDS = 60
REDUCTION = 3


class OutOfTimeError(KeyboardInterrupt):
    """The time budget is used up; the trial goes back into its queue."""


class Searches:
    """Searches by lambda and length, each run once.

    Args:
      evaluator: of the experiment.
      latency: table of its space.
      rows: what is known; grows.
      budget: of time.
    """

    def __init__(
        self,
        evaluator: Evaluator,
        latency: LatencyTable,
        rows: common.Rows,
        budget: common.Budget,
    ):
        self._evaluator, self._latency = evaluator, latency
        self._rows, self._budget = rows, budget
        self.run = 0

    def __call__(self, values: Mapping[str, Value], folder: Path) -> Evaluated:
        """What a trial reaches, with lambda rounded to the grid."""
        exponent = round(math.log10(values[LAMBDA.path]) * _GRID.value) / _GRID.value
        weight = float(f"{10**exponent:.4g}")
        epochs = values.get(EPOCHS, value_of(self._evaluator.config, EPOCHS))
        key = f"lambda_{weight:g}_epochs_{epochs:.4g}"
        if key not in self._rows:
            if not self._budget.allows(key):
                raise OutOfTimeError("out of time")
            common.log(key)
            found = self._search(dict(values) | {LAMBDA.path: weight}, key)
            self._rows[key] = dataclasses.asdict(found)
            self.run += 1
        return Evaluated(**self._rows[key])

    def _search(self, values: Mapping[str, Value], key: str) -> Evaluated:
        """Held-out accuracy and predicted runtime of the network as the search found it."""
        folder = self._evaluator.output / "searches" / key
        self._evaluator.take_common(folder)
        config = with_values(self._evaluator.config, values)
        pipeline.run(config, folder, ("profile", "search"), log=lambda line: None)
        record = files.read_json(folder / "search.json", "search record")
        shutil.rmtree(folder, ignore_errors=True)
        keras.utils.clear_session()
        found = Architecture.from_json(json.dumps(record["found"]))
        shape, classes = self._latency.input_shape, self._latency.classes
        runtime_ms = self._latency.latency_ms(found, shape, classes)
        return Evaluated(record["accuracy"]["held_out"], runtime_ms)


def scaled_config() -> Config:
    """The quickstart's search at a size of seconds: 16x16, three narrow blocks, 72 steps."""
    config = get_config()
    stages = [
        {"channels": 16, "stride": 1, "activation": "relu", "min_depth": 1, "max_depth": 1},
        {"channels": 24, "stride": 2, "activation": "relu", "min_depth": 1, "max_depth": 2},
    ]
    head = {"features": 64, "activation": "relu", "before_pooling": True}
    overrides = {"name": "single_path_tuner", "stages": stages, "head": head}
    factor = flags.FLAGS.steps_scale
    return dataclasses.replace(
        config,
        space=dataclasses.replace(
            config.space, resolution=16, overrides=config.space.overrides | overrides
        ),
        single_path=dataclasses.replace(
            config.single_path,
            batch_size=48,
            warmup_share=0.25,  # else runtime would count in 27 steps only
            epochs=3.0 * factor,
            learning_rate_warmup_epochs=0.25 * factor,
            decay_epochs=0.3 * factor,
        ),
        steps_per_loop=8,
    )


def study(searches: Searches, config: Config, algorithm: str, target_ms: float, seed: int):
    """The trials of one study, as far as the budget pays for them."""
    rungs = FULL_LENGTH
    if algorithm == "multi_fidelity":
        rungs = read_rungs(config, LENGTHS, 3, REDUCTION)
    plan = Plan((LAMBDA,), target_ms, algorithm, _EVALUATIONS.value, rungs, REDUCTION, seed)
    with tempfile.TemporaryDirectory() as folder:
        storage = open_storage(local_url(Path(folder) / "study.sqlite3"), HEARTBEAT_SECONDS)
        opened = open_study(storage, "study", plan, {})
        rows = Runner(opened, storage, plan, searches, Path(folder), lambda line: None).run()
        storage.engine.dispose()
    # The last trial of multi-fidelity may have gone over the budget.
    return [row for row in rows if row.spent <= _EVALUATIONS.value + 1e-9]


def table(studies: Mapping[str, Sequence[Sequence[TrialRow]]], target_ms: float) -> str:
    """A line an algorithm; ± is the standard deviation between seeds."""
    lines = [
        "| algorithm | seeds | trials | best objective | its accuracy, % | its runtime / target | "
        "over the target | all trials over |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for name, seeds in studies.items():
        best = [row for rows in seeds if (row := best_row(rows, target_ms)) is not None]
        ratios = [row.runtime_ms / target_ms for row in best]
        full = [row for rows in seeds for row in rows if row.state == "complete"]
        over = sum(row.runtime_ms > target_ms for row in full)
        lines.append(
            f"| {name} | {len(seeds)} | {np.mean([len(rows) for rows in seeds]):.1f} | "
            f"{_spread([row.objective for row in best], 4)} | "
            f"{_spread([100 * row.accuracy for row in best], 2)} | {_spread(ratios, 3)} | "
            f"{sum(ratio > 1 for ratio in ratios)} of {len(best)} | {over} of {len(full)} |"
        )
    return "\n".join(lines)


def _spread(values: Sequence[float], decimals: int) -> str:
    return f"{np.mean(values):.{decimals}f} ± {np.std(values):.{decimals}f}"


def verdicts(studies: Mapping[str, Sequence[Sequence[TrialRow]]], target_ms: float) -> list[str]:
    """Bayesian search against the others, paired by seed, beyond two standard errors or not."""
    best = {
        name: np.array([best_row(rows, target_ms).objective for rows in seeds])
        for name, seeds in studies.items()
    }
    lines = []
    for other in ("random", "multi_fidelity"):
        gaps = best["bayesian"] - best[other]
        error = np.std(gaps, ddof=1) / math.sqrt(len(gaps)) if len(gaps) > 1 else math.inf
        word = "no difference beyond noise"
        if abs(gaps.mean()) > 2 * error:
            word = "better" if gaps.mean() > 0 else "worse"
        lines.append(
            f"bayesian against {other}: {word}; best objective {gaps.mean():+.4f} ± {error:.4f} "
            f"(standard error of {len(gaps)} pairs; ahead in {np.sum(gaps > 0)}, level in "
            f"{np.sum(gaps == 0)})"
        )
    return lines


def fidelity(rows: common.Rows, config: Config) -> list[str]:
    """How short searches differ from those of full length, with the same lambda."""
    lines = []
    known = rows.items()
    full = f"{config.single_path.epochs:.4g}"
    for rung in read_rungs(config, LENGTHS, 3, REDUCTION)[:-1]:
        short = f"{rung.values[EPOCHS]:.4g}"
        pairs = [
            (row, known[f"{key.rpartition('_')[0]}_{full}"])
            for key, row in known.items()
            if key.endswith(f"_epochs_{short}") and f"{key.rpartition('_')[0]}_{full}" in known
        ]
        if pairs:
            ratios = [a["runtime_ms"] / b["runtime_ms"] for a, b in pairs]
            gaps = [100 * (a["accuracy"] - b["accuracy"]) for a, b in pairs]
            lines.append(
                f"{short} epochs against {full}, {len(pairs)} lambdas: runtime times "
                f"{np.mean(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f}), accuracy "
                f"{np.mean(gaps):+.1f} points"
            )
    return lines


def main(_) -> None:
    silence_optuna()
    budget, folder = common.Budget(), common.output_folder("tuner")
    config = trial_config(scaled_config(), 1.0, "predicted")
    varied = {LAMBDA.path, *LENGTHS}
    Evaluator(config, folder, "search", varied).prepare(common.log)
    table_file = folder / COMMON / "latency_table.json"
    latency = LatencyTable.from_json(files.read_text(table_file), str(table_file))
    model = latency.cost_model(load_space(config.space), latency.classes)
    smallest, largest = model.smallest(), model.largest()
    target_ms = smallest + _FRACTION.value * (largest - smallest)
    config = trial_config(config, target_ms, "predicted")
    evaluator = Evaluator(config, folder, "search", varied)
    settings = dataclasses.asdict(config.single_path) | {"date": latency.date}
    rows = common.Rows(folder / "searches.json", settings)
    searches = Searches(evaluator, latency, rows, budget)
    print(f"target {target_ms:.4g} ms, space {smallest:.4g} to {largest:.4g} ms; lambda "
          f"{LAMBDA.low:.3g} to {LAMBDA.high:.3g}, {_GRID.value} values a decade; "
          f"{config.single_path.epochs:g} epochs at full length")  # fmt: skip
    studies: dict[str, list[list[TrialRow]]] = {name: [] for name in ALGORITHMS}
    try:
        for seed, name in itertools.product(range(_SEEDS.value), ALGORITHMS):
            studies[name].append(study(searches, config, name, target_ms, seed))
    except KeyboardInterrupt as interrupt:
        print(interrupt)
    print(f"{searches.run} searches now, {len(rows.items())} in all; {budget.summary()}")
    complete = min(len(seeds) for seeds in studies.values())
    if not complete:
        return
    studies = {name: seeds[:complete] for name, seeds in studies.items()}
    print(table(studies, target_ms), "", *verdicts(studies, target_ms), sep="\n")
    print(*fidelity(rows, config), sep="\n")
    for file, draw in (
        ("trials.svg", tuning_plot.plot_trials),
        ("trade_off.svg", tuning_plot.plot_trade_off),
    ):
        first = {name: seeds[:3] for name, seeds in studies.items()}
        files.write_bytes(folder / file, draw(first, target_ms))
        print(folder / file)


if __name__ == "__main__":
    app.run(main)
