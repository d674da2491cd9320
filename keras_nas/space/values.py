"""What blocks, stems and heads are described with: activations, integers, rounded channels."""

from __future__ import annotations

ACTIVATION_CODES = {"re": "relu", "r6": "relu6", "hs": "hard_swish", "sw": "swish"}
"""Activation code in block strings -> the name used everywhere else."""

CODE_OF_ACTIVATION = {name: code for code, name in ACTIVATION_CODES.items()}

ACTIVATIONS = tuple(CODE_OF_ACTIVATION)


def make_divisible(value: float, divisor: int = 8) -> int:
    """The multiple of `divisor` nearest to `value`, at least `divisor`, never below 90% of `value`.

    Source: MobileNet's reference code; every published network of this family rounds this way.
    """
    rounded = max(divisor, int(value + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * value else rounded


def check_activation(name: str, where: str) -> None:
    """Raises ValueError when `name` is not a known activation."""
    if name not in ACTIVATIONS:
        raise ValueError(f"{where}: unknown activation {name!r}; one of {', '.join(ACTIVATIONS)}.")


def positive_integer(value: object, where: str) -> None:
    """Raises ValueError unless `value` is an integer above 0."""
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ValueError(f"{where} should be a positive integer, received {value!r}.")


def format_number(value: float) -> str:
    """A number as block strings write it: `6`, `0.25`; reads back as the same float."""
    return str(int(value)) if float(value).is_integer() else repr(float(value))
