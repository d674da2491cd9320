"""The last section: where the numbers come from, and what it takes to get them again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from keras_nas.report.data import ReportData
from keras_nas.report.tables import missing, table
from keras_nas.report.text import file_size, lookup, milliseconds, number

_TABLE_FIELDS = (
    "method",
    "date",
    "precision",
    "threads",
    "batch",
    "input_shape",
    "classes",
    "space_name",
    "space_fingerprint",
    "scale",
)
_SEARCH_FIELDS = ("method", "space", "space_fingerprint", "seed")
_MEASUREMENT_FIELDS = ("date", "threads")


def provenance(data: ReportData) -> str:
    """Device, latency table, measurement, files, versions and settings."""
    groups = [
        _group(
            "Device", _pairs(lookup(data.table, "device") or lookup(data.measurement, "device"))
        ),
        _group("Latency table", _latency_table(data.table)),
        _group("Search", _fields(data.search, _SEARCH_FIELDS)),
        _group("Measurement", _measurement(data.measurement)),
        _group(
            "Files",
            [(name, file_size(size)) for name, size in data.files],
            f"in {data.directory}" if data.directory else "",
        ),
        _group("Versions", _pairs(data.versions)),
    ]
    settings = _group("Settings", _pairs(data.settings))
    classes = _group("Classes", [(str(i), str(n)) for i, n in enumerate(data.class_names)][:100])
    rest = len(data.class_names) - 100
    more = missing(f"And {rest} more classes.") if rest > 0 else ""
    return (
        f'<div class="grid">{"".join(groups)}</div>'
        f'<div class="grid">{settings}<div>{classes}{more}</div></div>'
    )


def _latency_table(content: Mapping[str, Any]) -> list[tuple[str, str]]:
    rows = _fields(content, _TABLE_FIELDS)
    for key in ("reference_ms", "overhead_ms"):
        if key in content:
            rows.append((_words(key.removesuffix("_ms")), milliseconds(number(content, key))))
    if content.get("entries"):
        rows.append(("entries", str(len(content["entries"]))))
    return rows


def _measurement(content: Mapping[str, Any]) -> list[tuple[str, str]]:
    rows = _fields(content, _MEASUREMENT_FIELDS)
    samples = content.get("samples_ms")
    if samples:
        rows.append(("processes", str(len(samples))))
    if "raw_ms" in content:
        rows.append(("clock time", milliseconds(number(content, "raw_ms"))))
    return rows


def _group(title: str, rows: Sequence[tuple[str, str]], note: str = "") -> str:
    if not rows:
        return f"<div>{missing(f'{title}: not recorded.')}</div>"
    caption = f"{title} {note}".strip()
    return f"<div>{table(caption, ('name', 'value'), rows, kind='quiet')}</div>"


def _fields(content: Mapping[str, Any], names: Sequence[str]) -> list[tuple[str, str]]:
    return [(_words(name), _shown(content[name])) for name in names if name in content]


def _pairs(content: Mapping[str, Any] | None) -> list[tuple[str, str]]:
    return [(str(name), _shown(value)) for name, value in (content or {}).items()]


def _words(name: str) -> str:
    return name.replace("_", " ")


def _shown(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(map(_shown, value)) or "none"
    return f"{value:g}" if isinstance(value, float) else str(value)
