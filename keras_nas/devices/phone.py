"""A phone over adb: what it is, and waiting until it is fit to be measured."""

from __future__ import annotations

import dataclasses
import functools
import time
from collections.abc import Sequence

from keras_nas.devices.adb import NOTICE_SECONDS, Adb
from keras_nas.devices.benchmark_model import last_line
from keras_nas.devices.device import DeviceError
from keras_nas.devices.phone_state import PhoneState, read_state, state_command

COOL_SECONDS = 5.0
"""Between two looks whether the phone has cooled down."""
FACTS = (
    "ro.product.manufacturer",
    "ro.product.model",
    "ro.soc.model",
    "ro.product.cpu.abi",
    "ro.build.version.release",
)
"""System properties that say what a phone is."""


@dataclasses.dataclass(frozen=True)
class Facts:
    """What a phone is.

    Attributes:
      name: maker, model, and chip where Android says it (12 and later).
      abi: what its binaries are built for, e.g. `arm64-v8a`.
      release: version of Android.
      cores: number of cores.
    """

    name: str
    abi: str
    release: str
    cores: int


class Phone:
    """What is known of a phone, and its state.

    Args:
      adb: its connection.
      cores: that have to run at their full clock; none for all.
      highest_celsius: temperature up to which it is fit.
      capped_clock: the highest clock at the first look counts as full, not the processor's.
    """

    def __init__(
        self, adb: Adb, cores: Sequence[int], highest_celsius: float, capped_clock: bool
    ) -> None:
        self._adb = adb
        self._cores = cores
        self._highest_celsius = highest_celsius
        self._capped_clock = capped_clock

    @property
    def name(self) -> str:
        """For messages."""
        return f"phone {self._adb.serial}"

    @functools.cached_property
    def facts(self) -> Facts:
        """What it is.

        Raises:
          DeviceError: it does not say, or cannot be reached.
        """
        asked = "; ".join(f"getprop {name}" for name in FACTS)
        _, text = self._adb.shell(f"{asked}; cat /sys/devices/system/cpu/present")
        lines = [line.strip() for line in text.splitlines()]
        last_core = lines[-1].rpartition("-")[2] if lines else ""  # of `0-7`
        if len(lines) != len(FACTS) + 1 or not last_core.isdigit() or not all(lines[3:]):
            raise DeviceError(
                f"{self.name} does not say what it is: its answer ends with {last_line(text)!r}. "
                "Run `adb shell getprop` to see why."
            )
        maker, model, chip, abi, release, _ = lines
        return Facts(" ".join(f"{maker} {model} {chip}".split()), abi, release, int(last_core) + 1)

    @property
    def cap(self) -> str:
        """The clock that counts as full where it is not the processor's, for descriptions."""
        clocks = self._full_clocks
        return f", {max(clocks.values()) / 1e6:.2f} GHz" if clocks else ""

    def throttled(self) -> str:
        """Why its speed is not its own now, "" if it is."""
        return self._state().throttled(self._full_clocks)

    def wait_until_fit(self) -> None:
        """Returns when the phone is cool and at its full speed.

        Raises:
          DeviceError: its battery saver is on, or it did not become fit in time.
        """
        began = noticed = time.monotonic()
        while True:
            state = self._state()
            reason = state.throttled(self._full_clocks) or state.hot(self._highest_celsius)
            if not reason:
                return
            if state.battery_saver:
                raise DeviceError(f"{self.name}: {reason}, which slows it down; switch it off.")
            now = time.monotonic()
            if now - began > self._adb.wait_seconds:
                raise DeviceError(
                    f"{self.name} is not at its own speed after {now - began:.0f} s of waiting: "
                    f"{reason}. Cool it; or, if it is always like this, see "
                    "device.android.highest_celsius and device.android.capped_clock."
                )
            if now - noticed >= NOTICE_SECONDS:
                noticed = now
                self._adb.notify(
                    f"{self.name}: {reason}; waiting, {now - began:.0f} of "
                    f"{self._adb.wait_seconds:g} s"
                )
            time.sleep(COOL_SECONDS)

    @functools.cached_property
    def _full_clocks(self) -> dict[int, int] | None:
        """The highest clocks at the first look, where those count as full."""
        state = self._state()
        if state.celsius is None and state.thermal_status is None:
            self._adb.notify(f"{self.name} does not say how hot it is; only its clocks are watched")
        if not self._capped_clock:
            return None
        return {core: khz[1] for core, khz in state.clocks_khz.items() if khz}

    def _state(self) -> PhoneState:
        cores = self._cores or range(self.facts.cores)
        return read_state(self._adb.shell(state_command(cores))[1])
