"""Times or profiles `.tflite` files in a fresh process, for `host.py`.

Reads one JSON request, a line of standard input; writes `{"progress": rounds done}` after each
round, and last the samples.
"""

import json
import random
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from keras_nas.devices.litert_profiler import Library, ProfiledModel, ProfilerError

CALLS = 4
"""Calls in a row of one model in a round; the first warms the cache and is dropped."""
MODELS_PER_REFERENCE = 6
"""The reference network is run again before so many models, or sooner, once they took as long as it
does, to follow the clock speed and other programs."""
SAMPLE_NS = 300_000
"""A model faster than this is called several times in a sample, so that the clock's own cost and
grain do not show."""
STEADY, TRIES = 0.05, 4
"""The reference network's times before and after differ by no more, relative, or the models between
are run again, up to so many times."""
PROFILE_CALLS, PROFILE_NS = 5, 10_000_000
"""A profile is of so many calls in a row at least, and of so long; the first is dropped."""

TINY_US = 1e-6

Call = Callable[[], object]
Clock = Callable[[], int]
T = TypeVar("T")


def repeats_of(call: Call, clock: Clock, sample_ns: int = SAMPLE_NS) -> int:
    """How many calls take at least `sample_ns`; warms the model up on the way."""
    call()
    start = clock()
    call()
    return max(1, -(-sample_ns // max(1, clock() - start)))


def sample_ns(call: Call, repeats: int, clock: Clock) -> float:
    """Smallest time of one call, ns, over `CALLS` samples of `repeats` calls, the first dropped."""
    times = []
    for _ in range(CALLS):
        start = clock()
        for _ in range(repeats):
            call()
        times.append((clock() - start) / repeats)
    return min(times[1:])


def visit(
    names: Sequence[str],
    sample: Callable[[str], T],
    reference_sample: Callable[[], float],
    clock: Clock,
    rounds: int,
    seed: int,
    on_round: Callable[[int], None],
) -> tuple[dict[str, list[T]], dict[str, list[float]]]:
    """Goes to all models in shuffled rounds, with the reference network in between.

    A group of models is visited between two samples of the reference network. Where these differ,
    the machine changed its speed, and the group is visited again.

    Returns:
      Name -> samples, one a round; name -> samples of the reference network: the mean of the one
      before and the one after.
    """
    generator = random.Random(seed)
    samples: dict[str, list[T]] = {name: [] for name in names}
    reference: dict[str, list[float]] = {name: [] for name in names}
    for done in range(1, rounds + 1):
        waiting = list(names)
        generator.shuffle(waiting)
        tries = 0
        start = clock()
        before = reference_sample()
        took = clock() - start
        while waiting:
            group: dict[str, T] = {}
            start = clock()
            for name in waiting[:MODELS_PER_REFERENCE]:
                group[name] = sample(name)
                if clock() - start > took:
                    break
            after, last = reference_sample(), before
            before = after
            tries += 1
            if abs(after / last - 1) > STEADY and tries < TRIES:
                continue
            for name, value in group.items():
                samples[name].append(value)
                reference[name].append((last + after) / 2)
            del waiting[: len(group)]
            tries = 0
        on_round(done)
    return samples, reference


def time_models(
    models: Mapping[str, Call],
    reference: Call,
    clock: Clock,
    rounds: int,
    seed: int,
    on_round: Callable[[int], None],
) -> dict[str, dict[str, list[float]]]:
    """The fields of a `Run`."""
    repeats = {name: repeats_of(call, clock) for name, call in models.items()}
    reference_repeats = repeats_of(reference, clock)

    def sample(name: str) -> float:
        return sample_ns(models[name], repeats[name], clock) / 1e6

    def reference_sample() -> float:
        return sample_ns(reference, reference_repeats, clock) / 1e6

    ms, reference_ms = visit(list(models), sample, reference_sample, clock, rounds, seed, on_round)
    return {"ms": ms, "reference_ms": reference_ms}


class Profiled(Protocol):
    """A model that can be run without and with a profile, as a `ProfiledModel`."""

    def run(self) -> None:
        """Runs once."""

    def profile(self) -> list[tuple[str, float]]:
        """Runs once; returns kind and microseconds of each operation."""


def shares(calls: Sequence[Sequence[float]]) -> NDArray[np.float64]:
    """[operations] Each operation's share of the whole, from several profiles in a row.

    The first is dropped; of the others each operation's smallest time counts, as other programs
    interrupt now this one, now that.
    """
    smallest = np.min(calls[1:], axis=0) + TINY_US  # [operations]
    # Profiles count whole microseconds: of a tiny model all times may be 0.
    return smallest / smallest.sum()


def profile_models(
    models: Mapping[str, Profiled],
    reference: Call,
    clock: Clock,
    rounds: int,
    seed: int,
    on_round: Callable[[int], None],
) -> dict[str, dict]:
    """The fields of a `Profile`.

    A profile is by the wall clock, which other programs disturb, and takes time itself. So a model
    is timed as a whole, as in `time_models`, and the profile only divides that among operations.

    Raises:
      ProfilerError: a model's calls differ in their operations.
    """
    whole = {name: model.run for name, model in models.items()}
    timed = time_models(whole, reference, clock, rounds, seed, lambda done: None)
    operations = {name: [kind for kind, _ in model.profile()] for name, model in models.items()}
    calls = {
        name: max(PROFILE_CALLS, repeats_of(model.run, clock, PROFILE_NS))
        for name, model in models.items()
    }
    generator = random.Random(seed)
    order = list(models)
    ms: dict[str, list[list[float]]] = {name: [] for name in models}
    for done in range(rounds):
        generator.shuffle(order)
        for name in order:
            profiles = [models[name].profile() for _ in range(calls[name])]
            if any([kind for kind, _ in ran] != operations[name] for ran in profiles):
                raise ProfilerError(f"{name} ran other operations than before.")
            share = shares([[us for _, us in ran] for ran in profiles])
            ms[name].append([float(part) for part in share * timed["ms"][name][done]])
        on_round(done + 1)
    return {"operations": operations, "ms": ms, "reference_ms": timed["reference_ms"]}


def load(path: str, threads: int) -> Callable[[], None]:
    """The call that runs a model once, on standard normal images, or on integers in its range."""
    from ai_edge_litert.interpreter import Interpreter

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
    return interpreter.invoke


def load_all(request: dict, load_one: Callable[[str], object]) -> dict:
    """Loads the models and the reference network, whose name is None.

    Where a model's weights lie in memory depends on when it was loaded, so this is random, too.
    """
    paths = {**request["models"], None: request["reference"]}
    order = list(paths)
    random.Random(request["seed"]).shuffle(order)
    loaded = {}
    for name in order:
        try:
            loaded[name] = load_one(paths[name])
        except (ValueError, RuntimeError) as error:
            sys.exit(f"cannot run {paths[name]}: {' '.join(str(error).split())}")
    return loaded


def send(value: Mapping[str, object]) -> None:
    """Writes one line of the answer."""
    print(json.dumps(value), flush=True)


def on_round(done: int) -> None:
    """Tells that a round is done."""
    send({"progress": done})


def clock_for(threads: int) -> Clock:
    """A thread's own time is not disturbed by other programs; with several threads nothing but the
    wall clock sees all of them."""
    return time.thread_time_ns if threads == 1 else time.perf_counter_ns


def run(request: dict) -> dict:
    """Times models as a whole."""
    threads, rounds, seed = request["threads"], request["rounds"], request["seed"]
    loaded = load_all(request, lambda path: load(path, threads))
    reference = loaded.pop(None)
    return time_models(loaded, reference, clock_for(threads), rounds, seed, on_round)


def profile(request: dict) -> dict:
    """Times the operations inside models."""
    threads, rounds, seed = request["threads"], request["rounds"], request["seed"]
    library = Library()
    loaded = load_all(request, lambda path: ProfiledModel(library, path, threads))
    reference = loaded.pop(None).run
    return profile_models(loaded, reference, clock_for(threads), rounds, seed, on_round)


def main() -> None:
    request = json.loads(sys.stdin.readline())
    try:
        send(profile(request) if request["profile"] else run(request))
    except ProfilerError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
