"""Whether a phone is fit to be measured: its heat, its clocks, its battery saver.

A hot phone lowers its clocks within seconds, and what is measured then is the heat.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Mapping

THERMAL_STATUS = ("none", "light", "moderate", "severe", "critical", "emergency", "shutdown")
"""Names of Android's thermal statuses."""
SKIN, BATTERY, PROCESSOR = 3, 2, 0
"""Kinds of temperature in Android, in the order in which they tell of throttling to come."""
SLOW_ZONES = re.compile(r"skin|batt|case|shell|quiet|xo.therm", re.IGNORECASE)
"""Names of thermal zones of the kernel that follow the phone's body and not a busy core."""
CLOCKS = ("cpuinfo_max_freq", "scaling_max_freq")
"""Files with the highest clock of a core, kHz: by its design, and as it may run now."""


@dataclasses.dataclass(frozen=True)
class PhoneState:
    """What a phone says of itself.

    Attributes:
      thermal_status: 0 (none) to 6 (shutdown); None where Android is older than 10.
      celsius: of its body, or of its processor where that is not known; None if neither is.
      battery_saver: whether it is on.
      clocks_khz: core -> highest clock by design and now; None for a core that is switched off or
        does not say.
    """

    thermal_status: int | None
    celsius: float | None
    battery_saver: bool
    clocks_khz: Mapping[int, tuple[int, int] | None]

    def throttled(self, usual_khz: Mapping[int, int] | None = None) -> str:
        """Why its speed is not its own, "" if it is.

        Args:
          usual_khz: core -> highest clock that counts as full; by default by design.
        """
        if self.battery_saver:
            return "its battery saver is on"
        for core, clock in self.clocks_khz.items():
            if clock is None:
                return f"core {core} is switched off"
            full = usual_khz[core] if usual_khz else clock[0]
            if clock[1] < full:
                return (
                    f"core {core} may run at {clock[1] / 1e6:.2f} GHz only, instead of "
                    f"{full / 1e6:.2f} GHz"
                )
        if self.thermal_status:
            return f"its thermal status is {THERMAL_STATUS[min(self.thermal_status, 6)]!r}"
        return ""

    def hot(self, limit_celsius: float) -> str:
        """Why it will soon be throttled, "" if it will not."""
        if self.celsius is None or self.celsius <= limit_celsius:
            return ""
        return f"it has {self.celsius:.1f} °C, above {limit_celsius:g} °C"


def state_command(cores: Iterable[int]) -> str:
    """The shell command whose output `read_state` reads.

    Files are read by the shell itself: a phone has up to a hundred thermal zones, and starting a
    program for each would take longer than the measurement.
    """
    clocks = "".join(f"{{ read {name} < $c/{name}; }} 2>/dev/null; " for name in CLOCKS)
    shown = " ".join(f"${name}" for name in CLOCKS)
    return (
        "dumpsys thermalservice; echo @zones; "
        "for z in /sys/class/thermal/thermal_zone*; do type=; temp=; "
        "{ read type < $z/type; read temp < $z/temp; } 2>/dev/null; echo $type $temp; done; "
        "echo @saver $(settings get global low_power); "
        f"for n in {' '.join(map(str, cores))}; do c=/sys/devices/system/cpu/cpu$n/cpufreq; "
        f"{'=; '.join(CLOCKS)}=; {clocks}echo @clock $n {shown}; done"
    )


def read_state(text: str) -> PhoneState:
    """What the output of `state_command` says."""
    service, _, rest = text.partition("@zones")
    zones, _, rest = rest.partition("@saver")
    saver, *clocks = rest.split("@clock")
    status = re.search(r"Thermal Status: (\d+)", service)
    clocks_khz: dict[int, tuple[int, int] | None] = {}
    for core, *khz in map(str.split, clocks):
        numbers = [int(k) for k in khz if k.isdigit()]
        clocks_khz[int(core)] = (numbers[0], numbers[1]) if len(numbers) == len(CLOCKS) else None
    return PhoneState(
        thermal_status=int(status[1]) if status else None,
        celsius=_service_celsius(service) or _zones_celsius(zones),
        battery_saver=saver.strip() == "1",
        clocks_khz=clocks_khz,
    )


def _service_celsius(service: str) -> float | None:
    """The hottest of the first kind that there is, from `dumpsys thermalservice`."""
    current = service.rpartition("Current temperatures from HAL")[2]
    found = re.findall(r"Temperature\{mValue=([-\d.]+), mType=(\d+)", current)
    for kind in (SKIN, BATTERY, PROCESSOR):
        # Sensors that are not there report 0.
        values = [float(value) for value, number in found if int(number) == kind]
        if any(value > 0 for value in values):
            return max(values)
    return None


def _zones_celsius(zones: str) -> float | None:
    """The hottest slow zone, else the hottest; kernels count in degrees, tenths or thousandths."""
    found = re.findall(r"^(\S+) (\d+)$", zones, re.MULTILINE)
    values = {name: _celsius(int(value)) for name, value in found}
    slow = [value for name, value in values.items() if SLOW_ZONES.search(name)]
    return max(slow or values.values(), default=None)


def _celsius(value: float) -> float:
    while value > 150:
        value /= 10
    return value
