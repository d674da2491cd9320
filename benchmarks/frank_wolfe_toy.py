"""Toy problem (HC Figure 5): Frank-Wolfe against gradient descent with a penalty on latency.

    python -m benchmarks.frank_wolfe_toy

Minimises a random indefinite quadratic of alpha and beta under a latency limit, from the same
balanced start. Block-coordinate Frank-Wolfe moves one block a step and is feasible throughout.
The other way is Adam on softmax logits of alpha and beta with `weight * max(0, LAT / T - 1)` added
to the objective: too small a weight breaks the limit, and what is too small is not known before.
Prints a table and writes `frank_wolfe_toy.png`.
"""

from __future__ import annotations

import argparse
import pathlib
from collections.abc import Iterator

import matplotlib
import numpy as np

from keras_nas.solvers.feasible_start import balanced_start
from keras_nas.solvers.frank_wolfe import block_frank_wolfe
from keras_nas.solvers.polytope import Polytope
from keras_nas.solvers.staged_costs import StagedCosts

matplotlib.use("Agg")
import matplotlib.pyplot as plt

PENALTIES = (0.1, 1.0, 10.0, 100.0)
LEARNING_RATE = 0.05
STAGE_OF_BLOCK = np.repeat(np.arange(3), 3)
DEPTHS = np.tile([1, 2, 3], (3, 1))
CONFIGURATIONS = 6


class Problem:
    """One random instance: costs, limit, objective, and a start."""

    def __init__(self, seed: int):
        generator = np.random.default_rng(seed)
        shape = (1, len(STAGE_OF_BLOCK), CONFIGURATIONS)
        block_costs = generator.random(shape) * np.linspace(0.2, 2.0, CONFIGURATIONS)
        self.costs = StagedCosts(block_costs, [0.5], STAGE_OF_BLOCK, DEPTHS)
        low, high = self.costs.smallest_cost(), self.costs.largest_cost()
        self.limit = low + 0.3 * (high - low)
        self.split = block_costs.size
        size = self.split + DEPTHS.size
        matrix = generator.normal(size=(size, size))
        self.matrix = 0.5 * (matrix + matrix.T) / np.sqrt(size)
        # Dear choices are the better ones, as in a network; else the limit would not bind.
        dear = np.concatenate([block_costs.ravel(), np.tile([0.0, 1.0, 2.0], 3)])
        self.linear = -dear + 0.3 * generator.normal(size=size)
        self.start = balanced_start(
            self.costs.alpha_costs,
            self.costs.beta_costs,
            self.costs.fixed,
            self.limit,
            self.costs.allowed_alpha,
            self.costs.allowed_beta,
        )

    def objective(self, alpha, beta) -> float:
        x = np.concatenate([alpha.ravel(), beta.ravel()])
        return float(0.5 * x @ self.matrix @ x + self.linear @ x)

    def gradients(self, alpha, beta):
        x = np.concatenate([alpha.ravel(), beta.ravel()])
        gradient = self.matrix @ x + self.linear
        return gradient[: self.split].reshape(alpha.shape), gradient[self.split :].reshape(
            beta.shape
        )

    def excess(self, alpha, beta) -> float:
        """LAT / T - 1."""
        return float(self.costs.expected_cost(alpha, beta)[0] / self.limit[0] - 1.0)


def frank_wolfe(problem: Problem, steps: int, seed: int) -> Iterator[tuple]:
    room = problem.limit - problem.costs.fixed
    for iterate in block_frank_wolfe(
        problem.gradients,
        lambda beta: Polytope(problem.costs.alpha_costs(beta), room),
        lambda alpha: Polytope(problem.costs.beta_costs(alpha), room),
        *problem.start,
        steps,
        seed,
    ):
        yield iterate.alpha, iterate.beta


def softmax(logits):
    exponent = np.exp(logits - logits.max(axis=1, keepdims=True))
    return exponent / exponent.sum(axis=1, keepdims=True)


def gradient_descent(problem: Problem, steps: int, weight: float) -> Iterator[tuple]:
    """Adam (Kingma and Ba, 2015, their betas) on logits with a penalty on the excess latency."""
    logits = [np.log(np.maximum(x, 1e-6)) for x in problem.start]
    first, second = [np.zeros_like(x) for x in logits], [np.zeros_like(x) for x in logits]
    for step in range(1, steps + 1):
        alpha, beta = point = [softmax(x) for x in logits]
        pressure = weight / problem.limit[0] * (problem.excess(alpha, beta) > 0)
        slopes = (problem.costs.alpha_costs(beta)[0], problem.costs.beta_costs(alpha)[0])
        for i, gradient in enumerate(problem.gradients(alpha, beta)):
            gradient = gradient + pressure * slopes[i]
            gradient = point[i] * (gradient - np.sum(gradient * point[i], axis=1, keepdims=True))
            first[i] = 0.9 * first[i] + 0.1 * gradient
            second[i] = 0.999 * second[i] + 0.001 * gradient**2
            mean, square = first[i] / (1 - 0.9**step), second[i] / (1 - 0.999**step)
            logits[i] = logits[i] - LEARNING_RATE * mean / (np.sqrt(square) + 1e-8)
        yield tuple(softmax(x) for x in logits)


def run(problem: Problem, steps: int, seed: int) -> dict[str, np.ndarray]:
    """Objective and excess after every step: name -> [steps, 2]."""
    methods = {"Frank-Wolfe": frank_wolfe(problem, steps, seed)}
    for weight in PENALTIES:
        methods[f"penalty {weight:g}"] = gradient_descent(problem, steps, weight)
    return {
        name: np.array([(problem.objective(*x), problem.excess(*x)) for x in iterates])
        for name, iterates in methods.items()
    }


def plot(results: dict[str, np.ndarray], path: pathlib.Path) -> None:
    """Medians over the instances, [instances, steps, 2] each, with the middle half shaded."""
    figure, axes = plt.subplots(1, 2, figsize=(11, 4), layout="constrained")
    labels = ("objective", "expected latency over the limit, LAT / T - 1")
    for quantity, (axis, label) in enumerate(zip(axes, labels, strict=True)):
        for name, values in results.items():
            low, middle, high = np.percentile(values[:, :, quantity], [25, 50, 75], axis=0)
            style = {"color": "black", "linewidth": 2} if name == "Frank-Wolfe" else {}
            steps = np.arange(1, len(middle) + 1)
            (line,) = axis.plot(steps, middle, label=name, **style)
            axis.fill_between(steps, low, high, color=line.get_color(), alpha=0.15)
        axis.set(xlabel="step", ylabel=label, xscale="log")
    axes[1].axhline(0.0, color="grey", linestyle=":")
    axes[0].legend()
    figure.savefig(path, dpi=120)
    plt.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--instances", type=int, default=10)
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--output", type=pathlib.Path, default="runs/benchmarks")
    arguments = parser.parse_args()
    runs = [run(Problem(seed), arguments.steps, seed) for seed in range(arguments.instances)]
    results = {name: np.stack([each[name] for each in runs]) for name in runs[0]}
    print(f"{arguments.instances} instances, {arguments.steps} steps; median [quartiles]")
    print(
        f"{'method':12} {'objective at the end':>28} {'LAT / T - 1 at the end':>28} "
        f"{'runs over T':>12} {'steps over T':>13}"
    )
    for name, values in results.items():
        cells = []
        for quantity in (values[:, -1, 0], values[:, -1, 1]):
            low, middle, high = np.percentile(quantity, [25, 50, 75])
            cells.append(f"{middle:8.3f} [{low:7.3f}, {high:7.3f}]")
        over = values[:, :, 1] > 1e-9
        print(
            f"{name:12} {cells[0]:>28} {cells[1]:>28} {over[:, -1].sum():5d} of {len(over):3d} "
            f"{over.mean():13.0%}"
        )
    arguments.output.mkdir(parents=True, exist_ok=True)
    path = arguments.output / "frank_wolfe_toy.png"
    plot(results, path)
    print(f"plot: {path}")


if __name__ == "__main__":
    main()
