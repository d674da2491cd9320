"""Kills one worker of two: does the other stop with a clear message, and does a restart resume?

    python -m benchmarks.lost_worker

Two processes on this machine train a few numbers with MultiWorkerMirroredStrategy, on one folder of
checkpoints. Worker 1 is killed with SIGKILL. Prints what worker 0 says and after how many seconds;
then both start again, and the result has to be that of a run that nobody disturbed.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from absl import app, flags

_WORK = flags.DEFINE_string("work", None, "Be a worker on this folder.")
STEPS, STEPS_PER_LOOP = 40, 2


def work(folder: Path) -> None:
    """One worker: adds up the numbers of all workers' steps, slowly."""
    import tensorflow as tf

    from tpu.engine import run_phase
    from tpu.phase import Phase
    from tpu.record import Watch
    from tpu.strategy import strategy_for

    strategy = strategy_for("cpu")
    with strategy.scope():
        total = tf.Variable(0.0, aggregation=tf.VariableAggregation.MEAN)

    def step(inputs, step_index):
        total.assign_add(tf.reduce_mean(inputs))
        return {"loss": total.read_value()}

    def batches(start):
        return tf.data.Dataset.range(start, STEPS).map(
            lambda i: tf.fill([4], tf.cast(i, tf.float32))
        )

    phase = Phase(
        name="sum", step=step, variables=[total], steps=STEPS, dataset=batches,
        steps_per_loop=STEPS_PER_LOOP,
    )  # fmt: skip
    slowly = Watch(on_progress=lambda _: time.sleep(0.3))
    try:
        run_phase(phase, strategy, folder / "run", save_every_seconds=1, watch=slowly)
    except RuntimeError as error:
        sys.exit(f"{type(error).__name__}: {error}")
    print(f"total {float(total.numpy())}")


def start(folder: Path, command: Sequence[str]) -> list[subprocess.Popen]:
    """The same command on two hosts of one cluster; they write `folder`/0.txt and 1.txt."""
    with socket.socket() as first, socket.socket() as second:
        for one in (first, second):
            one.bind(("localhost", 0))
        hosts = [f"localhost:{one.getsockname()[1]}" for one in (first, second)]
    workers = []
    for index in (0, 1):
        task = {"cluster": {"worker": hosts}, "task": {"type": "worker", "index": index}}
        with open(folder / f"{index}.txt", "w") as output:
            workers.append(
                subprocess.Popen(
                    [sys.executable, *command],
                    env=os.environ | {"TF_CONFIG": json.dumps(task), "CUDA_VISIBLE_DEVICES": ""},
                    stdout=output,
                    stderr=output,
                )
            )
    return workers


def last_line(folder: Path, index: int) -> str:
    """What a worker said in the end."""
    return (folder / f"{index}.txt").read_text().strip().splitlines()[-1]


def main(_) -> None:
    if _WORK.value:
        work(Path(_WORK.value))
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        command = ["-m", "benchmarks.lost_worker", f"--work={folder}"]
        workers = start(folder, command)
        while not list(folder.glob("run/step-*")) and workers[0].poll() is None:
            time.sleep(0.05)
        workers[1].send_signal(signal.SIGKILL)
        began = time.monotonic()
        code = workers[0].wait(timeout=300)
        print(f"worker 0 ended with code {code} after {time.monotonic() - began:.1f} s:")
        print(last_line(folder, 0))
        message = last_line(folder, 0)
        codes = [worker.wait(timeout=600) for worker in start(folder, command)]
        said = [last_line(folder, index) for index in (0, 1)]
    expected = f"total {float(sum(range(STEPS)))}"
    print(f"after a restart: codes {codes}, {said[0]}; undisturbed: {expected}")
    kept = code == 1 and message.startswith("WorkerLostError: ") and said == [expected] * 2
    sys.exit(not kept)


if __name__ == "__main__":
    app.run(main)
