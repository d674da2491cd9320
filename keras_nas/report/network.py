"""The found network drawn block by block, with each piece's share of the latency."""

from __future__ import annotations

import dataclasses
import itertools

from keras_nas.report import svg
from keras_nas.report.charts import bar, legend
from keras_nas.report.data import ReportData
from keras_nas.report.text import DASH, TIMES, decimals_for, fixed, percent
from keras_nas.space import Architecture, Block, Head, Piece, StagedSpace, Stem

_WIDTH, _HEIGHT = 156, 36
_COLOURS = 4


@dataclasses.dataclass(frozen=True)
class _Row:
    name: str
    piece: Piece
    latency_ms: float | None


def network_table(data: ReportData) -> str:
    """A table of all pieces from input to classes: shape, configuration, size, latency share.

    The shapes are drawn to one scale: widths are channels, at a block's input, inside it
    (expansion) and at its output. The shares of pieces and overhead add up to the predicted
    latency.
    """
    parts = data.pieces()
    latencies = data.piece_latencies_ms()
    names = _names(data.space, data.architecture)
    rows = [
        _Row(name, piece, latencies[i] if latencies else None)
        for i, (name, piece) in enumerate(zip(itertools.chain(*names), parts, strict=True))
    ]
    colours = kernel_colours(data)
    widest = max(max(_widths(piece)) for piece in parts)
    total = data.predicted_ms()
    longest = max([*(latencies or ()), data.overhead_ms()])
    bodies, first = [], 0
    for group in names:
        cells = "".join(
            _row_html(row, widest, colours, longest, total)
            for row in rows[first : first + len(group)]
        )
        bodies.append(f"<tbody>{cells}</tbody>")
        first += len(group)
    keys = legend([(f"k{colour}", f"{size}{TIMES}{size}") for size, colour in colours.items()])
    return (
        "<p>Widths of the shapes are channels: at the input of a block, inside it, and at its "
        "output. A bracket is a residual connection.</p>"
        f'<p class="scale">depthwise kernel {keys}</p>'
        '<div class="scroll"><table class="network"><caption class="hidden">Blocks of the network'
        "</caption>"
        f"<thead>{_HEAD}</thead>{''.join(bodies)}{_totals(data, longest, total)}</table></div>"
    )


def kernel_colours(data: ReportData) -> dict[int, int]:
    """Colour number of each kernel size of the space's and the network's blocks."""
    blocks = [block for block in data.architecture.blocks() if block.has_depthwise]
    used = {max(block.kernel_sizes) for block in blocks}
    sizes = sorted(used | set(data.space.kernel_sizes))
    return {size: index % _COLOURS for index, size in enumerate(sizes)}


_HEAD = (
    '<tr><th scope="col">block</th><th scope="col" class="shape">shape</th>'
    '<th scope="col">kernel</th><th scope="col"><abbr title="expansion ratio">exp.</abbr></th>'
    '<th scope="col"><abbr title="squeeze-and-excitation">SE</abbr></th>'
    '<th scope="col" class="number size">channels</th>'
    '<th scope="col" class="number size">output</th>'
    '<th scope="col" class="wide">latency</th><th scope="col" class="number">ms</th>'
    '<th scope="col" class="number">share</th></tr>'
)


def _names(space: StagedSpace, architecture: Architecture) -> list[list[str]]:
    """Row names by group: stem, each stage, head. Elastic stages count from 1, as in the maps."""
    before = len(space.first_stages)
    groups = [["stem"]]
    for index, stage in enumerate(architecture.stages):
        number = index - before + 1
        if 1 <= number <= len(space.stages):
            groups.append([f"{number}.{i + 1}" for i in range(len(stage))])
        else:
            groups.append(["fixed"] * len(stage))
    return [*groups, ["head"]]


def _row_html(
    row: _Row, widest: int, colours: dict[int, int], longest: float, total: float | None
) -> str:
    piece, part = row.piece, row.piece.part
    kernel = expansion = se = size = DASH
    stride = 1
    if not isinstance(part, Head):
        kernel = ", ".join(f"{size}{TIMES}{size}" for size in part.kernel_sizes)
        stride = part.stride
    if isinstance(part, Block) and part.has_expansion:
        fixed = part.fixed_middle_channels / piece.input_shape[2]
        expansion = f"{TIMES}{fixed or part.expansion_ratio:.4g}"
    if isinstance(part, Block) and part.se_ratio:
        se = '<span class="pill">SE</span>'
    height, width, channels = piece.output_shape
    size = "classes" if isinstance(part, Head) else f"{height}{TIMES}{width}"
    down = '<span class="down" title="stride 2">↓</span> ' if stride == 2 else ""
    return (
        f'<tr><th scope="row">{row.name}</th>'
        f'<td class="shape">{_shape(piece, widest, colours)}</td>'
        f"<td>{kernel}</td><td>{expansion}</td><td>{se}</td>"
        f'<td class="number size">{channels}</td><td class="number size">{down}{size}</td>'
        f"{_latency_cells(row.latency_ms, longest, total, _colour(piece, colours))}</tr>"
    )


def _latency_cells(
    latency_ms: float | None, longest: float, total: float | None, colour: str = "plain"
) -> str:
    if latency_ms is None or not total:
        return f'<td class="wide"></td><td class="number">{DASH}</td><td class="number">{DASH}</td>'
    share = bar(latency_ms / longest if longest else 0.0, colour)
    shown = fixed(latency_ms, decimals_for(total))
    return (
        f'<td class="wide">{share}</td><td class="number">{shown}</td>'
        f'<td class="number">{percent(latency_ms / total)}</td>'
    )


def _totals(data: ReportData, longest: float, total: float | None) -> str:
    if total is None:
        return ""
    overhead = data.overhead_ms()
    name = '<th scope="row" colspan="5">{}</th><td class="size"></td><td class="size"></td>'
    return (
        f"<tbody><tr>{name.format('runtime overhead')}{_latency_cells(overhead, longest, total)}"
        f'</tr></tbody><tfoot><tr>{name.format("predicted latency")}<td class="wide"></td>'
        f'<td class="number">{fixed(total, decimals_for(total))}</td>'
        '<td class="number">100.0%</td></tr></tfoot>'
    )


def _colour(piece: Piece, colours: dict[int, int]) -> str:
    """Class of a piece: by kernel where it has a depthwise convolution."""
    part = piece.part
    if isinstance(part, Block) and part.has_depthwise:
        return f"k{colours[max(part.kernel_sizes)]}"
    return "plain"


def _widths(piece: Piece) -> tuple[int, int, int]:
    """Channels at input, inside, and at output."""
    part, channels = piece.part, piece.input_shape[2]
    if isinstance(part, Head):
        return channels, part.features or channels, piece.output_shape[2]
    if isinstance(part, Stem):
        return channels, channels, part.channels
    return channels, part.middle_channels(channels), part.channels


def _shape(piece: Piece, widest: int, colours: dict[int, int]) -> str:
    """The outline of a piece; an inverted residual is wide in the middle."""
    before, inside, after = (
        max(1.0, (_WIDTH / 2 - 10) * width / widest) for width in _widths(piece)
    )
    part, middle = piece.part, _WIDTH / 2
    waist = [] if isinstance(part, Stem) else [(inside, 0.3), (inside, 0.7)]
    sides = [(before, 0.0), *waist, (after, 1.0)]
    left = [(middle - half, share * _HEIGHT) for half, share in sides]
    right = [(middle + half, share * _HEIGHT) for half, share in reversed(sides)]
    shape = svg.polygon(left + right, f"piece {_colour(piece, colours)}")
    if isinstance(part, Block) and part.has_residual(piece.input_shape[2]):
        x = middle - max(before, inside, after) - 9
        curve = f"M{middle - before:.1f} 1.5H{x + 5:.1f}Q{x:.1f} 1.5 {x:.1f} 7V{_HEIGHT - 7}"
        curve += f"Q{x:.1f} {_HEIGHT - 1.5} {x + 5:.1f} {_HEIGHT - 1.5}H{middle - after:.1f}"
        shape += svg.element("path", d=curve, class_="residual")
    widths = "{} channels in, {} inside, {} out".format(*_widths(piece))
    # Stretched to the row on a narrow screen, so that the outline stays unbroken.
    return svg.drawing(_WIDTH, _HEIGHT, shape, widths, preserveAspectRatio="none")
