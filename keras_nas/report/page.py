"""The page: headline, then one section a question a reader asks."""

from __future__ import annotations

from collections.abc import Callable

from keras_nas.report import cost_sections, provenance, sections
from keras_nas.report.data import Kept, ReportData, limits_kept, resource_totals
from keras_nas.report.style import STYLE
from keras_nas.report.summary import measured_text
from keras_nas.report.text import (
    DASH,
    TIMES,
    count,
    distance,
    escape,
    file_size,
    lookup,
    milliseconds,
    number,
    percent,
    resource_label,
    resource_value,
    with_spread,
)
from keras_nas.resources.limits import LATENCY, is_latency

SECTIONS: tuple[tuple[str, str, Callable[[ReportData], str]], ...] = (
    ("network", "The found network", sections.network),
    ("choices", "What the search chose", sections.choices),
    ("trajectory", "The search, step by step", sections.trajectory),
    ("latency", "Predicted and measured latency", cost_sections.latency),
    ("accuracy", "Accuracy and training", sections.accuracy),
    ("limit", "The limit in the space", cost_sections.limit),
    ("provenance", "Settings and provenance", provenance.provenance),
)
"""Anchor, heading and content of each section."""


def render(data: ReportData) -> str:
    """The report as one HTML page without external resources.

    What the run does not have is left out, with a line that says so.

    Raises:
      ValueError: the number of piece latencies does not fit the architecture.
    """
    links = "".join(f'<a href="#{anchor}">{title}</a>' for anchor, title, _ in SECTIONS)
    body = "".join(
        f'<section id="{anchor}"><h2>{title}</h2>{content(data)}</section>\n'
        for anchor, title, content in SECTIONS
    )
    header = f'{_headline(data)}<nav aria-label="Sections">{links}</nav>'
    return document(data.title, header, body)


def document(title: str, header: str, body: str) -> str:
    """An HTML page of its own from the content of its header and its sections."""
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n"
        f"<header>{header}</header>\n<main>\n{body}</main>\n</body>\n</html>\n"
    )


def _headline(data: ReportData) -> str:
    parts = [
        f"space {data.space.name}",
        f"{data.classes} classes",
        TIMES.join(map(str, data.input_shape)),
    ]
    processor = lookup(data.table, "device", "processor")
    if processor:
        parts.append(str(processor))
    line = escape(" · ".join(parts))
    kept = limits_kept(data)
    verdicts = "".join(map(_verdict, kept)) or '<p class="verdict open">No limit was set.</p>'
    return f'<h1>{escape(data.title)}</h1><p class="soft">{line}</p>{verdicts}{_tiles(data, kept)}'


def _verdict(kept: Kept) -> str:
    """The banner of one limit: by measurement where there is one, else by prediction."""
    name = resource_label(kept.resource)
    answer = kept.yes()
    if kept.within_spread():
        class_, head = "no", f"Keeps the {name} limit only within the measurement's spread"
    elif answer is None:
        class_, head = "open", f"The {name} limit was not checked"
    elif answer:
        class_, head = "yes", f"✓ Keeps the {name} limit"
    else:
        class_, head = "no", f"✗ Breaks the {name} limit"
    words = {True: "kept", False: "broken", None: "unknown"}
    detail = (
        f"Limit {resource_value(kept.resource, kept.limit)}. "
        f"By prediction: {words[kept.by_prediction()]}"
    )
    if kept.predicted is not None:
        detail += f" ({resource_value(kept.resource, kept.predicted)})"
    if is_latency(kept.resource):
        detail += f". By measurement: {words[kept.by_measurement()]}"
        if kept.measured is not None:
            shown = with_spread(kept.measured, kept.spread)
            detail += f" ({shown}, {distance(kept.measured, kept.limit)})"
    return f'<p class="verdict {class_}">{escape(head)}<span>{escape(detail)}.</span></p>'


def _tiles(data: ReportData, kept: list[Kept]) -> str:
    totals = resource_totals(data)
    final = data.final_accuracy()
    models = [(name, size) for name, size in data.files if name.endswith(".tflite")]
    limits = {row.resource: row.limit for row in kept}
    limit_text = f"limit {milliseconds(limits[LATENCY])}" if LATENCY in limits else "no limit"
    tiles = [
        (
            "Test accuracy",
            percent(final[1]) if final else DASH,
            f"after {final[0]}" if final else "no stage reports it",
        ),
        ("Measured latency", *_measured(data)),
        ("Predicted latency", milliseconds(totals[LATENCY]), limit_text),
        ("MACs", count(totals["macs"]), "for one image"),
        ("Parameters", count(totals["parameters"]), "trainable"),
        (
            "Download",
            file_size(models[0][1]) if models else DASH,
            models[0][0] if models else "not exported",
        ),
    ]
    items = "".join(
        f"<div><dt>{escape(name)}</dt><dd>{escape(value)}<small>{escape(note)}</small></dd></div>"
        for name, value, note in tiles
    )
    return f'<dl class="tiles">{items}</dl>'


def _measured(data: ReportData) -> tuple[str, str]:
    """Measured latency, and its spread or that there is none."""
    value, separator, spread = measured_text(data).partition(" ± ")
    if number(data.measurement, "latency_ms") is None:
        return DASH, value
    return value, f"± {spread} spread" if separator else "without a spread"
