"""An Android phone as a device: TFLite's `benchmark_model`, driven over adb."""

from __future__ import annotations

import contextlib
import hashlib
import random
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TypeVar

from keras_nas.devices.adb import Adb, print_notice
from keras_nas.devices.benchmark_model import (
    OperationTime,
    UnreadableOutput,
    inference_ms,
    last_line,
    operation_times,
)
from keras_nas.devices.device import DeviceError, Profile, Run
from keras_nas.devices.phone import Phone
from keras_nas.resources import DeviceDescription
from keras_nas.space.values import positive_integer

FOLDER = "/data/local/tmp/keras_nas"
"""On the phone; holds what was pushed, and is removed with it."""
BINARY = "benchmark_model"
DOWNLOAD = (
    "https://storage.googleapis.com/tensorflow-nightly-public/prod/tensorflow/release/lite/tools/"
    "nightly/latest/android_aarch64_benchmark_model"
)
MODELS_PER_REFERENCE = 6
"""The reference network runs again before every so many models; they are one group, measured again
when the phone was throttled at its end."""
GROUP_TRIES = 4
TIMING = "--num_runs=5 --min_secs=0.25 --warmup_runs=1 --warmup_min_secs=0.2"
"""One sample: the average over a quarter of a second at least, at a clock that had time to rise."""
RUN_SECONDS = 400.0
"""For one model; benchmark_model itself ends after twice 150 s."""

REFERENCE = "the reference network"

T = TypeVar("T")


class AndroidDevice:
    """Times models on a phone, each sample in a fresh process of `benchmark_model`.

    A sample is the average wall-clock time of a quarter of a second of calls. Before every six
    models the phone is looked at: measuring waits until it is cool and at its full clock, and what
    was measured while it was throttled is measured again.

    Args:
      serial: of the phone, as `adb devices` shows it; "" takes the only one.
      threads: of the runtime.
      benchmark_model: the binary on this machine, built for the phone.
      taskset_mask: cores it may run on, hexadecimal, the lowest bit for core 0; "" leaves it to the
        phone.
      xnnpack: use the XNNPACK delegate.
      highest_celsius: the phone's temperature up to which measuring begins.
      capped_clock: take the highest clock that the phone has at the start for its full one, even
        below the processor's; for phones whose clock is fixed on purpose.
      wait_seconds: how long to wait for the phone to come back or cool down, each time.
      notify: receives lines on what is waited for.

    Raises:
      ValueError: a bad number of threads, mask, temperature or time.
    """

    format = "tflite"
    batch = 1

    def __init__(
        self,
        serial: str = "",
        *,
        threads: int = 1,
        benchmark_model: str = "android_aarch64_benchmark_model",
        taskset_mask: str = "",
        xnnpack: bool = True,
        highest_celsius: float = 40.0,
        capped_clock: bool = False,
        wait_seconds: float = 600.0,
        notify: Callable[[str], None] = print_notice,
    ) -> None:
        positive_integer(threads, "number of threads")
        for value, name in ((highest_celsius, "highest_celsius"), (wait_seconds, "wait_seconds")):
            if not value > 0:
                raise ValueError(f"{name} should be above 0, received {value}.")
        self.threads = threads
        self._cores = _cores_of(taskset_mask)
        if self._cores and threads > len(self._cores):
            raise ValueError(
                f"{threads} threads need as many cores, and taskset mask {taskset_mask} has "
                f"{len(self._cores)}; set more bits."
            )
        self._mask = f"{int(taskset_mask, 16):x}" if taskset_mask else ""
        self._binary = Path(benchmark_model)
        self._xnnpack = xnnpack
        self._adb = Adb(serial, wait_seconds=wait_seconds, notify=notify)
        self._phone = Phone(self._adb, self._cores, highest_celsius, capped_clock)

    def describe(self) -> DeviceDescription:
        """See `Device`. The version is a digest of the binary, which does not state its own."""
        digest = hashlib.sha256(self._binary_bytes()).hexdigest()[:16]
        facts = self._phone.facts
        pinned = f", cores of mask {self._mask}" if self._mask else ""
        return DeviceDescription(
            name="android",
            processor=facts.name + pinned + self._phone.cap,
            cores=facts.cores,
            operating_system=f"Android {facts.release} {facts.abi}",
            runtime="TFLite benchmark_model",
            runtime_version=f"sha256 {digest}",
            delegate="XNNPACK" if self._xnnpack else "none",
        )

    def run(
        self,
        models: Mapping[str, Path],
        reference: Path,
        *,
        rounds: int,
        seed: int,
        on_round: Callable[[int], None],
    ) -> Run:
        """See `Device`; here each sample has a fresh process of its own."""
        with self._pushed(models, reference) as files:
            ms, reference_ms = self._rounds(files, self._inference_ms, rounds, seed, on_round)
        return Run(ms, reference_ms)

    def profile(
        self,
        models: Mapping[str, Path],
        reference: Path,
        *,
        rounds: int,
        seed: int,
        on_round: Callable[[int], None],
    ) -> Profile:
        """See `ProfilingDevice`; times are averages over the calls of a sample."""
        with self._pushed(models, reference) as files:
            profiles, reference_ms = self._rounds(
                files, self._operation_times, rounds, seed, on_round
            )
        kinds = {}
        for name, rows in profiles.items():
            kinds[name], *others = ([operation.kind for operation in row] for row in rows)
            if any(other != kinds[name] for other in others):
                raise DeviceError(
                    f"the operations of {name} differ from one run on the phone to the next; take "
                    "another benchmark_model."
                )
        ms = {name: [[o.ms for o in row] for row in rows] for name, rows in profiles.items()}
        return Profile(kinds, ms, reference_ms)

    def _rounds(
        self,
        files: Mapping[str, str],
        sample: Callable[[str, str], T],
        rounds: int,
        seed: int,
        on_round: Callable[[int], None],
    ) -> tuple[dict[str, list[T]], dict[str, list[float]]]:
        """Samples of every model, one a round, and the reference network's time next to each."""
        generator = random.Random(seed)
        order = [name for name in files if name != REFERENCE]
        samples: dict[str, list[T]] = {name: [] for name in order}
        reference_ms: dict[str, list[float]] = {name: [] for name in order}
        for done in range(1, rounds + 1):
            generator.shuffle(order)
            for start in range(0, len(order), MODELS_PER_REFERENCE):
                names = order[start : start + MODELS_PER_REFERENCE]
                reference_now, group = self._group(files, names, sample)
                for name, value in zip(names, group, strict=True):
                    samples[name].append(value)
                    reference_ms[name].append(reference_now)
            on_round(done)
        return samples, reference_ms

    def _group(
        self, files: Mapping[str, str], names: list[str], sample: Callable[[str, str], T]
    ) -> tuple[float, list[T]]:
        """The reference network's time and a sample of each model, at the phone's full speed."""
        reason = ""
        for _ in range(GROUP_TRIES):
            self._phone.wait_until_fit()
            reference_ms = self._inference_ms(REFERENCE, files[REFERENCE])
            samples = [sample(name, files[name]) for name in names]
            reason = self._phone.throttled()
            if not reason:
                return reference_ms, samples
            self._adb.notify(f"{self._phone.name}: {reason} after measuring; measuring again")
        raise DeviceError(
            f"{self._phone.name} slows down after seconds of work, {GROUP_TRIES} times in a row "
            f"({reason}); cool it, or pin it to smaller cores with device.android.taskset_mask."
        )

    def _inference_ms(self, name: str, file: str) -> float:
        text = self._execute(name, file, "")
        try:
            return inference_ms(text)
        except UnreadableOutput as error:
            raise DeviceError(_unreadable(name, error)) from None

    def _operation_times(self, name: str, file: str) -> list[OperationTime]:
        # Only the file has all digits of short times. Versions that do not know it print a table.
        flags = "--enable_op_profiling=true --profiling_output_csv_file=profile.csv"
        text = self._execute(name, file, flags, "cat profile.csv 2>/dev/null; rm -f profile.csv")
        try:
            return operation_times(text)
        except UnreadableOutput as error:
            raise DeviceError(_unreadable(name, error)) from None

    def _execute(self, name: str, file: str, flags: str, after: str = "true") -> str:
        """What benchmark_model, and a command after it, print.

        Raises:
          DeviceError: it failed.
        """
        pin = f"taskset {self._mask} " if self._mask else ""
        code, text = self._adb.shell(
            f"cd {FOLDER} && {pin}./{BINARY} --graph={file} --num_threads={self.threads} "
            f"--use_xnnpack={str(self._xnnpack).lower()} {TIMING} {flags}; code=$?; {after}; "
            "exit $code",
            RUN_SECONDS,
        )
        if code == 0:
            return text
        if code in (126, 127):  # the shell cannot run it
            raise DeviceError(
                f"{self._phone.name} cannot run {self._binary}: {last_line(text)}. Take the "
                f"benchmark_model that is built for {self._phone.facts.abi}."
            )
        how = f"was killed by signal {code - 128}" if code > 128 else f"failed with code {code}"
        raise DeviceError(f"benchmark_model {how} on model {name}: {last_line(text)}")

    @contextlib.contextmanager
    def _pushed(self, models: Mapping[str, Path], reference: Path) -> Iterator[dict[str, str]]:
        """Name -> file in `FOLDER` on the phone, which is removed at the end."""
        self._binary_bytes()
        count = self._phone.facts.cores
        beyond = [core for core in self._cores if core >= count]
        if beyond:
            raise DeviceError(
                f"taskset mask {self._mask} names core {beyond[0]}, and {self._phone.name} has "
                f"cores 0 to {count - 1}; clear that bit."
            )
        paths = {REFERENCE: reference, **models}
        files = {name: f"{number}.tflite" for number, name in enumerate(paths)}
        try:
            self._adb.shell(f"rm -rf {FOLDER}; mkdir -p {FOLDER}")
            self._adb.push(self._binary, f"{FOLDER}/{BINARY}")
            self._adb.shell(f"chmod 755 {FOLDER}/{BINARY}")
            for name, path in paths.items():
                self._adb.push(path, f"{FOLDER}/{files[name]}")
            yield files
        finally:
            self._adb.remove(FOLDER)

    def _binary_bytes(self) -> bytes:
        try:
            return self._binary.read_bytes()
        except OSError:
            raise DeviceError(
                f"no benchmark_model for the phone at {self._binary}; get it by "
                f"`curl -O {DOWNLOAD}` (64-bit Arm), or name yours in "
                "device.android.benchmark_model."
            ) from None


def _cores_of(mask: str) -> list[int]:
    """Cores whose bit is set in a hexadecimal mask; none for ""."""
    if not mask:
        return []
    try:
        value = int(mask, 16)
    except ValueError:
        value = 0
    if value <= 0:
        raise ValueError(
            f"taskset mask should be hexadecimal with a bit for each core, such as f0 for cores 4 "
            f"to 7; received {mask!r}."
        )
    return [core for core in range(value.bit_length()) if value >> core & 1]


def _unreadable(name: str, error: UnreadableOutput) -> str:
    return f"benchmark_model on model {name} printed {error}."
