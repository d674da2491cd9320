"""A comparison as a page of Markdown: the papers' tables, for one device."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from keras_nas import files
from keras_nas.report.text import DASH, TIMES, count, decimals_for
from keras_nas.space.published import PublishedNetwork
from keras_nas.tools.comparison import REFERENCE, ComparedNetwork, Comparison

PICTURE = "comparison.svg"


def markdown(comparison: Comparison, picture: str | None) -> str:
    """The page.

    Args:
      comparison: the figures.
      picture: file of the plot, next to the page; None: there is none.
    """
    sources = _Sources()
    own = any(network.accuracy is not None for network in comparison.networks)
    rows = [_cells(network, sources, own) for network in comparison.networks]
    columns = ["network", "input", "parameters", "MACs", "**measured latency, ms**"]
    columns += ["own top-1, %"] if own else []
    columns += ["published top-1, %", "published latency, ms"]
    parts = [
        "# Networks measured on this device",
        _how(comparison),
        _table(columns, rows),
        _notes(comparison, own),
        "\n".join(sources.lines()),
    ]
    if picture:
        parts.append(f"![Published accuracy over measured latency]({picture})")
    return "\n\n".join(filter(None, parts)) + "\n"


class _Sources:
    """Numbers sources in the order in which they are first cited."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}

    def cite(self, names: Sequence[str]) -> str:
        """`[1, 3]`."""
        numbers = (self._numbers.setdefault(name, len(self._numbers) + 1) for name in names)
        return f"[{', '.join(map(str, numbers))}]"

    def lines(self) -> list[str]:
        """One item a source."""
        return [f"- [{number}] {name}" for name, number in self._numbers.items()]


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    rule = ["---", *["---:"] * (len(columns) - 2), "---"]
    # A bar inside a cell, as a path may have one, would begin the next cell.
    cells = [[cell.replace("|", "\\|") for cell in row] for row in rows]
    return "\n".join(f"| {' | '.join(row)} |" for row in [columns, rule, *cells])


def _cells(network: ComparedNetwork, sources: _Sources, own: bool) -> list[str]:
    decimals = decimals_for(network.latency_ms)
    latency = f"{network.latency_ms:.{decimals}f} ± {network.spread_ms:.{decimals}f}"
    height, width, _ = network.input_shape
    cells = [
        network.name,
        f"{height}{TIMES}{width}",
        count(network.parameters),
        count(network.macs),
        f"**{latency}**",
    ]
    if own:
        measured = network.accuracy is not None
        cells.append(f"{network.accuracy:.2f} ({network.accuracy_source})" if measured else DASH)
    published = network.published
    if published is None:
        return [*cells, DASH, DASH]
    accuracies = _accuracies(published, sources)
    if accuracies and not network.as_published:
        accuracies += f" at {published.resolution}{TIMES}{published.resolution}"
    latencies = [
        f"{ms:g} ({device}) {sources.cite([result.source])}"
        for result in published.results
        for device, ms in result.latencies_ms
    ]
    return [*cells, accuracies or DASH, "; ".join(latencies) or DASH]


def _accuracies(published: PublishedNetwork, sources: _Sources) -> str:
    """`75.2 [1, 2], 75.8 [3]`."""
    found: dict[float, list[str]] = {}
    for result in published.results:
        if result.top1 is not None:
            found.setdefault(result.top1, []).append(result.source)
    return ", ".join(f"{top1:g} {sources.cite(names)}" for top1, names in found.items())


def _how(comparison: Comparison) -> str:
    device = comparison.device
    threads = f"{comparison.threads} thread{'s' if comparison.threads > 1 else ''}"
    return (
        f"{device.processor}, {device.cores} cores, {device.operating_system}; {device.runtime} "
        f"{device.runtime_version} with {device.delegate}, {comparison.precision}, {threads}, "
        f"batch {comparison.batch}; {comparison.date}."
    )


def _notes(comparison: Comparison, own: bool) -> str:
    notes = [
        "Parameters and MACs are counted, latency is measured: with fresh weights, on whose values "
        f"it does not depend, in {comparison.processes} processes of {comparison.rounds} rounds in "
        "which all networks take turns; ± is the standard deviation between processes. "
        f"{REFERENCE}, which runs in between, took {comparison.reference_ms:.4g} ms.",
        "**Published accuracies (ImageNet, top-1) and latencies are their sources'; nothing of "
        "them was measured here.** Recipes of training and devices differ between sources.",
    ]
    if own:
        notes.append(
            "Own accuracies are the user's, on the user's images: comparable with published ones "
            "only where those are ImageNet's."
        )
    return "\n\n".join(notes)


def write(comparison: Comparison, folder: Path) -> str:
    """Writes page, JSON and picture into a folder, and returns the page.

    There is no picture where no accuracy is known at the resolution that was measured.

    Raises:
      OSError: a file cannot be written.
    """
    from keras_nas.tools import comparison_plot  # importing matplotlib takes a second

    points = comparison_plot.dots(comparison)
    if points:
        picture = comparison_plot.plot(points, comparison.device.processor)
        files.write_bytes(folder / PICTURE, picture)
    else:
        (folder / PICTURE).unlink(missing_ok=True)
    page = markdown(comparison, PICTURE if points else None)
    files.write_json(folder / "comparison.json", comparison.to_json_object())
    files.write_text(folder / "comparison.md", page)
    return page
