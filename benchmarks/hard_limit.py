"""Do networks keep their limit on the device? (the paper's Table 2, measured)

    python -m benchmarks.hard_limit --output=runs/benchmarks/hard_limit --minutes=45

For limits spread over the range of a space: random credits in place of a search's probabilities,
projected, measured, and projected again as the pipeline does, the networks of all limits measured
together to save time. Beside it the exact projection trusted blindly, the paper's two linear
programs, and the plain argmax. At the end all of them are measured once more, interleaved, in fresh
processes: that is what is compared with the limits. Run again, it goes on with what it did not
reach.

A limit that does not bind says nothing. So a limit's credits favour cost as far as it takes to make
it bind: each row is uniform on its simplex, times exp(tilt * standardised cost), with the smallest
tilt of 0, 0.25, 0.5, ... at which the network of largest credits is over the limit by `OVER`.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from absl import app, flags

from benchmarks import common
from benchmarks.measured_networks import digest, kept_table, measure
from keras_nas.devices import HostDevice
from keras_nas.devices.measurement import NETWORK_EFFORT
from keras_nas.devices.profile import build_latency_table
from keras_nas.experiment import staged_costs
from keras_nas.export import PRECISIONS
from keras_nas.measured_network import best_round
from keras_nas.measured_projection import Projector, Round, close_loop
from keras_nas.resources import CostModel, LatencyTable
from keras_nas.resources.limits import Limit, check_limits
from keras_nas.search_record import chosen_architecture
from keras_nas.solvers.polytope import InfeasibleError
from keras_nas.solvers.projection import Choice
from keras_nas.space import SPACES, Architecture, SearchSpace

_SPACE = flags.DEFINE_enum("space", "hardcore_nas", list(SPACES), "Search space.")
_RESOLUTION = flags.DEFINE_integer("resolution", 224, "Input size.", lower_bound=1)
_CLASSES = flags.DEFINE_integer("classes", 1000, "Classes.", lower_bound=1)
_COUNT = flags.DEFINE_integer("limits", 20, "How many limits.", lower_bound=1)
_ROUNDS = flags.DEFINE_integer("rounds", 6, "Measured networks a limit, at most.", lower_bound=1)
_THREADS = flags.DEFINE_integer("threads", 1, "Threads of the runtime.", lower_bound=1)
_PRECISION = flags.DEFINE_enum("precision", "float32", PRECISIONS, "What is measured.")

RANGE = (0.05, 0.9)
"""Limits lie between these shares of the way from the smallest to the largest latency."""
OVER = 0.02
TILT_STEP = 0.25
MEASURED = dataclasses.replace(NETWORK_EFFORT, rounds=6)
ONCE_MORE = dataclasses.replace(NETWORK_EFFORT, rounds=4)
"""As many processes as in the pipeline, and fewer rounds in each, which say less: tens of large
networks are measured."""
WAYS = ("measured", "exact", "lp", "argmax")


def latency_table(space: SearchSpace, samples: Path) -> LatencyTable:
    """Of this machine, by the flags."""
    device = HostDevice(_THREADS.value)
    return build_latency_table(space, _CLASSES.value, device, samples, precision=_PRECISION.value)


def random_credits(
    space: SearchSpace, model: CostModel, seed: int, tilt: float
) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities [B, C] and [S, D]: rows uniform on their simplex, then tilted to cost."""
    generator = np.random.default_rng(seed)
    alpha = generator.dirichlet(
        np.ones(len(space.configurations)), size=len(space.stage_of_block)
    )  # [B, C]
    beta = generator.dirichlet(np.ones(len(space.depths[0])), size=len(space.depths))  # [S, D]
    beta = np.where(np.array(space.depths) > 0, beta, 0.0)
    depths = np.array(space.depths, np.float64)  # [S, D]
    return tilted(alpha, model.block_costs, tilt), tilted(beta, depths, tilt)


def tilted(rows: np.ndarray, costs: np.ndarray, tilt: float) -> np.ndarray:
    """Each row times exp(tilt * standardised cost), normalised."""
    spread = costs.std(axis=1, keepdims=True)
    centred = costs - costs.mean(axis=1, keepdims=True)
    rows = rows * np.exp(tilt * centred / np.where(spread > 0, spread, 1.0))
    return rows / rows.sum(axis=1, keepdims=True)


class Trial:
    """One limit with one vector of credits."""

    def __init__(self, space: SearchSpace, table: LatencyTable, number: int):
        self.space, self.table, self.number = space, table, number
        model = table.cost_model(space, table.classes)
        share = np.linspace(*RANGE, _COUNT.value)[number]
        self.limit_ms = float((1 - share) * model.smallest() + share * model.largest())
        self._limits = check_limits([model], {"latency_ms": self.limit_ms})
        self._costs = staged_costs(space, [model])
        self.tilt = next(
            tilt
            for tilt in itertools.count(0.0, TILT_STEP)
            if self._argmax_ms(model, tilt) > (1 + OVER) * self.limit_ms
        )
        self._credits = random_credits(space, model, number, self.tilt)

    def _argmax_ms(self, model: CostModel, tilt: float) -> float:
        """Predicted latency of the network of largest credits."""
        alpha, beta = random_credits(self.space, model, self.number, tilt)
        return model.exact(beta.argmax(axis=1).tolist(), alpha.argmax(axis=1).tolist())

    def projector(self, method: str) -> Projector:
        """Of this trial's credits."""
        limits: list[Limit] = self._limits
        return Projector(*self._credits, self._costs, limits, method)

    def architecture(self, choice: Choice) -> Architecture:
        """The network of a projection."""
        return chosen_architecture(self.space, choice, "projected")[0]


class NotMeasured(Exception):
    """A loop asks for a measurement that was not made yet: its name, and the network."""


def close_all(
    trials: Sequence[Trial], rows: common.Rows, budget: common.Budget
) -> dict[int, list[Round]]:
    """The pipeline's loop for every trial, by its number, as far as the budget goes.

    A loop is a function of what it measures. So all loops run until each asks for a network that
    was not measured yet; these are measured together; and so on until no loop asks.
    """
    while True:
        found, wanted = {}, {}
        for trial in trials:
            try:
                found[trial.number] = closed_loop(trial, rows)
            except NotMeasured as missing:
                name, architecture = missing.args
                wanted[name] = architecture
        if not wanted or not budget.allows(f"{len(wanted)} loops"):
            return found
        common.log(f"measuring {len(wanted)} projected networks")
        for name, measured in measure(trials[0].table, wanted, MEASURED).items():
            rows[name] = measured


def closed_loop(trial: Trial, rows: common.Rows) -> list[Round]:
    """The rounds of a trial, from what was measured.

    Raises:
      NotMeasured: more has to be.
    """

    def measured_ms(choice: Choice, attempt: int) -> tuple[float, float]:
        architecture = trial.architecture(choice)
        name = f"{digest(architecture)} {attempt}"
        if name not in rows:
            raise NotMeasured(name, architecture)
        return tuple(rows[name])

    return close_loop(trial.projector("exact"), [measured_ms], _ROUNDS.value)


def blind(trial: Trial, method: str) -> Choice | None:
    """A projection that trusts the table; None where the paper's programs have no solution.

    Their first program keeps the depths' credits fixed, which random ones may make too deep.
    """
    try:
        return trial.projector(method).project([trial.limit_ms])
    except InfeasibleError:
        return None


def found_by_all(trial: Trial, rounds: Sequence[Round]) -> dict[str, Architecture]:
    """Way -> the network that it ends in, where it ends in one."""
    choices = {method: blind(trial, method) for method in ("exact", "lp", "argmax")}
    kept = [row for row in rounds if row.keeps_limits]
    choices["measured"] = best_round(kept).choice() if kept else None
    return {
        way: trial.architecture(choice) for way, choice in choices.items() if choice is not None
    }


def once_more(
    table: LatencyTable, found: Mapping[int, Mapping[str, Architecture]], rows: common.Rows
) -> dict[str, float]:
    """Ms by digest of all networks, measured again in fresh processes, each once."""
    networks = {digest(a): a for ways in found.values() for a in ways.values()}
    key = f"once more {sorted(networks)}"
    if key not in rows:
        common.log(f"measuring {len(networks)} networks once more")
        measured = measure(table, networks, ONCE_MORE)
        rows[key] = {name: ms for name, (ms, _) in measured.items()}
    return rows[key]


def summary(way: str, ratios: Sequence[float]) -> str:
    """Measured latency / limit over all trials."""
    values = np.array(ratios)
    over = values > 1
    return (
        f"{way:10} over the limit {int(over.sum()):2d} of {values.size}, worst "
        f"{max(values.max() - 1, 0):+.2%}; unused in the mean {np.mean(1 - values):.2%} "
        f"(of those below: {np.mean(1 - values[~over]) if (~over).any() else np.nan:.2%})"
    )


def main(_: Sequence[str]) -> None:
    budget = common.Budget()
    space = dataclasses.replace(SPACES[_SPACE.value], resolution=_RESOLUTION.value)
    folder = common.output_folder("hard_limit")
    table = kept_table(folder, functools.partial(latency_table, space))
    trials = [Trial(space, table, number) for number in range(_COUNT.value)]
    rows = common.Rows(
        folder / "hard_limit.json",
        {"table": table.date, "space": space.fingerprint(), "limits": _COUNT.value},
    )
    loops = close_all(trials, rows, budget)
    reached = [trial for trial in trials if trial.number in loops]
    found = {trial.number: found_by_all(trial, loops[trial.number]) for trial in reached}
    finals = once_more(table, found, rows) if found else {}
    print(f"\n{space.name} at {space.resolution}x{space.resolution}, {table.method}")
    headers = "".join(f"{way + ' / limit':>19}" for way in WAYS)
    print(f"{'limit ms':>9}{'tilt':>6}{headers}   rounds, measured / limit")
    ratios: dict[str, list[float]] = {way: [] for way in WAYS}
    for t in reached:
        line = f"{t.limit_ms:9.3f}{t.tilt:6.2f}"
        for way in WAYS:
            if way not in found[t.number]:
                line += f"{'no solution':>19}"
                continue
            ratios[way].append(finals[digest(found[t.number][way])] / t.limit_ms)
            line += f"{ratios[way][-1]:19.4f}"
        steps = [f"{row.measured_ms / t.limit_ms:.3f}" for row in loops[t.number]]
        print(f"{line}   {', '.join(steps)}")
    for way in (way for way in WAYS if ratios[way]):
        print(summary(way, ratios[way]))
    print(budget.summary())


if __name__ == "__main__":
    app.run(main)
