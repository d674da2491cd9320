"""What TensorFlow's graph rewriting (Grappler) costs a step on a CPU, and what it gains.

    python -m benchmarks.graph_rewriting
    python -m benchmarks.graph_rewriting --steps=tf_nas/search,single_path/search

Each step of the quickstarts is traced once, and called with rewriting and without, in turns; the
first call of each kind prepares its graph. Prints the seconds of CPU of the first calls (the step
included) and the median and quartiles of the ratio of later ones, without / with rewriting.
"""

import gc
import time

import keras
import numpy as np
import tensorflow as tf
from absl import app, flags

from configs import quickstart, single_path_quickstart, tf_nas_quickstart
from keras_nas.experiment import load_space
from keras_nas.tools.compiled_steps import STEPS, Setting
from tpu.graph_rewriting import graph_rewriting
from tpu.strategy import strategy_for

_STEPS = flags.DEFINE_list("steps", [], "Steps, by name; empty takes all.")
_BATCH = flags.DEFINE_integer("batch", 96, "Images a step.", lower_bound=1)
_ROUNDS = flags.DEFINE_integer("rounds", 15, "Pairs of calls.", lower_bound=2)

QUICKSTARTS = {"tf_nas": tf_nas_quickstart, "single_path": single_path_quickstart}


def calls(name: str):
    """The step as a function without arguments, on made-up images."""
    config = QUICKSTARTS.get(name.partition("/")[0], quickstart).get_config()
    setting = Setting(
        space=load_space(config.space),
        classes=10,
        batch_size=_BATCH.value,
        strategy=strategy_for("cpu"),
    )
    step = STEPS[name](setting)
    random = tf.random.Generator.from_seed(0)
    inputs = tf.nest.map_structure(
        lambda spec: (
            random.normal(spec.shape, dtype=spec.dtype)
            if spec.dtype.is_floating
            else tf.zeros(spec.shape, spec.dtype)
        ),
        step.specs,
    )
    function = tf.function(step.function, autograph=False)
    function.get_concrete_function(*inputs)
    return lambda: function(*inputs)


def seconds(call, rewritten: bool) -> float:
    """CPU seconds of a call."""
    with graph_rewriting(rewritten):
        began = time.process_time()
        call()
        return time.process_time() - began


def main(_) -> None:
    if unknown := set(_STEPS.value) - set(STEPS):
        raise app.UsageError(f"unknown steps {sorted(unknown)}; one of {', '.join(STEPS)}.")
    print("| step | first call, rewritten | plain | later calls, plain / rewritten |")
    print("|---|---|---|---|")
    for name in _STEPS.value or STEPS:
        keras.utils.clear_session()
        gc.collect()
        call = calls(name)
        first = [seconds(call, rewritten) for rewritten in (True, False)]
        ratios = []
        for number in range(_ROUNDS.value):
            order = (True, False) if number % 2 else (False, True)
            took = {rewritten: seconds(call, rewritten) for rewritten in order}
            ratios.append(took[False] / took[True])
        low, middle, high = np.percentile(ratios, (25, 50, 75))
        print(
            f"| {name} | {first[0]:.2f} s | {first[1]:.2f} s | {middle:.3f} ({low:.3f} to "
            f"{high:.3f}) |",
            flush=True,
        )


if __name__ == "__main__":
    app.run(main)
