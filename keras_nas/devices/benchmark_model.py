"""Reads what TFLite's `benchmark_model` prints: times of whole models and of single operations.

Its formats changed over the years: since 2023 a profile has no column `start`, and names of
operations hold commas. Tables and CSV, old and new, are read by one pattern.
"""

from __future__ import annotations

import dataclasses
import itertools
import re

REGULAR_RUNS = "Regular Benchmark Runs:"
"""Ends the title of the profile that counts; the one before it is of loading the model."""
RUN_ORDER = re.compile(r"=+ Run Order =+[ \r]*\n.*\n?")
"""Title and header of the operations in the order in which they ran."""
RUNS = re.compile(r"^(?:INFO: )?count=\d+ (?:.*\bavg=(\S+)|curr=(\S+))", re.MULTILINE)
"""A line like `count=67 first=7176 curr=7505 min=6373 max=7775 avg=7454.97 std=256`, in
microseconds; where the model ran once, it has `curr` only."""

_BETWEEN = r"[ ]*[,\t]\s*"
_NUMBER = r"-?(?:[\d.]+(?:e[-+]\d+)?|nan|inf)"
ROW = re.compile(
    # Kind, start (old formats only), first ms, average ms, %, cumulated %, KB, times called, name.
    # The kind may hold commas, so what follows it is recognised by its numbers.
    rf"\s*(?P<kind>\S.*?){_BETWEEN}(?:{_NUMBER}{_BETWEEN}){{1,2}}(?P<ms>{_NUMBER}){_BETWEEN}"
    rf"{_NUMBER}%{_BETWEEN}{_NUMBER}%{_BETWEEN}{_NUMBER}{_BETWEEN}(?P<calls>\d+)(?:{_BETWEEN}.*)?"
)
UNDIVIDED = re.compile(r"(TfLite\w*)?delegate(/.*)?", re.IGNORECASE)
"""Kind of a delegate that is profiled as one operation."""


class UnreadableOutput(ValueError):
    """Text that is not what `benchmark_model` prints, or holds no usable numbers."""


@dataclasses.dataclass(frozen=True)
class OperationTime:
    """One row of a profile.

    Attributes:
      kind: as the runtime names it, e.g. `Convolution (NHWC, F32) IGEMM` or `CONV_2D`.
      ms: average time over the runs.
    """

    kind: str
    ms: float


def inference_ms(text: str) -> float:
    """Average time of one call of the model, without warm-up, ms.

    Raises:
      UnreadableOutput: no such time was printed, or it is 0.
    """
    runs = RUNS.findall(text)
    if len(runs) < 2:  # the warm-up, then the runs that count
        raise UnreadableOutput(f"no times of its runs; it ends with {last_line(text)!r}")
    average_us, single_us = runs[-1]
    ms = _finite(average_us or single_us) / 1000
    if ms == 0:
        raise UnreadableOutput("a time of 0, since the model is faster than its clock can see")
    return ms


def operation_times(text: str) -> list[OperationTime]:
    """The profile of the regular runs in the order in which operations ran, from a table or CSV.

    Raises:
      UnreadableOutput: there is no such profile, a row is damaged, operations were merged, or a
        delegate counts as one operation.
    """
    tables = RUN_ORDER.split(text.rpartition(REGULAR_RUNS)[2])[1:]
    if len(tables) != 1:
        raise UnreadableOutput(
            f"{len(tables)} profiles in run order where 1 is expected (a model with several "
            f"subgraphs has several); it ends with {last_line(text)!r}"
        )
    operations = []
    for line in itertools.takewhile(str.strip, tables[0].splitlines()):  # a blank line ends it
        row = ROW.fullmatch(line.rstrip())
        if row is None:
            raise UnreadableOutput(f"a profile with a damaged row: {line.strip()!r}")
        if row["calls"] != "1":
            raise UnreadableOutput(
                f"a merged profile: {row['kind']!r} stands for {row['calls']} operations, of "
                "several partitions of the delegate, whose times cannot be told apart. Profile a "
                "model that the delegate takes as a whole"
            )
        if UNDIVIDED.fullmatch(row["kind"]):
            raise UnreadableOutput(
                f"a profile with {row['kind']!r} as one operation. Use a benchmark_model of "
                "TensorFlow 2.9.1 or later, which times the operations inside"
            )
        operations.append(OperationTime(row["kind"], _finite(row["ms"])))
    if not operations:
        raise UnreadableOutput("a profile without operations")
    return operations


def last_line(text: str) -> str:
    """The last line that says something, for messages."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "nothing"


def _finite(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        raise UnreadableOutput(f"{text!r} where a time is expected") from None
    if not 0 <= value < float("inf"):
        raise UnreadableOutput(f"{text!r} where a time is expected")
    return value
