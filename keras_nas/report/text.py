"""Numbers and strings as a reader sees them; what is missing or not finite becomes a dash."""

from __future__ import annotations

import html
import math
from collections.abc import Mapping
from typing import Any

from keras_nas.resources.limits import LATENCY, device_of, is_latency

DASH = "–"
TIMES = "×"
_UNITS = {LATENCY: "ms", "tflite_bytes": "bytes", "peak_memory_bytes": "bytes"}
_LABELS = {
    LATENCY: "latency",
    "macs": "MACs",
    "tflite_bytes": "file size",
    "peak_memory_bytes": "peak activation memory",
}


def escape(value: object) -> str:
    """Text that is safe inside HTML elements and attributes."""
    return html.escape(str(value), quote=True)


def finite(value: Any) -> float | None:
    """The value as a float; None where it is missing, not a number or not finite."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)


def lookup(value: Any, *keys: str) -> Any:
    """`value[key1][key2]...`; None where a key, or a mapping on the way, is missing."""
    for key in keys:
        if not isinstance(value, Mapping):
            return None
        value = value.get(key)
    return value


def number(value: Any, *keys: str) -> float | None:
    """`lookup`, then `finite`."""
    return finite(lookup(value, *keys))


def decimals_for(value: float | None) -> int:
    """Decimals that show four significant digits of `value`, at most five."""
    if not value:
        return 3
    return min(5, max(0, 3 - math.floor(math.log10(abs(value)))))


def fixed(value: float | None, decimals: int) -> str:
    """A number with so many decimals."""
    return DASH if value is None else f"{value:.{decimals}f}"


def milliseconds(value: float | None) -> str:
    """`7.943 ms`, four significant digits."""
    return DASH if value is None else f"{value:.{decimals_for(value)}f} ms"


def with_spread(value: float | None, spread: float | None) -> str:
    """`7.943 ms ± 0.04 ms`; without a spread just the value."""
    return milliseconds(value) + ("" if spread is None else f" ± {spread:.2g} ms")


def distance(value: float, limit: float) -> str:
    """`0.6% below`: how far a value is from a limit."""
    return f"{abs(value / limit - 1):.1%} {'above' if value > limit else 'below'}"


def percent(value: float | None, decimals: int = 1) -> str:
    """A fraction as `97.8%`."""
    return DASH if value is None else f"{100 * value:.{decimals}f}%"


def signed_percent(value: float | None, decimals: int = 1) -> str:
    """A fraction as `+1.2%`."""
    return DASH if value is None else f"{100 * value:+.{decimals}f}%"


def count(value: float | None) -> str:
    """A large number as `56.3 M`, three significant digits."""
    if value is None:
        return DASH
    for size, unit in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if abs(value) >= size:
            return _three_digits(value / size) + unit
    return f"{value:g}"


def file_size(size: float | None) -> str:
    """Bytes as `5.31 MB` (powers of 1000)."""
    if size is None:
        return DASH
    for unit, name in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if size >= unit:
            return f"{_three_digits(size / unit)} {name}"
    return f"{size:g} B"


def duration(seconds: float | None) -> str:
    """Seconds as `12.3 s`, `4 min 05 s` or `2 h 05 min`."""
    if seconds is None:
        return DASH
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def resource_label(resource: str) -> str:
    """A resource's name for people: `latency_ms` -> `latency`."""
    if is_latency(resource) and (device := device_of(resource)):
        return f"{_LABELS[LATENCY]} on {device}"
    return _LABELS.get(resource, resource.replace("_", " "))


def resource_value(resource: str, value: float | None) -> str:
    """A resource's value with its unit."""
    unit = _UNITS[LATENCY] if is_latency(resource) else _UNITS.get(resource, "")
    return {"ms": milliseconds, "bytes": file_size}.get(unit, count)(value)


def _three_digits(value: float) -> str:
    return f"{value:.{max(0, 2 - math.floor(math.log10(abs(value))))}f}"
