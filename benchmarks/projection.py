"""Time of the projection on HardCoRe-NAS' space, and how its three methods keep the limit.

    python -m benchmarks.projection

Two kinds of credits: `random`, Dirichlet probabilities that favour dear configurations, and
`search`, where block-coordinate Frank-Wolfe on a random objective ends. The limit is a random
point between the smallest and the largest cost, and for `random` the expected cost of the credits
where that is smaller. The exact network is checked against HiGHS' integer program. Fails if
`exact` ever breaks a limit or its slowest run takes 50 ms of processor time.
"""

from __future__ import annotations

import argparse
import time

import numpy as np

from keras_nas.solvers.feasible_start import balanced_start
from keras_nas.solvers.frank_wolfe import block_frank_wolfe
from keras_nas.solvers.integer_program import best_network_highs
from keras_nas.solvers.polytope import Polytope
from keras_nas.solvers.projection import METHODS, project
from keras_nas.solvers.staged_costs import StagedCosts

STAGE_OF_BLOCK = np.repeat(np.arange(5), 4)
DEPTHS = np.tile([2, 3, 4], (5, 1))
CONFIGURATIONS = 12


def random_costs(generator: np.random.Generator) -> StagedCosts:
    """Random positive costs, rising over the configurations on the whole."""
    blocks = len(STAGE_OF_BLOCK)
    costs = generator.random((1, blocks, CONFIGURATIONS)) * np.linspace(0.5, 1.5, CONFIGURATIONS)
    return StagedCosts(costs, [1.0], STAGE_OF_BLOCK, DEPTHS)


def random_credits(costs: StagedCosts, limits: np.ndarray, generator: np.random.Generator):
    """Credits of every size, the larger ones on the dearer configurations."""
    alpha = costs.block_costs[0] ** 2 * generator.dirichlet(
        np.full(CONFIGURATIONS, 0.5), len(STAGE_OF_BLOCK)
    )
    alpha /= alpha.sum(axis=1, keepdims=True)
    beta = generator.dirichlet(np.ones(3), len(DEPTHS))
    return alpha, beta, np.minimum(limits, costs.expected_cost(alpha, beta))


def search_credits(costs: StagedCosts, limits: np.ndarray, generator: np.random.Generator):
    """The end of a Frank-Wolfe search, where larger and deeper is better, with some noise."""
    room = limits - costs.fixed
    worth = -costs.block_costs[0] * generator.uniform(0.5, 1.5, costs.block_costs[0].shape)

    def gradients(alpha, beta):
        return worth + 0.5 * (alpha - 0.5), -np.ones_like(beta) * generator.random(beta.shape)

    alpha, beta = balanced_start(
        costs.alpha_costs,
        costs.beta_costs,
        costs.fixed,
        limits,
        costs.allowed_alpha,
        costs.allowed_beta,
    )
    *_, last = block_frank_wolfe(
        gradients,
        lambda beta: Polytope(costs.alpha_costs(beta), room),
        lambda alpha: Polytope(costs.beta_costs(alpha), room),
        alpha,
        beta,
        steps=100,
        seed=int(generator.integers(2**31)),
    )
    return last.alpha, last.beta, limits


def credit(costs: StagedCosts, alpha, beta, depth, configuration) -> float:
    """Sum of credits, where a block that is not reached counts with its largest."""
    chosen = alpha[np.arange(len(alpha)), configuration]
    reached = np.where(costs.reached(depth), chosen, alpha.max(axis=1))
    return float(reached.sum() + beta[np.arange(len(beta)), depth].sum())


def measure(kind, trials: int, generator: np.random.Generator):
    """Times in ms and excesses over the limit of each method, and the exact one's lost credit."""
    times_ms = {method: [] for method in METHODS}
    excess = {method: [] for method in METHODS}
    lost = []
    for _ in range(trials):
        costs = random_costs(generator)
        low, high = costs.smallest_cost(), costs.largest_cost()
        alpha, beta, limits = kind(
            costs, low + generator.uniform(0.05, 0.6) * (high - low), generator
        )
        for method in METHODS:
            start = time.process_time()
            choice = project(
                alpha,
                beta,
                block_costs=costs.block_costs,
                fixed=costs.fixed,
                limits=limits,
                stage_of_block=STAGE_OF_BLOCK,
                depths=DEPTHS,
                method=method,
            )
            times_ms[method].append(1e3 * (time.process_time() - start))
            excess[method].append(float(costs.exact_cost(*choice)[0] / limits[0] - 1.0))
            if method == "exact":
                gain = alpha - alpha.max(axis=1, keepdims=True)
                best = best_network_highs(gain, beta, costs, limits)
                lost.append(credit(costs, alpha, beta, *best) - credit(costs, alpha, beta, *choice))
    return times_ms, excess, max(lost)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=40, help="of each kind of credits")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    generator = np.random.default_rng(arguments.seed)
    print(
        f"{'credits':8} {'method':8} {'median ms':>10} {'worst ms':>9} {'over limit':>11} "
        f"{'worst':>7}"
    )
    failed = False
    for name, kind in {"random": random_credits, "search": search_credits}.items():
        times_ms, excess, lost = measure(kind, arguments.trials, generator)
        for method in METHODS:
            over = sum(value > 0 for value in excess[method])
            print(
                f"{name:8} {method:8} {np.median(times_ms[method]):10.2f} "
                f"{max(times_ms[method]):9.2f} {over:5d} of {arguments.trials:2d} "
                f"{max(0.0, *excess[method]):7.1%}"
            )
        print(f"{name:8} exact: credit below HiGHS' optimum, at most {lost:.1e}")
        failed |= max(excess["exact"]) > 0 or max(times_ms["exact"]) >= 50
    if failed:
        raise SystemExit("exact must keep every limit and take less than 50 ms.")


if __name__ == "__main__":
    main()
