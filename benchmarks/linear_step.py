"""Time of the linear step on HardCoRe-NAS' space: the one-dimensional dual against SciPy's HiGHS.

    python -m benchmarks.linear_step

Both solve the same random programs in turn, in one run. Fails if the dual is not 10 times faster,
or if the objectives differ by 1e-9.
"""

from __future__ import annotations

import argparse
import statistics
import time

import numpy as np

from keras_nas.solvers.linear_step import linear_step_dual, linear_step_highs
from keras_nas.solvers.polytope import Polytope

SOLVERS = {"dual": linear_step_dual, "HiGHS": linear_step_highs}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--blocks", type=int, default=20)
    parser.add_argument("--configurations", type=int, default=12)
    parser.add_argument("--programs", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    shape = (arguments.blocks, arguments.configurations)
    generator = np.random.default_rng(arguments.seed)
    times_ms: dict[str, list[float]] = {name: [] for name in SOLVERS}
    difference = 0.0
    for _ in range(arguments.programs):
        costs, gradient = generator.random(shape), generator.normal(size=shape)
        reachable = Polytope(costs, np.inf)
        low, high = reachable.smallest_cost(), reachable.largest_cost()
        polytope = Polytope(costs, low + generator.random() * (high - low))
        objectives = []
        for name, solve in SOLVERS.items():
            start = time.perf_counter()
            x = solve(polytope, gradient)
            times_ms[name].append(1e3 * (time.perf_counter() - start))
            objectives.append(np.sum(gradient * x))
        difference = max(difference, abs(objectives[0] - objectives[1]))
    print(f"{shape[0]} x {shape[1]}, {arguments.programs} random programs")
    print(f"{'solver':8} {'median ms':>10} {'5%':>8} {'95%':>8}")
    for name, values in times_ms.items():
        low, high = np.percentile(values, [5, 95])
        print(f"{name:8} {statistics.median(values):10.3f} {low:8.3f} {high:8.3f}")
    pairs = zip(times_ms["HiGHS"], times_ms["dual"], strict=True)
    ratio = statistics.median(highs / dual for highs, dual in pairs)
    print(f"paired ratio, median: {ratio:.1f}    largest difference: {difference:.1e}")
    if ratio < 10 or difference > 1e-9:
        raise SystemExit("The dual must be 10 times faster and equal to 1e-9.")


if __name__ == "__main__":
    main()
