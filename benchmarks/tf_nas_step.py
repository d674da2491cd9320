"""What the steps of a TF-NAS search cost, beside the heaviest network and a literal mixture.

    python -m benchmarks.tf_nas_step

Everything runs on the paper's space at its largest widths, in float32. Two ratios matter:

- a weight step (two sampled paths, forward, backward, update of what was sampled) to two forward
  and backward passes of the heaviest single network, without update;
- an architecture step (gradient of alpha and beta through all operations), with weights that share
  nothing and with shared ones, to the literal sum: every operation by itself, batch norm fused,
  gradients by automatic differentiation. Of the literal sum no gradients of weights are asked for
  either.

Each round runs all of them in random order, so that a slow minute of the machine hits all alike;
ratios are taken within a round, and their median and quartiles printed. Peak memory is that of a
fresh process which runs one step only, beyond what it held before it built a model.
"""

import dataclasses
import functools
import random
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import tensorflow as tf
from absl import app, flags

from keras_nas.layers.batch_norm import normalize_batch
from keras_nas.layers.tf_nas_candidates import operation_weights
from keras_nas.layers.tf_nas_operation import pointwise
from keras_nas.methods.tf_nas_architecture import (
    ArchitectureState,
    LatencyObjective,
    architecture_gradients,
)
from keras_nas.methods.tf_nas_weights import PathSGD, weight_step
from keras_nas.models import build_network
from keras_nas.models.tf_nas_supernet import TFNASSupernet
from keras_nas.space import TF_NAS, TFNASSpace

_RESOLUTION = flags.DEFINE_integer("resolution", 64, "Side of the images, pixels.")
_BATCH = flags.DEFINE_integer("batch", 32, "Images a step.")
_CLASSES = flags.DEFINE_integer("classes", 100, "Number of classes.")
_STAGES = flags.DEFINE_integer("stages", 6, "How many of the space's stages to keep.")
_ROUNDS = flags.DEFINE_integer("rounds", 7, "Rounds of interleaved timing.", lower_bound=1)
_STEPS = flags.DEFINE_integer("steps", 1, "Steps of a variant in a round.", lower_bound=1)
_MEMORY = flags.DEFINE_bool("memory", True, "Measure peak memory too, in fresh processes.")
_ONLY = flags.DEFINE_multi_string("only", [], "Steps to run; by default all.")
_PEAK = flags.DEFINE_bool("peak", False, "Print the peak memory of the step in --only, in MiB.")

Step = Callable[[tf.Tensor, tf.Tensor, tf.Tensor], object]
"""Images, labels and a [2] seed -> something to wait for."""

TWO_PASSES, LITERAL = "heaviest network, two passes", "architecture, literal sum"


def two_passes(space: TFNASSpace) -> Step:
    """Gradient of all weights of the heaviest network, twice."""
    network = build_network(
        space.heaviest(), space.input_shape, _CLASSES.value, fused_batch_norm=True
    )
    variables = [variable.value for variable in network.trainable_variables]

    def step(images, labels, seed):
        del seed
        found = []
        for half in (images, images[::-1]):  # else the two would be one to the compiler
            with tf.GradientTape() as tape:
                logits = network(half, training=True)
                losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
                loss = tf.reduce_mean(losses)
            found.append(tape.gradient(loss, variables))
        return [tf.reduce_sum(gradient) for gradient in tf.nest.flatten(found)]

    return step


def sampled_step(space: TFNASSpace, *, share_weights: bool) -> Step:
    """A weight step of the search, bi-sampling and update included."""
    supernet = widest_supernet(space, share_weights=share_weights)
    optimizer = PathSGD(supernet.trainable_variables, momentum=0.9, weight_decay=1e-5, clip=5.0)
    alpha = tf.zeros(supernet.allowed.shape)
    depths = supernet.depth.probabilities(tf.zeros(supernet.depth.shape))

    def step(images, labels, seed):
        rate = tf.constant(0.025)
        return weight_step(
            supernet, optimizer, alpha, depths, (images, labels),
            second="random", learning_rate=rate, seed=seed,
        )["loss"]  # fmt: skip

    return step


def mixture_step(space: TFNASSpace, *, share_weights: bool = False, literal: bool = False) -> Step:
    """The gradients of alpha and beta."""
    supernet = widest_supernet(space, share_weights=share_weights)
    if literal:
        for mixed in supernet.mixed:
            mixed.call_mixture = functools.partial(literal_mixture, mixed)
    state = ArchitectureState(supernet, learning_rate=0.01, weight_decay=5e-4, clip=5.0)
    objective = LatencyObjective("absolute", 15.0, 0.1, 0.6)

    def step(images, labels, seed):
        return architecture_gradients(
            supernet, state, (images, labels),
            objective=objective, temperature=tf.constant(5.0), seed=seed,
        )[1]  # fmt: skip

    return step


def widest_supernet(space: TFNASSpace, *, share_weights: bool) -> TFNASSupernet:
    """The supernet at its largest widths."""
    supernet = TFNASSupernet(space, _CLASSES.value, share_weights=share_weights)
    supernet.set_widths(space.largest_widths())
    return supernet


def literal_mixture(mixed, x: tf.Tensor, mix: tf.Tensor) -> tf.Tensor:
    """All operations of a block, one by one, summed with `mix`."""
    form, stacks = mixed.form.operation, mixed.stacks()

    def normalized(y):
        ones, zeros = tf.ones(y.shape[-1:]), tf.zeros(y.shape[-1:])
        return normalize_batch(y, ones, zeros, form.epsilon)[0]

    outputs = []
    for o in range(len(mixed.form.kernel_sizes)):
        weights = operation_weights(stacks, mixed.form, o)
        y = form.act(normalized(pointwise(x, weights.expand)))
        y = form.act(normalized(form.depthwise(y, weights.depthwise)))
        if weights.gate:
            y *= form.gate(tf.reduce_mean(y, (1, 2)), weights.gate)[:, None, None, :]
        outputs.append(mix[o] * normalized(pointwise(y, weights.project)))
    return tf.add_n(outputs)


STEPS: dict[str, tuple[Callable[[TFNASSpace], Step], str]] = {
    TWO_PASSES: (two_passes, TWO_PASSES),
    "weight step": (functools.partial(sampled_step, share_weights=False), TWO_PASSES),
    "weight step, shared weights": (
        functools.partial(sampled_step, share_weights=True),
        TWO_PASSES,
    ),
    LITERAL: (functools.partial(mixture_step, literal=True), LITERAL),
    "architecture step": (mixture_step, LITERAL),
    "architecture, shared weights": (
        functools.partial(mixture_step, share_weights=True),
        LITERAL,
    ),
}
"""Name -> the step, and what it is compared with."""


def compiled_steps(names: list[str]) -> dict[str, Callable[[int], None]]:
    """Steps by name, compiled and run twice; each takes its number and waits for the end."""
    space = dataclasses.replace(
        TF_NAS, resolution=_RESOLUTION.value, stages=TF_NAS.stages[: _STAGES.value]
    )
    generator = np.random.default_rng(0)
    shape = (_BATCH.value, *space.input_shape)
    images = tf.constant(generator.normal(size=shape).astype(np.float32))
    labels = tf.constant(generator.integers(_CLASSES.value, size=_BATCH.value))
    runs = {}
    for name in names:
        start = time.monotonic()
        step = tf.function(STEPS[name][0](space), autograph=False)
        concrete = step.get_concrete_function(images, labels, tf.constant([0, 0]))

        def run(number, concrete=concrete):
            results = concrete(images, labels, tf.constant([0, number]))
            tf.nest.map_structure(lambda tensor: tensor.numpy(), results)  # waits for the end

        for number in range(2):
            run(number)
        runs[name] = run
        print(f"built {name} in {time.monotonic() - start:.0f} s", file=sys.stderr)
    return runs


def time_interleaved(runs: dict[str, Callable[[int], None]]) -> dict[str, np.ndarray]:
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


def measure_peak(name: str) -> float:
    """Peak memory in MiB of one step in a fresh process with the same flags."""
    fields = ("resolution", "batch", "classes", "stages")
    settings = [f"--{field}={flags.FLAGS[field].value}" for field in fields]
    module = f"benchmarks.{__file__.rsplit('/', 1)[-1].removesuffix('.py')}"
    command = [sys.executable, "-m", module, *settings, "--peak", f"--only={name}"]
    return float(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)


def main(argv: list[str]) -> None:
    del argv
    names = _ONLY.value or list(STEPS)
    if unknown := set(names) - set(STEPS):
        raise app.UsageError(f"unknown steps {sorted(unknown)}; one of {', '.join(STEPS)}.")
    if _PEAK.value:
        before = peak_mib()
        compiled_steps(names)
        print(peak_mib() - before)
        return
    names = [name for name in STEPS if name in {*names, *(STEPS[name][1] for name in names)}]
    # Before this process fills the memory itself.
    peaks = {name: measure_peak(name) for name in names} if _MEMORY.value else {}
    seconds = time_interleaved(compiled_steps(names))
    print(
        f"{TF_NAS.name}, first {_STAGES.value} stages, {_RESOLUTION.value}x{_RESOLUTION.value}, "
        f"batch {_BATCH.value}, largest widths, {_ROUNDS.value} rounds of {_STEPS.value} steps"
    )
    print(f"{'step':30}{'wall ms':>9}{'ratio':>7}   quartiles  {'CPU ms':>8}{'ratio':>7}{'MiB':>7}")
    for name in names:
        wall, cpu = seconds[name]
        reference = STEPS[name][1]
        low, ratio, high = np.percentile(wall / seconds[reference][0], (25, 50, 75))
        cpu_ratio = np.median(cpu / seconds[reference][1])
        memory = f"{peaks[name]:7.0f}{peaks[name] / peaks[reference]:6.2f}" if peaks else ""
        print(
            f"{name:30}{np.median(wall) * 1e3:9.1f}{ratio:7.2f}   {low:.2f}..{high:.2f} "
            f"{np.median(cpu) * 1e3:8.1f}{cpu_ratio:7.2f}{memory}"
        )


if __name__ == "__main__":
    app.run(main)
