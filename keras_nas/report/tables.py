"""Plain HTML tables, and the line that stands where something is missing."""

from __future__ import annotations

from collections.abc import Sequence

from keras_nas.report.text import escape


def table(
    caption: str,
    headers: Sequence[str],
    rows: Sequence[Sequence[str]],
    numbers: Sequence[int] = (),
    kind: str = "",
) -> str:
    """A table whose first column names the row; columns in `numbers` are set flush right. The
    headers of `kind` "quiet" are there for screen readers only."""

    def cell(index: int, content: str) -> str:
        if index == 0:
            return f'<th scope="row">{escape(content)}</th>'
        return f"<td{_number(index)}>{escape(content)}</td>"

    def _number(index: int) -> str:
        return ' class="number"' if index in numbers else ""

    head = "".join(
        f'<th scope="col"{_number(i)}>{escape(header)}</th>' for i, header in enumerate(headers)
    )
    body = "".join(f"<tr>{''.join(cell(i, c) for i, c in enumerate(row))}</tr>" for row in rows)
    title = f"<caption>{escape(caption)}</caption>" if caption else ""
    return (
        f'<div class="scroll"><table class="plain {kind}">{title}<thead><tr>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def missing(sentence: str) -> str:
    """One line in the place of something that the run does not have."""
    return f'<p class="missing">{escape(sentence)}</p>'
