"""What a step of one-shot training and of the search costs, beside the heaviest network's step.

    python -m benchmarks.one_shot_step

Each training step is forward, backward and a Nesterov update in float32; the search step is the
gradient with respect to all alpha and beta. Each round runs all of them in random order, so that
a slow minute of the machine hits all alike; ratios are taken within a round, and their median and
quartiles printed. Peak memory is that of a fresh process which runs one step only, beyond what it
held before it built a model.

The literal sum runs all configurations of every block one after the other on the shared weights,
as the search of the papers' code does.
"""

import dataclasses
import functools
import itertools
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
from keras_nas.methods.frank_wolfe_search import gradient_function
from keras_nas.methods.hardcore_nas import path_sampler, uniform_architecture
from keras_nas.models import Supernet, build_network
from keras_nas.space import SPACES, SearchSpace
from keras_nas.training.optimizers import sgd

_SPACE = flags.DEFINE_enum("space", "hardcore_nas_table_3", list(SPACES), "Name of the space.")
_RESOLUTION = flags.DEFINE_integer("resolution", 64, "Side of the images, pixels.")
_BATCH = flags.DEFINE_integer("batch", 24, "Images a step.")
_CLASSES = flags.DEFINE_integer("classes", 1000, "Number of classes.")
_ROUNDS = flags.DEFINE_integer("rounds", 9, "Rounds of interleaved timing.", lower_bound=1)
_STEPS = flags.DEFINE_integer("steps", 2, "Steps of a variant in a round.", lower_bound=1)
_MEMORY = flags.DEFINE_bool("memory", True, "Measure peak memory too, in fresh processes.")
_ONLY = flags.DEFINE_multi_string("only", [], "Steps to run; by default all.")
_PEAK = flags.DEFINE_bool("peak", False, "Print the peak memory of the step in --only, in MiB.")

Step = Callable[[tf.Tensor, tf.Tensor, tf.Tensor], tf.Tensor]
"""Images, labels and a [2] seed -> something to wait for."""

REFERENCE = "heaviest"


def heaviest_step(space: SearchSpace, *, fused_batch_norm: bool) -> Step:
    """Training step of the heaviest network."""
    network = build_network(
        space.heaviest(), space.input_shape, _CLASSES.value, fused_batch_norm=fused_batch_norm
    )
    return training_step(network, lambda images, _: network(images, training=True))


def one_shot_step(space: SearchSpace, sampling: str) -> Step:
    """Training step of the one-shot network, every image on its own path."""
    supernet = Supernet(space, _CLASSES.value)
    return training_step(supernet, path_sampler(supernet, sampling))


def search_step(space: SearchSpace) -> Step:
    """Gradient with respect to all alpha and beta, as the search takes it."""
    supernet = Supernet(space, _CLASSES.value)
    gradients = gradient_function(supernet)
    alpha, beta = (tf.constant(value) for value in uniform_architecture(space))
    return lambda images, labels, seed: gradients(images, labels, alpha, beta, seed)[1]


def literal_step(space: SearchSpace) -> Step:
    """Training step with a literal sum over the configurations of every block."""
    supernet = Supernet(space, _CLASSES.value)
    shape = (_BATCH.value, len(space.stage_of_block), len(space.configurations))
    weights = tf.fill(shape, 1.0 / shape[-1])

    def forward(images, _):
        x = supernet.beginning(images, training=True)
        for s, stage in enumerate(space.stages):
            left = []
            for index in range(stage.max_depth):
                b = space.first_blocks[s] + index
                x = literal_block(supernet.elastic_blocks[b], x, weights[:, b])
                if index + 1 >= stage.min_depth:
                    left.append(x)
            x = tf.add_n(left) / len(left)  # [N, H, W, C]
        return supernet.end(x, training=True)

    return training_step(supernet, forward)


def literal_block(layer, x: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
    """All configurations of an elastic block, one by one, summed with `weights` [N, C]."""
    ranges = (layer.middle_channels, layer.kernel_sizes, layer.se_channels[0])
    outputs = []
    for c, (e, k, s) in enumerate(itertools.product(*(range(len(r)) for r in ranges))):
        middle, units = layer.middle_channels[e], layer.se_channels[e][s]
        z = tf.nn.conv2d(x, layer.expand_kernel.value[..., :middle], 1, "SAME")
        z = layer.act(normalized(layer.expand_batch_norm, z))
        z = layer.depthwise(z, layer.depthwise_kernels[k].value[:, :, :middle])
        z = layer.act(normalized(layer.depthwise_batch_norms[k], z))
        if units:
            se = {name: weight.value for name, weight in layer.se_weights[k].items()}
            hidden = tf.reduce_mean(z, (1, 2)) @ se["reduce_kernel"][:middle, :units]
            hidden = tf.nn.relu(hidden + se["reduce_bias"][:units])
            gate = hidden @ se["expand_kernel"][:units, :middle] + se["expand_bias"][:middle]
            z *= (tf.nn.relu6(gate + 3.0) / 6.0)[:, None, None, :]  # [N, H, W, M]
        y = tf.nn.conv2d(z, layer.project_kernel.value[:, :, :middle], 1, "SAME")
        outputs.append(normalized(layer.project_batch_norm, y) * weights[:, c, None, None, None])
    y = tf.add_n(outputs)
    return x + y if layer.residual else y


def normalized(batch_norm, x: tf.Tensor) -> tf.Tensor:
    """Batch norm in training, with the first channels of its weights."""
    gamma, beta = (w.value[: x.shape[-1]] for w in (batch_norm.gamma, batch_norm.beta))
    return normalize_batch(x, gamma, beta, batch_norm.epsilon)[0]


def training_step(model, forward: Callable[[tf.Tensor, tf.Tensor], tf.Tensor]) -> Step:
    """Cross-entropy of `forward`'s logits, its gradient, and a Nesterov update of all weights."""
    variables = model.trainable_variables
    optimizer = sgd(0.01, variables, l2=1e-4)

    def step(images, labels, seed):
        with tf.GradientTape() as tape:
            logits = forward(images, seed)
            losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
            loss = tf.reduce_mean(losses)
        optimizer.apply(tape.gradient(loss, [v.value for v in variables]), variables)
        return loss

    return step


STEPS: dict[str, Callable[[SearchSpace], Step]] = {
    "heaviest, Keras batch norm": functools.partial(heaviest_step, fused_batch_norm=False),
    REFERENCE: functools.partial(heaviest_step, fused_batch_norm=True),
    "independent sampling": functools.partial(one_shot_step, sampling="independent"),
    "stratified sampling": functools.partial(one_shot_step, sampling="stratified"),
    "search": search_step,
    "literal sum": literal_step,
}


def compiled_steps(names: list[str]) -> dict[str, Callable[[int], None]]:
    """Steps by name, compiled and run twice; each takes its number and waits for the end."""
    space = dataclasses.replace(SPACES[_SPACE.value], resolution=_RESOLUTION.value)
    generator = np.random.default_rng(0)
    shape = (_BATCH.value, *space.input_shape)
    images = tf.constant(generator.normal(size=shape).astype(np.float32))
    labels = tf.constant(generator.integers(_CLASSES.value, size=_BATCH.value))
    runs = {}
    for name in names:
        start = time.monotonic()
        step = tf.function(STEPS[name](space), autograph=False)
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
    for _ in range(_ROUNDS.value):
        for name in order.sample(list(runs), len(runs)):
            wall, cpu = time.perf_counter(), time.process_time()
            for number in range(_STEPS.value):
                runs[name](number)
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
    fields = ("space", "resolution", "batch", "classes")
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
    names = [REFERENCE, *(name for name in names if name != REFERENCE)]
    # Before this process fills the memory itself.
    peaks = {name: measure_peak(name) for name in names} if _MEMORY.value else {}
    seconds = time_interleaved(compiled_steps(names))
    print(
        f"{_SPACE.value}, {_RESOLUTION.value}x{_RESOLUTION.value}, batch {_BATCH.value}, "
        f"{_ROUNDS.value} rounds of {_STEPS.value} steps"
    )
    print(f"{'step':28}{'wall ms':>9}{'ratio':>7}   quartiles  {'CPU ms':>8}{'ratio':>7}{'MiB':>7}")
    for name in names:
        wall, cpu = seconds[name]
        low, ratio, high = np.percentile(wall / seconds[REFERENCE][0], (25, 50, 75))
        cpu_ratio = np.median(cpu / seconds[REFERENCE][1])
        print(
            f"{name:28}{np.median(wall) * 1e3:9.1f}{ratio:7.2f}   {low:.2f}..{high:.2f} "
            f"{np.median(cpu) * 1e3:8.1f}{cpu_ratio:7.2f}"
            + (f"{peaks[name]:7.0f}" if peaks else "")
        )


if __name__ == "__main__":
    app.run(main)
