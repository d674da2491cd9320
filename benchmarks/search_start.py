"""Which step rule and which start of the search find the better network? (HC eq. 28)

    python -m benchmarks.search_start --dataset=fashion_mnist --data_dir=DIR --minutes=45

From the same w*: step rule {paper, constant} x start {balanced, lightest}, several limits and
seeds. Of each: held-out loss of the sampled networks at the beginning and at the end, and test
accuracy of the network found, with w*'s weights and batch norm re-estimated. A row `none` projects
the start itself: what is above it was gained by the search. Run again, it goes on with what it did
not reach.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import tensorflow as tf
from absl import app, flags

from benchmarks import common
from keras_nas.config import LimitsConfig
from keras_nas.context import Context
from keras_nas.experiment import limited_resources, staged_costs
from keras_nas.layers.sampling import fold_in
from keras_nas.methods.frank_wolfe_search import STARTS, gradient_function
from keras_nas.methods.runtime import stage_seed
from keras_nas.models import Supernet
from keras_nas.resources.limits import Limit
from keras_nas.search_record import chosen_architecture
from keras_nas.solvers.frank_wolfe import STEP_RULES, block_frank_wolfe
from keras_nas.solvers.polytope import Polytope
from keras_nas.solvers.projection import project
from keras_nas.solvers.staged_costs import StagedCosts
from keras_nas.space import Architecture

_LIMITS = flags.DEFINE_multi_float(
    "limits", [0.25, 0.5], "Between the space's smallest (0) and largest latency (1)."
)
_SEEDS = flags.DEFINE_integer("seeds", 3, "Searches a combination and limit.", lower_bound=1)
_STEPS = flags.DEFINE_integer("steps", 150, "Of each search.", lower_bound=10)
_BATCH_SIZE = flags.DEFINE_integer("batch_size", 96, "Held-out images in a step.", lower_bound=1)

RULES = ("none", *STEP_RULES)


@dataclasses.dataclass(frozen=True)
class Trial:
    """One search.

    Attributes:
      limit: fraction between the smallest and the largest latency.
      rule: of the step, or `none` for no step at all.
      start: of the search.
      seed: of its randomness; without a step there is none.
    """

    limit: float
    rule: str
    start: str
    seed: int

    @property
    def key(self) -> str:
        """Names its row."""
        return f"{self.limit:g}/{self.rule}/{self.start}/{self.seed}"


def trials() -> Iterator[Trial]:
    """All searches, one seed after the other."""
    for seed, limit, rule, start in itertools.product(
        range(_SEEDS.value), _LIMITS.value, RULES, STARTS
    ):
        if rule != "none" or seed == 0:
            yield Trial(limit, rule, start, seed)


def run_search(
    trial: Trial, context: Context, gradients: Callable, costs: StagedCosts, limit: Limit
) -> tuple[np.ndarray, np.ndarray, list[float]]:
    """Alpha, beta and the held-out loss of every step.

    The steps are those of `frank_wolfe_search`, through the NumPy solver: so that all trials share
    one compiled gradient.
    """
    alpha, beta = STARTS[trial.start](
        costs.alpha_costs,
        costs.beta_costs,
        costs.fixed,
        [limit.limit],
        costs.allowed_alpha,
        costs.allowed_beta,
    )
    losses: list[float] = []
    if trial.rule == "none":
        return alpha, beta, losses
    examples = dataclasses.replace(context.examples, seed=trial.seed)
    batches = iter(examples.training(_BATCH_SIZE.value, 0, trial.seed, held_out=True))
    seed = stage_seed(trial.seed, "search")

    def next_gradients(alpha, beta):
        images, labels = next(batches)
        draw = fold_in(seed, tf.constant(len(losses)))
        metrics, alpha_gradient, beta_gradient = gradients(
            images, labels, tf.constant(alpha), tf.constant(beta), draw
        )
        losses.append(float(metrics["loss"]))
        return alpha_gradient.numpy().astype(np.float64), beta_gradient.numpy().astype(np.float64)

    room = limit.limit - costs.fixed
    iterates = block_frank_wolfe(
        next_gradients,
        lambda beta: Polytope(costs.alpha_costs(beta), room, costs.allowed_alpha),
        lambda alpha: Polytope(costs.beta_costs(alpha), room, costs.allowed_beta),
        alpha,
        beta,
        _STEPS.value,
        trial.seed,
        trial.rule,
    )
    for iterate in iterates:
        alpha, beta = iterate.alpha, iterate.beta
    return alpha, beta, losses


def found_network(
    context: Context, alpha: np.ndarray, beta: np.ndarray, costs: StagedCosts, limit: Limit
) -> Architecture:
    """The exact projection."""
    choice = project(
        alpha,
        beta,
        block_costs=costs.block_costs,
        fixed=costs.fixed,
        limits=[limit.limit],
        stage_of_block=costs.stage_of_block,
        depths=costs.depths,
        allowed_beta=costs.allowed_beta,
    )
    return chosen_architecture(context.space, choice, "found")[0]


def run_trial(
    trial: Trial, context: Context, supernet: Supernet, gradients: Callable, known: dict
) -> dict:
    """A row: losses, accuracy and latency. `known` keeps the accuracy of every network met."""
    models, limits = limited_resources(
        context.space, context.table, LimitsConfig(latency_fraction=trial.limit)
    )
    costs = staged_costs(context.space, models)
    alpha, beta, losses = run_search(trial, context, gradients, costs, limits[0])
    architecture = found_network(context, alpha, beta, costs, limits[0])
    if architecture.stages not in known:
        known[architecture.stages] = common.one_shot_accuracy(context, supernet, architecture)
    tenth = max(1, len(losses) // 10)
    return {
        "accuracy": known[architecture.stages],
        "predicted_ms": common.predicted_ms(models[0], context.space, architecture),
        "limit_ms": limits[0].limit,
        "first_loss": float(np.mean(losses[:tenth])) if losses else None,
        "last_loss": float(np.mean(losses[-tenth:])) if losses else None,
        "architecture": architecture.to_block_strings(),
    }


def combination_lines(rows: common.Rows, done: Sequence[Trial]) -> Iterator[str]:
    """A line a limit, rule and start: mean over seeds."""
    yield (
        f"{'limit':>6} {'step rule':10}{'start':10}{'seeds':>6}{'first loss':>12}{'last loss':>12}"
        f"{'accuracy':>10}{'worst':>9}{'best':>9}{'predicted/limit':>17}"
    )
    for limit, rule, start in itertools.product(_LIMITS.value, RULES, STARTS):
        mine = [rows[t.key] for t in done if (t.limit, t.rule, t.start) == (limit, rule, start)]
        if not mine:
            continue
        accuracies = [row["accuracy"] for row in mine]
        losses = [
            "-" if rule == "none" else f"{np.mean([row[which] for row in mine]):.4f}"
            for which in ("first_loss", "last_loss")
        ]
        used = np.mean([row["predicted_ms"] / row["limit_ms"] for row in mine])
        yield (
            f"{limit:6g} {rule:10}{start:10}{len(mine):6}{losses[0]:>12}{losses[1]:>12}"
            f"{np.mean(accuracies):10.2%}{min(accuracies):9.2%}{max(accuracies):9.2%}{used:17.3f}"
        )


def verdict(rows: common.Rows, done: Sequence[Trial]) -> str:
    """Which combination is best, over the seeds and limits that all of them reached."""
    combinations = list(itertools.product(STEP_RULES, STARTS))
    reached = {trial.key for trial in done}
    shared = [
        (limit, seed)
        for limit, seed in itertools.product(_LIMITS.value, range(_SEEDS.value))
        if all(Trial(limit, *c, seed).key in reached for c in combinations)
    ]
    if not shared:
        return "no limit and seed was reached by all combinations: nothing to compare"
    means = {}
    for rule, start in combinations:
        keys = [Trial(limit, rule, start, seed).key for limit, seed in shared]
        means[rule, start] = float(np.mean([rows[key]["accuracy"] for key in keys]))
    best = max(means, key=means.__getitem__)
    gains = ", ".join(
        f"{means[rule, 'balanced'] - means[rule, 'lightest']:+.2%} with step rule {rule}"
        for rule in STEP_RULES
    )
    listed = ", ".join(f"{rule} + {start} {mean:.2%}" for (rule, start), mean in means.items())
    return (
        f"mean accuracy over {len(shared)} limits and seeds: {listed}\n"
        f"gain of the balanced start: {gains}\nbest: step rule {best[0]}, start {best[1]}"
    )


def main(_: Sequence[str]) -> None:
    budget = common.Budget()
    context = common.prepare()
    supernet = context.supernet()
    gradients = tf.function(gradient_function(supernet), autograph=False)
    name = f"search_start_{_STEPS.value}_steps_of_{_BATCH_SIZE.value}"
    rows = common.open_rows(context, name)
    known: dict = {}
    done = []
    for trial in trials():
        if trial.key not in rows:
            if not budget.allows(trial.key):
                continue
            rows[trial.key] = run_trial(trial, context, supernet, gradients, known)
            row = rows[trial.key]
            common.log(f"{trial.key}: {row['accuracy']:.2%}, last loss {row['last_loss']}")
        done.append(trial)
    print(f"\n{common.describe(context)}")
    print(f"searches of {_STEPS.value} steps of {_BATCH_SIZE.value} held-out images")
    print("\n".join(combination_lines(rows, done)))
    print(verdict(rows, done))
    print(budget.summary())


if __name__ == "__main__":
    app.run(main)
