"""A small program to cut off: trains a tiny network and writes its final variables.

    python tests/tpu/program.py ROOT NAME:END [NAME:END ...]

It has everything that is easily lost: batch norm, momentum, an average of the weights, random
noise, and a variable that only the host changes. Each run uses the folder ROOT/NAME, continues
what an earlier run left there, ends as END says (at the end of the training if it is empty), and
writes ROOT/NAME.npz if it gets so far, its messages to ROOT/NAME.txt. Prints the exit codes.
"""

import json
import os
import resource
import signal
import sys
import threading
import time
from pathlib import Path

os.environ["CUDA_VISIBLE_DEVICES"] = ""
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import keras
import numpy as np
import tensorflow as tf

from tpu import checkpoint
from tpu.engine import Interrupted, run_phase
from tpu.phase import Phase
from tpu.record import Watch
from tpu.strategy import strategy_for

STEPS = 23
STEPS_PER_LOOP = 4


def batches(start_step):
    def batch(step):
        seed = tf.stack([tf.constant(7, tf.int64), step])
        images = tf.random.stateless_uniform([8, 6, 6, 2], seed)  # [B, H, W, C]
        return images, tf.cast(tf.reduce_mean(images, [1, 2, 3]) * 9.0, tf.int32) % 3

    return tf.data.Dataset.range(start_step, STEPS).map(batch)


def build(width=4, **changes):
    """Returns the phase; the host variable is its last one."""
    keras.utils.set_random_seed(1)
    model = keras.Sequential(
        [
            keras.Input([6, 6, 2]),
            keras.layers.Conv2D(width, 3, use_bias=False),
            keras.layers.BatchNormalization(momentum=0.9),
            keras.layers.ReLU(),
            keras.layers.GlobalAveragePooling2D(),
            keras.layers.Dense(3),
        ]
    )
    optimizer = keras.optimizers.SGD(0.1, momentum=0.9, use_ema=True, ema_momentum=0.9)
    optimizer.build(model.trainable_variables)
    host = tf.Variable(1.0, trainable=False, name="host")
    loss_function = keras.losses.SparseCategoricalCrossentropy(from_logits=True)

    def step(inputs, step_index):
        images, labels = inputs
        seed = tf.stack([tf.constant(3, tf.int64), step_index])
        images += 0.1 * host * tf.random.stateless_normal(tf.shape(images), seed)
        with tf.GradientTape() as tape:
            loss = loss_function(labels, model(images, training=True))
        optimizer.apply(tape.gradient(loss, [v.value for v in model.trainable_variables]))
        return {"loss": loss, "step_index": tf.cast(step_index, tf.float32)}

    def host_update(step, metrics):
        host.assign(0.9 * host + 0.1 * metrics["loss"])
        return {"host": float(host)}

    arguments = {
        "name": "toy",
        "step": step,
        "variables": [*model.variables, *optimizer.variables, host],
        "steps": STEPS,
        "dataset": batches,
        "steps_per_loop": STEPS_PER_LOOP,
        "host_update": host_update,
    }
    return Phase(**(arguments | changes))


def values(phase):
    return [np.asarray(v) for v in phase.variables]


def _kill(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)


def _in_thread(action):
    threading.Thread(target=action, daemon=True).start()


def _kill_while_writing(directory):
    while not any(directory.glob("step-*.partial/*")):
        time.sleep(0.0002)
    _kill()


def _signal_twice():
    while signal.getsignal(signal.SIGTERM) == signal.SIG_DFL:
        time.sleep(0.01)
    for _ in range(2):
        time.sleep(1.5)
        os.kill(os.getpid(), signal.SIGTERM)


def run(end, directory, result):
    """Runs the program to its end, or to the one that `end` names."""
    tf.config.experimental.enable_op_determinism()
    changes, save_every_seconds = {}, 0.0
    if end == "killed between loops":
        save_every_seconds = 1e9
    elif end == "killed while writing":
        _in_thread(lambda: _kill_while_writing(directory))
    elif end == "killed before rename":
        checkpoint.flush_to_disk = _kill
    elif end == "killed before pruning":
        checkpoint.shutil.rmtree = _kill
    elif end == "disk full":
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    elif end == "two signals":
        data = batches(0).repeat()
        changes = {"steps": 10**8, "steps_per_loop": 10**8, "dataset": lambda _: data}
        _in_thread(_signal_twice)

    def on_progress(progress):
        if end == "killed between loops" and progress.step == 16:
            _kill()
        elif end == "signal" and progress.step == 8:
            os.kill(os.getpid(), signal.SIGTERM)
        elif end == "disk full" and progress.step == 8:
            resource.setrlimit(resource.RLIMIT_FSIZE, (1000, resource.RLIM_INFINITY))

    phase = build(**changes)
    try:
        run_phase(
            phase,
            strategy_for("cpu"),
            directory,
            save_every_seconds=save_every_seconds,
            watch=Watch(on_progress=on_progress),
        )
    except Interrupted as interrupted:
        print(interrupted, file=sys.stderr)
        sys.exit(128 + interrupted.signal)
    except OSError as error:
        sys.exit(f"OSError: {error}")
    np.savez(result, *values(phase))


def main():
    """Forks a process for every run: importing TensorFlow takes longer than all of them."""
    root = Path(sys.argv[1])
    codes = []
    for argument in sys.argv[2:]:
        name, _, end = argument.partition(":")
        child = os.fork()
        if child == 0:
            with (root / f"{name}.txt").open("a") as messages:
                os.dup2(messages.fileno(), sys.stderr.fileno())
            run(end, root / name, root / f"{name}.npz")
            sys.exit(0)
        codes.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    print(json.dumps(codes))


if __name__ == "__main__":
    main()
