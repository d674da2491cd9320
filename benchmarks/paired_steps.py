"""Times training steps against one another, paired within a run, and their peak memory.

Each round runs all steps in random order, so that a slow minute of the machine hits all alike;
ratios are taken within a round, and their median and quartiles printed. Peak memory is that of a
fresh process which runs one step only, beyond what it held before it built a model.
"""

import dataclasses
import random
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import tensorflow as tf
from absl import app, flags

from keras_nas.space import SPACES, TF_NAS_SPACES, StagedSpace

KNOWN: dict[str, StagedSpace] = {**SPACES, **TF_NAS_SPACES}

_SPACE = flags.DEFINE_enum("space", None, list(KNOWN), "Name of the space.")
_RESOLUTION = flags.DEFINE_integer("resolution", 64, "Side of the images, pixels.")
_BATCH = flags.DEFINE_integer("batch", 24, "Images a step.")
_CLASSES = flags.DEFINE_integer("classes", 1000, "Number of classes.")
_ROUNDS = flags.DEFINE_integer("rounds", 9, "Rounds of interleaved timing.", lower_bound=1)
_STEPS = flags.DEFINE_integer("steps", 2, "Steps of a variant in a round.", lower_bound=1)
_MEMORY = flags.DEFINE_bool("memory", True, "Measure peak memory too, in fresh processes.")
_ONLY = flags.DEFINE_multi_string("only", [], "Steps to run; by default all.")
_PEAK = flags.DEFINE_bool("peak", False, "Print the peak memory of the step in --only, in MiB.")

Step = Callable[[tf.Tensor, tf.Tensor, tf.Tensor], object]
"""Images, labels and a [2] seed -> something to wait for."""
MakeStep = Callable[..., Step]
"""A space -> a step on it."""


def batch_size() -> int:
    """Images a step."""
    return _BATCH.value


def classes() -> int:
    """Number of classes."""
    return _CLASSES.value


def compiled_steps(steps: Mapping[str, MakeStep], space: StagedSpace) -> dict[str, Callable]:
    """Steps by name, compiled and run twice; each takes its number and waits for the end."""
    generator = np.random.default_rng(0)
    shape = (_BATCH.value, *space.input_shape)
    images = tf.constant(generator.normal(size=shape).astype(np.float32))
    labels = tf.constant(generator.integers(_CLASSES.value, size=_BATCH.value).astype(np.int32))
    runs = {}
    for name, make in steps.items():
        start = time.monotonic()
        step = tf.function(make(space), autograph=False)
        concrete = step.get_concrete_function(images, labels, tf.constant([0, 0]))

        def run(number, concrete=concrete):
            results = concrete(images, labels, tf.constant([0, number]))
            tf.nest.map_structure(lambda tensor: tensor.numpy(), results)  # waits for the end

        for number in range(2):
            run(number)
        runs[name] = run
        print(f"built {name} in {time.monotonic() - start:.0f} s", file=sys.stderr)
    return runs


def time_interleaved(runs: Mapping[str, Callable[[int], None]]) -> dict[str, np.ndarray]:
    """Wall and CPU seconds a step of each: name -> [2, rounds]."""
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in runs}
    order = random.Random(0)
    for turn in range(_ROUNDS.value):
        for name in order.sample(list(runs), len(runs)):
            wall, cpu = time.perf_counter(), time.process_time()
            for number in range(_STEPS.value):
                runs[name](2 + turn * _STEPS.value + number)
            wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
            seconds[name].append((wall / _STEPS.value, cpu / _STEPS.value))
    return {name: np.array(samples).T for name, samples in seconds.items()}


def peak_mib() -> float:
    """This process's largest resident memory so far (Linux).

    `ru_maxrss` would not do: a new process inherits it from the one that started it.
    """
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    raise OSError("/proc/self/status has no VmHWM; run with --nomemory.")


def measure_peak(module: str, name: str, space: str) -> float:
    """Peak memory in MiB of one step in a fresh process with the same flags."""
    fields = ("resolution", "batch", "classes")
    settings = [f"--{field}={flags.FLAGS[field].value}" for field in fields]
    command = [sys.executable, "-m", module, f"--space={space}", *settings, "--peak"]
    command.append(f"--only={name}")
    return float(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)


def run_benchmark(
    module: str,
    steps: Mapping[str, MakeStep],
    references: str | Mapping[str, str],
    default_space: str,
) -> None:
    """Measures `steps` of `module`, as the flags say, and prints them.

    Args:
      module: that is started again to measure peak memory.
      steps: name -> what makes the step.
      references: the step that all are compared with, or each one's own.
      default_space: name.
    """
    if isinstance(references, str):
        references = dict.fromkeys(steps, references)
    names = _ONLY.value or list(steps)
    if unknown := set(names) - set(steps):
        raise app.UsageError(f"unknown steps {sorted(unknown)}; one of {', '.join(steps)}.")
    space_name = _SPACE.value or default_space
    space = dataclasses.replace(KNOWN[space_name], resolution=_RESOLUTION.value)
    if _PEAK.value:
        before = peak_mib()
        compiled_steps({name: steps[name] for name in names}, space)
        print(peak_mib() - before)
        return
    names = [name for name in steps if name in {*names, *(references[name] for name in names)}]
    # Before this process fills the memory itself.
    peaks = {n: measure_peak(module, n, space_name) for n in names} if _MEMORY.value else {}
    seconds = time_interleaved(compiled_steps({name: steps[name] for name in names}, space))
    print(
        f"{space_name}, {_RESOLUTION.value}x{_RESOLUTION.value}, batch {_BATCH.value}, "
        f"{_ROUNDS.value} rounds of {_STEPS.value} steps"
    )
    heads = "".join(f"{head:>7}" for head in ("ratio", "MiB", "ratio"))
    print(f"{'step':28}{'wall ms':>9}{'ratio':>7}   quartiles  {'CPU ms':>8}{heads}")
    for name in names:
        (wall, cpu), reference = seconds[name], references[name]
        low, ratio, high = np.percentile(wall / seconds[reference][0], (25, 50, 75))
        cpu_ratio = np.median(cpu / seconds[reference][1])
        print(
            f"{name:28}{np.median(wall) * 1e3:9.1f}{ratio:7.2f}   {low:.2f}..{high:.2f} "
            f"{np.median(cpu) * 1e3:8.1f}{cpu_ratio:7.2f}"
            + (f"{peaks[name]:7.0f}{peaks[name] / peaks[reference]:7.2f}" if peaks else "")
        )
