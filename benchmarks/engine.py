"""What the engine costs: its loop beside a bare one, traces on two devices, start and resume.

    python -m benchmarks.engine

1. Images a second of the engine (compiled loops, history, progress, the input through tf.data)
   / those of a bare `tf.function` loop over the same training step on tensors in memory. Both take
   turns, a compiled loop each; target 0.95.
2. How often the loop is traced on two logical devices, a shorter last loop included; target 1.
3. CPU time of the engine's loops where the C library keeps freed memory (`tpu.host_memory`) / with
   the threshold that TensorFlow sets, in processes that take turns.
4. Seconds from the command to the first finished step of the quickstart's first training, and again
   after a kill; targets 15 and 10. CPU seconds stand beside them: on a busy machine these count.
"""

import contextlib
import dataclasses
import json
import os
import resource
import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path
from unittest import mock

import tensorflow as tf
from absl import app, flags

from configs import quickstart
from keras_nas import pipeline
from keras_nas.context import Context
from keras_nas.journal import read_events
from keras_nas.methods import hardcore_nas
from keras_nas.methods.runtime import Runtime
from tpu.engine import run_phase
from tpu.loop import CompiledLoop
from tpu.phase import Phase
from tpu.record import Watch
from tpu.strategy import strategy_for

_ROUNDS = flags.DEFINE_integer("rounds", 12, "Loops of each kind.", lower_bound=2)
_STEPS = flags.DEFINE_integer("steps", 10, "Steps in a loop.", lower_bound=1)
_OUTPUT = flags.DEFINE_string("output", "runs/benchmarks/engine", "Folder.")
_TABLE = flags.DEFINE_string("table", "", "Latency table of the quickstart; measured if missing.")
_STARTS = flags.DEFINE_integer("starts", 3, "Starts, and resumes after them.", lower_bound=1)
_PARTS = flags.DEFINE_list("parts", ["loop", "traces", "memory", "start"], "What to measure.")
_MEMORY_WORKER = flags.DEFINE_enum(
    "memory_worker", None, ["kept", "given back"], "Be a process of the part `memory`."
)


class Caught(Exception):
    """Brings out the phase that a method would run."""


class CatchingRuntime(Runtime):
    """Runs nothing."""

    def run(self, phase: Phase):
        raise Caught(phase)


def training_phase(strategy: tf.distribute.Strategy, folder: Path) -> Phase:
    """The quickstart's first training, on one batch in memory."""
    config = quickstart.get_config()
    context = Context(config, folder)
    runtime = CatchingRuntime(folder, strategy)
    try:
        hardcore_nas.pretrain(context.space, context.examples, config.pretrain, runtime)
    except Caught as caught:
        phase = caught.args[0]
    batch = next(iter(phase.dataset(0)))
    cached = tf.data.Dataset.from_tensors(batch).repeat()
    return dataclasses.replace(phase, dataset=lambda _: cached, steps_per_loop=_STEPS.value)


def loop_ratio(folder: Path) -> None:
    """Times the engine's loops and bare ones in turns."""
    strategy = strategy_for("cpu")
    steps = _STEPS.value
    phase = training_phase(strategy, folder)
    phase = dataclasses.replace(phase, steps=steps * (_ROUNDS.value + 1))
    inputs = next(iter(phase.dataset(0)))
    step = tf.autograph.experimental.do_not_convert(phase.step)

    @tf.function
    def bare(images, labels):
        loss = 0.0
        for i in tf.range(tf.constant(steps, tf.int64)):
            loss = strategy.run(step, args=((images, labels), i))["loss"]
        return loss

    float(bare(*inputs))  # traced and compiled here
    clocks = (time.perf_counter, time.process_time)
    ratios: list[tuple[float, ...]] = []
    resumed: list[float] = []

    def on_progress(_) -> None:
        nonlocal resumed
        now = [clock() for clock in clocks]
        engine = [b - a for a, b in zip(resumed, now, strict=False)]
        float(bare(*inputs))
        after = [clock() for clock in clocks]
        if engine:  # the first loop was traced
            ratios.append(tuple((c - b) / e for b, c, e in zip(now, after, engine, strict=True)))
        resumed = [clock() for clock in clocks]

    run_phase(phase, strategy, folder / "loop", watch=Watch(on_progress=on_progress))
    for name, values in zip(("wall clock", "CPU time"), zip(*ratios, strict=True), strict=True):
        low, middle, high = statistics.quantiles(values, n=4)
        print(
            f"images a second, engine / bare loop, {name}: {middle:.3f} ({low:.3f} to {high:.3f}), "
            f"{len(values)} pairs of {steps} steps; target 0.95"
        )


def memory_worker(kept: bool, folder: Path) -> None:
    """Prints user and system seconds of a compiled loop after the first, and this process' peak."""
    phase = training_phase(strategy_for("cpu"), folder)
    phase = dataclasses.replace(phase, steps=2 * _STEPS.value)
    with contextlib.nullcontext() if kept else mock.patch("tpu.loop.keep_freed_memory"):
        loop = CompiledLoop(phase, strategy_for("cpu"), 0)
    loop(0, _STEPS.value)  # traced and compiled here
    before = resource.getrusage(resource.RUSAGE_SELF)
    loop(_STEPS.value, _STEPS.value)
    after = resource.getrusage(resource.RUSAGE_SELF)
    seconds = after.ru_utime - before.ru_utime, after.ru_stime - before.ru_stime
    print(json.dumps([*seconds, after.ru_maxrss / 1024]))


def memory_ratio(output: Path) -> None:
    """Processes that keep freed memory and ones that leave TensorFlow's threshold, in turns."""
    command = [sys.executable, "-m", "benchmarks.engine", f"--steps={_STEPS.value}"]
    rows: dict[str, list[list[float]]] = {"kept": [], "given back": []}
    for _ in range(_ROUNDS.value):
        for name, found in rows.items():
            arguments = [f"--memory_worker={name}", f"--output={output}"]
            lines = subprocess.check_output([*command, *arguments], text=True).splitlines()
            found.append(json.loads(lines[-1]))
    for name, found in rows.items():
        user, system, peak = (statistics.median(column) for column in zip(*found, strict=True))
        print(f"memory {name}: {user:.2f} s user, {system:.2f} s system, peak {peak:.0f} MiB")
    pairs = zip(rows["kept"], rows["given back"], strict=True)
    ratios = sorted(sum(kept[:2]) / sum(given[:2]) for kept, given in pairs)
    middle, low, high = statistics.median(ratios), ratios[0], ratios[-1]
    print(
        f"CPU time of {_STEPS.value} steps, memory kept / given back: {middle:.3f} ({low:.3f} to "
        f"{high:.3f}), {len(ratios)} pairs"
    )


def count_traces() -> None:
    """Counts traces on two logical devices."""
    strategy = strategy_for("cpu", num_devices=2)
    with strategy.scope():
        weight = tf.Variable(tf.ones([4, 4]))
    calls = []

    def step(inputs, step_index):
        calls.append(step_index)
        weight.assign_add(0.0 * weight)
        return {"loss": tf.reduce_mean(inputs @ weight)}

    data = tf.data.Dataset.from_tensors(tf.ones([8, 4])).repeat()
    phase = Phase(name="two", step=step, variables=[weight], steps=10, dataset=lambda _: data)
    loop = CompiledLoop(phase, strategy, 0)
    for first, length in ((0, 4), (4, 4), (8, 2)):
        loop(first, length)
    replicas = strategy.num_replicas_in_sync
    print(f"traces on {replicas} devices, 3 loops: {len(calls) / replicas:g}; target 1")


def first_step(arguments: list[str], folder: Path) -> tuple[float, float]:
    """Wall and CPU seconds from the command to its first finished loop of a step; then kills it."""
    seen = len(read_events(folder))
    began = time.monotonic()
    with open(folder.with_suffix(".log"), "a") as log:
        process = subprocess.Popen(arguments, stdout=log, stderr=log)
        while not any(event["event"] == "loop" for event in read_events(folder)[seen:]):
            if process.poll() is not None:
                raise RuntimeError(f"the program ended too early; see {log.name}")
            time.sleep(0.01)
        seconds = time.monotonic() - began
        fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
        process.send_signal(signal.SIGKILL)
        process.wait()
    return seconds, (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def start_and_resume(output: Path) -> None:
    """Times the start of the quickstart and its resume after a kill."""
    table = _TABLE.value
    if not table:
        pipeline.run(quickstart.get_config(), output / "table", ("profile",))
        table = str(output / "table" / "latency_table.json")
    took: dict[str, list[tuple[float, float]]] = {"start": [], "resume": []}
    for repeat in range(_STARTS.value):
        folder = output / f"start-{os.getpid()}-{repeat}"
        arguments = [
            sys.executable, "-m", "keras_nas", "--config=configs/quickstart.py",
            f"--config.device.latency_table={table}", "--steps_per_loop=1", f"--workdir={folder}",
        ]  # fmt: skip
        # A start saves its first step, before it tells of it, so that there is one to resume from.
        saving = [*arguments, "--config.save_every_seconds=0"]
        took["start"].append(first_step(saving, folder))
        took["resume"].append(first_step(arguments, folder))
        assert any(event["event"] == "restored" for event in read_events(folder))
    for (name, found), target in zip(took.items(), (15, 10), strict=True):
        wall, cpu = (statistics.median(column) for column in zip(*found, strict=True))
        print(
            f"{name} to the first step: {wall:.1f} s ({min(found)[0]:.1f} to {max(found)[0]:.1f}), "
            f"{cpu:.1f} s of CPU, {len(found)} times; target {target} s"
        )


def main(_) -> None:
    output = Path(_OUTPUT.value)
    output.mkdir(parents=True, exist_ok=True)
    if _MEMORY_WORKER.value:
        memory_worker(_MEMORY_WORKER.value == "kept", output / f"memory-{os.getpid()}")
        return
    if "traces" in _PARTS.value:
        count_traces()
    if "loop" in _PARTS.value:
        loop_ratio(output / f"loop-{os.getpid()}")
    if "memory" in _PARTS.value:
        memory_ratio(output)
    if "start" in _PARTS.value:
        start_and_resume(output)


if __name__ == "__main__":
    app.run(main)
