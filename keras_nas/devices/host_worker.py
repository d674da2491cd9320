"""Times `.tflite` files in a fresh process: a program of its own, run by `host.py`.

Reads one JSON request from standard input; writes one JSON object a line to standard output: one
after each round, and last the samples. Imports nothing of the package, so that it starts at once.
"""

import json
import random
import sys
import time
from collections.abc import Callable, Mapping

import numpy as np

CALLS = 4
"""Calls in a row of one model in a round; the first warms the cache and is dropped."""
MODELS_PER_REFERENCE = 6
"""The reference network is run again before every so many models, to follow the clock speed."""
SAMPLE_NS = 300_000
"""A model faster than this is called several times in a sample, so that the clock's own cost and
grain do not show."""


def repeats_of(call: Callable[[], None], clock: Callable[[], int]) -> int:
    """How many calls make a sample long enough for the clock; warms the model up on the way."""
    call()
    start = clock()
    call()
    return max(1, -(-SAMPLE_NS // max(1, clock() - start)))


def sample_ns(call: Callable[[], None], repeats: int, clock: Callable[[], int]) -> float:
    """Smallest time of one call, ns, over `CALLS` samples of `repeats` calls, the first dropped."""
    times = []
    for _ in range(CALLS):
        start = clock()
        for _ in range(repeats):
            call()
        times.append((clock() - start) / repeats)
    return min(times[1:])


def time_models(
    models: dict[str, Callable[[], None]],
    reference: Callable[[], None],
    clock: Callable[[], int],
    rounds: int,
    seed: int,
    on_round: Callable[[int], None],
) -> dict[str, dict[str, list[float]]]:
    """Shuffled rounds over all models with the reference network in between.

    Returns:
      `ms` and `reference_ms`: name -> one time a round, of the model and of the reference network
      next before it.
    """
    generator = random.Random(seed)
    order = list(models)
    repeats = {name: repeats_of(call, clock) for name, call in models.items()}
    reference_repeats = repeats_of(reference, clock)
    ms: dict[str, list[float]] = {name: [] for name in models}
    reference_ms: dict[str, list[float]] = {name: [] for name in models}
    for done in range(1, rounds + 1):
        generator.shuffle(order)
        for position, name in enumerate(order):
            if position % MODELS_PER_REFERENCE == 0:
                reference_now = sample_ns(reference, reference_repeats, clock) / 1e6
            ms[name].append(sample_ns(models[name], repeats[name], clock) / 1e6)
            reference_ms[name].append(reference_now)
        on_round(done)
    return {"ms": ms, "reference_ms": reference_ms}


def load(path: str, threads: int) -> Callable[[], None]:
    """The call that runs a model once, on standard normal images, or on integers in its range."""
    from ai_edge_litert.interpreter import Interpreter

    try:
        interpreter = Interpreter(model_path=path, num_threads=threads)
        interpreter.allocate_tensors()
        generator = np.random.default_rng(0)
        for entry in interpreter.get_input_details():
            shape, dtype = entry["shape"], entry["dtype"]
            if np.issubdtype(dtype, np.integer):
                limits = np.iinfo(dtype)
                value = generator.integers(limits.min, limits.max, shape, dtype, endpoint=True)
            else:
                value = generator.standard_normal(shape).astype(dtype)
            interpreter.set_tensor(entry["index"], value)
        interpreter.invoke()
    except (ValueError, RuntimeError) as error:
        sys.exit(f"cannot run {path}: {' '.join(str(error).split())}")
    return interpreter.invoke


def send(value: Mapping[str, object]) -> None:
    """Writes one line of the answer."""
    print(json.dumps(value), flush=True)


def main() -> None:
    request = json.load(sys.stdin)
    threads = request["threads"]
    # A thread's own time is not disturbed by other programs; with several threads nothing but the
    # wall clock sees all of them.
    clock = time.thread_time_ns if threads == 1 else time.perf_counter_ns
    # Where a model's weights lie in memory depends on when it was loaded, so this is random, too.
    paths = {**request["models"], None: request["reference"]}
    order = list(paths)
    random.Random(request["seed"]).shuffle(order)
    loaded = {name: load(paths[name], threads) for name in order}
    reference = loaded.pop(None)
    send(
        time_models(
            loaded,
            reference,
            clock,
            request["rounds"],
            request["seed"],
            lambda done: send({"round": done}),
        )
    )


if __name__ == "__main__":
    main()
