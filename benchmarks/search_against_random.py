"""Does the search beat random networks of the same latency?

    python -m benchmarks.search_against_random --dataset=fashion_mnist --data_dir=DIR --minutes=45

For every limit: the networks that the search found (several seeds) against random networks whose
table latency is within 5% below the limit, all trained in exactly the same way, once from w* with
distillation and once from scratch; the heaviest and the lightest network beside them. Predicted and
measured latency of each. Run again, it goes on with what it did not reach.
"""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from absl import app, flags

from benchmarks import common
from keras_nas.config import LimitsConfig
from keras_nas.context import Context
from keras_nas.experiment import limited_resources, staged_costs
from keras_nas.methods import frank_wolfe_search
from keras_nas.resources import CostModel, macs, parameters
from keras_nas.search_record import project_search
from keras_nas.space import Architecture, SearchSpace

_LIMITS = flags.DEFINE_multi_float(
    "limits", [0.25, 0.5], "Between the space's smallest (0) and largest latency (1)."
)
_RANDOM = flags.DEFINE_integer("random", 8, "Random networks a limit.", lower_bound=2)
_SEEDS = flags.DEFINE_integer("seeds", 2, "Searches a limit.", lower_bound=1)
_STARTS = flags.DEFINE_multi_enum(
    "starts", ["supernet", "scratch"], ["supernet", "scratch"], "What training starts from."
)

SLACK = 0.05
"""A random network has at least (1 - SLACK) of the limit's latency."""
DRAWS = 100_000


@dataclasses.dataclass(frozen=True)
class Candidate:
    """A network to train.

    Attributes:
      role: `found`, `random`, `heaviest` or `lightest`.
      limit: fraction that it keeps, None for the two extremes.
      seed: of its search, of its drawing, or 0; networks that were found are trained with it too.
      architecture: the network.
    """

    role: str
    limit: float | None
    seed: int
    architecture: Architecture

    @property
    def training_seed(self) -> int:
        """Random networks differ already; searches that find the same show training's spread."""
        return self.seed if self.role == "found" else 0


def random_networks(
    space: SearchSpace, model: CostModel, limit_ms: float, count: int
) -> list[tuple[int, Architecture]]:
    """The first `count` seeds, with their networks, whose latency is within SLACK below the limit.

    Raises:
      ValueError: there are not so many within DRAWS seeds.
    """
    chosen: dict[tuple, tuple[int, Architecture]] = {}
    for seed in range(DRAWS):
        architecture = space.random(seed)
        if (1 - SLACK) * limit_ms <= common.predicted_ms(model, space, architecture) <= limit_ms:
            chosen.setdefault(architecture.stages, (seed, architecture))
            if len(chosen) == count:
                return list(chosen.values())
    raise ValueError(
        f"{DRAWS} random networks hold {len(chosen)} within {SLACK:.0%} below {limit_ms:.4g} ms, "
        f"{count} are needed; choose a limit nearer to the middle, or lower --random."
    )


def find(context: Context, fraction: float, seed: int, rows: common.Rows) -> Architecture:
    """What the search finds at a limit, from the rows if it was found before."""
    key = f"{fraction:g}/{seed}"
    if key not in rows:
        config, space = context.config, context.space
        models, limits = limited_resources(
            space, context.table, LimitsConfig(latency_fraction=fraction)
        )
        costs = staged_costs(space, models)
        with common.temporary_runtime(context, f"search_{key.replace('/', '_')}") as runtime:
            result = frank_wolfe_search.search(
                context.supernet(),
                costs,
                np.array([limit.limit for limit in limits]),
                config.search,
                dataclasses.replace(context.examples, seed=seed),
                runtime,
            )
        architecture = project_search(
            space, result, costs, limits, name=f"found_{fraction:g}_{seed}"
        )
        rows[key] = {"architecture": architecture.to_json(), "history": result.history[-1]}
        common.log(f"search at {key}: {context.space.encode(architecture)}")
    return Architecture.from_json(rows[key]["architecture"], f"found at {key}")


def candidates(
    context: Context, limits_ms: dict[float, float], model: CostModel, budget: common.Budget
) -> list[Candidate]:
    """All networks, in an order in which a short budget still allows a comparison."""
    space = context.space
    rows = common.open_rows(context, "found", ("search",))
    found = []
    for seed in range(_SEEDS.value):
        for fraction in limits_ms:
            if f"{fraction:g}/{seed}" in rows or budget.allows(f"search {fraction:g}/{seed}"):
                architecture = find(context, fraction, seed, rows)
                found.append(Candidate("found", fraction, seed, architecture))
    drawn = {
        fraction: random_networks(space, model, ms, _RANDOM.value)
        for fraction, ms in limits_ms.items()
    }
    randoms = [
        Candidate("random", fraction, *drawn[fraction][number])
        for number in range(_RANDOM.value)
        for fraction in limits_ms
    ]
    extremes = [
        Candidate("heaviest", None, 0, space.heaviest()),
        Candidate("lightest", None, 0, space.lightest()),
    ]
    first = [c for c in found if c.seed == 0]
    return [*first, *randoms, *(c for c in found if c.seed), *extremes]


def measure(context: Context, networks: Sequence[Candidate]) -> dict[str, float]:
    """Measured ms by name; measured again when a new network has come."""
    rows = common.open_rows(context, "measured")
    wanted = {c.architecture.name: c.architecture for c in networks}
    key = ",".join(wanted)
    if key not in rows:
        common.log(f"measuring the latency of {len(wanted)} networks")
        with tempfile.TemporaryDirectory() as folder:
            rows[key] = common.measured_ms(context.table, wanted, Path(folder))
    return rows[key]


def train_all(
    context: Context, networks: Sequence[Candidate], rows: common.Rows, budget: common.Budget
) -> None:
    """Trains every network from every start, as far as the budget goes."""
    supernet, heaviest = context.supernet(), context.heaviest()
    for start in _STARTS.value:
        for number, candidate in enumerate(networks, 1):
            key = _key(start, candidate)
            if key in rows or not budget.allows(key):
                continue
            from_supernet = start == "supernet"
            rows[key] = common.trained_accuracy(
                context,
                candidate.architecture,
                candidate.training_seed,
                supernet if from_supernet else None,
                heaviest if from_supernet else None,
            )
            common.log(f"{start} {number}/{len(networks)} {key}: {rows[key]:.2%}")


def _key(start: str, candidate: Candidate) -> str:
    return f"{start}/{candidate.architecture.name}/{candidate.training_seed}"


def network_table(
    context: Context,
    networks: Sequence[Candidate],
    model: CostModel,
    measured: dict[str, float],
    rows: common.Rows,
) -> Iterator[str]:
    """A line a network."""
    starts = _STARTS.value
    heads = "".join(f"{'from ' + start:>15}" for start in starts)
    yield (
        f"{'network':18}{'limit':>6}{'predicted ms':>14}{'measured ms':>13}{'MMACs':>8}{'kpar':>7}"
        f"{heads}"
    )
    shape, classes = context.space.input_shape, context.examples.source.classes
    for c in sorted(networks, key=lambda c: (c.limit is not None, c.limit or 0, c.role, c.seed)):
        a = c.architecture
        limit = "" if c.limit is None else f"{c.limit:g}"
        reached = [
            f"{rows[_key(s, c)]:15.2%}" if _key(s, c) in rows else f"{'not reached':>15}"
            for s in starts
        ]
        yield (
            f"{a.name:18}{limit:>6}{common.predicted_ms(model, context.space, a):14.4f}"
            f"{measured[a.name]:13.4f}{macs(a, shape, classes) / 1e6:8.3f}"
            f"{parameters(a, shape, classes) / 1e3:7.0f}{''.join(reached)}"
        )


def verdict(start: str, fraction: float, networks: Sequence[Candidate], rows: common.Rows) -> str:
    """One sentence: whether the search beats random at this limit."""
    reached = {
        role: np.array(
            [
                rows[_key(start, c)]
                for c in networks
                if c.role == role and c.limit == fraction and _key(start, c) in rows
            ]
        )
        for role in ("found", "random")
    }
    found, drawn = reached["found"], reached["random"]
    where = f"limit {fraction:g}, from {start}"
    if not found.size or drawn.size < 2:
        return f"{where}: not enough networks were reached to tell"
    gain, spread = found.mean() - drawn.mean(), drawn.std(ddof=1)
    ranks = [1 + int(np.sum(drawn > value)) for value in found]
    beats = "beats" if gain > 0 else "does not beat"
    best = "beats" if found.mean() > drawn.max() else "does not beat"
    return (
        f"{where}: found {found.mean():.2%} (of {found.size}: {found.min():.2%} to "
        f"{found.max():.2%}); {drawn.size} random: mean {drawn.mean():.2%}, standard deviation "
        f"{spread:.2%}, best {drawn.max():.2%}. Search {beats} random's mean by {gain:+.2%} "
        f"({gain / spread:+.1f} standard deviations) and {best} the best random network; ranks "
        f"of the found among random: {ranks} of {drawn.size + 1}"
    )


def main(_: Sequence[str]) -> None:
    budget = common.Budget()
    context = common.prepare()
    space = context.space
    model = context.table.cost_model(space, context.table.classes)
    room = model.largest() - model.smallest()
    limits_ms = {fraction: model.smallest() + fraction * room for fraction in _LIMITS.value}
    networks = candidates(context, limits_ms, model, budget)
    measured = measure(context, networks)
    rows = common.open_rows(context, "trained", ("finetune", "train"))
    train_all(context, networks, rows, budget)
    print(f"\n{common.describe(context)}")
    for fraction, ms in limits_ms.items():
        print(f"limit {fraction:g}: {ms:.4f} ms ({model.smallest():.4f} to {model.largest():.4f})")
    print("\n".join(network_table(context, networks, model, measured, rows)))
    ratio = [
        measured[c.architecture.name] / common.predicted_ms(model, space, c.architecture) - 1
        for c in networks
    ]
    print(
        f"measured / predicted - 1: mean {np.mean(ratio):+.2%}, {min(ratio):+.2%} to "
        f"{max(ratio):+.2%}"
    )
    for start in _STARTS.value:
        for fraction in limits_ms:
            print(verdict(start, fraction, networks, rows))
    print(budget.summary())


if __name__ == "__main__":
    app.run(main)
