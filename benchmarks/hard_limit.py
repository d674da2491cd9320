"""Do networks keep their limit on the device? (the paper's Table 2, measured)

    python -m benchmarks.hard_limit --output=runs/benchmarks/hard_limit --minutes=45

For limits spread over the range of a space: random credits in place of a search's probabilities,
projected, measured, and projected again as the pipeline does. Beside it the exact projection
trusted blindly, the paper's two linear programs, and the plain argmax. At the end all of them are
measured once more, interleaved, in fresh processes: that is what is compared with the limits. Run
again, it goes on with what it did not reach.
"""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from absl import app, flags

from benchmarks import common
from keras_nas import files
from keras_nas.devices import HostDevice, measure_network
from keras_nas.devices.profile import build_latency_table, model_for_table, reference_model
from keras_nas.experiment import staged_costs
from keras_nas.measured_projection import Projector, best_round, close_loop
from keras_nas.resources import LatencyTable
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

RANGE = (0.05, 0.9)
"""Limits lie between these shares of the way from the smallest to the largest latency."""
WAYS = ("measured", "exact", "lp", "argmax")


def latency_table(space: SearchSpace, folder: Path) -> LatencyTable:
    """The table in `folder`, built where it is not there yet."""
    path = folder / "latency_table.json"
    if not path.exists():
        common.log("building the latency table")
        table = build_latency_table(space, _CLASSES.value, HostDevice(1), folder / "samples")
        files.write_text(path, table.to_json())
    return LatencyTable.from_json(files.read_text(path, "latency table"), str(path))


def random_credits(space: SearchSpace, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities [B, C] and [S, D], each row uniform on its simplex."""
    generator = np.random.default_rng(seed)
    alpha = generator.dirichlet(
        np.ones(len(space.configurations)), size=len(space.stage_of_block)
    )  # [B, C]
    beta = generator.dirichlet(np.ones(len(space.depths[0])), size=len(space.depths))  # [S, D]
    beta = np.where(np.array(space.depths) > 0, beta, 0.0)
    return alpha, beta / beta.sum(axis=1, keepdims=True)


class Trial:
    """One limit with one vector of credits."""

    def __init__(self, space: SearchSpace, table: LatencyTable, number: int):
        self.space, self.table, self.number = space, table, number
        model = table.cost_model(space, table.classes)
        share = np.linspace(*RANGE, _COUNT.value)[number]
        self.limit_ms = float((1 - share) * model.smallest() + share * model.largest())
        self._limits = check_limits([model], {"latency_ms": self.limit_ms})
        self._costs = staged_costs(space, [model])
        self._credits = random_credits(space, number)

    def projector(self, method: str) -> Projector:
        """Of this trial's credits."""
        limits: list[Limit] = self._limits
        return Projector(*self._credits, self._costs, limits, method)

    def architecture(self, choice: Choice, way: str) -> Architecture:
        """The network of a projection."""
        return chosen_architecture(self.space, choice, f"{self.number}_{way}")[0]


def closed_loop(trial: Trial, reference: bytes) -> dict:
    """The rounds of the pipeline's loop, and the network that it ends in."""
    table = trial.table

    def measure_ms(choice: Choice) -> tuple[float, float]:
        network = model_for_table(table, trial.architecture(choice, "x"))
        found = measure_network(HostDevice(table.threads), network, reference, table.reference_ms)
        return found.latency_ms, found.spread_ms

    projector = trial.projector("exact")
    rounds = close_loop(projector, measure_ms, trial.limit_ms, _ROUNDS.value)
    best = best_round(rounds, trial.limit_ms)
    return {
        "architecture": trial.architecture(best.choice(), "measured").to_json(),
        "rounds": [row.to_json_object(trial.limit_ms) for row in rounds],
        "predicted_ms": best.predicted_ms,
    }


def blind(trial: Trial, method: str) -> dict | None:
    """A projection that trusts the table; None where the paper's programs have no solution.

    Their first program keeps the depths' credits fixed, which random ones may make too deep.
    """
    projector = trial.projector(method)
    try:
        choice = projector.project(trial.limit_ms)
    except InfeasibleError:
        return None
    return {
        "architecture": trial.architecture(choice, method).to_json(),
        "predicted_ms": projector.predicted_ms(choice),
    }


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
    table = latency_table(space, folder)
    trials = [Trial(space, table, number) for number in range(_COUNT.value)]
    rows = common.Rows(
        folder / "hard_limit.json",
        {"table": table.date, "space": space.fingerprint(), "limits": _COUNT.value},
    )
    reference = reference_model(table)
    for trial in trials:
        for way in WAYS:
            key = f"{trial.number}/{way}"
            if key not in rows and budget.allows(key):
                rows[key] = (
                    closed_loop(trial, reference) if way == "measured" else blind(trial, way)
                )
        key = f"{trial.number}/measured"
        if key in rows:
            steps = [f"{r['measured_ms']:.3f}" for r in rows[key]["rounds"]]
            common.log(f"limit {trial.limit_ms:.3f} ms: measured {', '.join(steps)}")
    reached = [t for t in trials if all(f"{t.number}/{way}" in rows for way in WAYS)]
    networks = {
        f"{t.number}/{way}": Architecture.from_json(rows[f"{t.number}/{way}"]["architecture"])
        for t in reached
        for way in WAYS
        if rows[f"{t.number}/{way}"]
    }
    key = f"final of {len(reached)}"
    if key not in rows and reached:
        common.log(f"measuring {len(networks)} networks once more")
        with tempfile.TemporaryDirectory() as temporary:
            rows[key] = common.measured_ms(table, networks, Path(temporary))
    print(f"\n{space.name} at {space.resolution}x{space.resolution}, {table.method}")
    print(f"{'limit ms':>9}" + "".join(f"{way + ' / limit':>19}" for way in WAYS) + "   rounds")
    ratios: dict[str, list[float]] = {way: [] for way in WAYS}
    for t in reached:
        line = f"{t.limit_ms:9.3f}"
        for way in WAYS:
            measured_ms = rows[key].get(f"{t.number}/{way}")
            if measured_ms is None:
                line += f"{'no solution':>19}"
                continue
            ratios[way].append(measured_ms / t.limit_ms)
            line += f"{ratios[way][-1]:19.4f}"
        print(f"{line}{len(rows[f'{t.number}/measured']['rounds']):9d}")
    for way in (way for way in WAYS if ratios[way]):
        print(summary(way, ratios[way]))
    print(budget.summary())


if __name__ == "__main__":
    app.run(main)
