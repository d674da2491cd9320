"""The variants of squeeze-and-excitation that published networks use, as data."""

from __future__ import annotations

import dataclasses

from keras_nas.space.values import (
    ACTIVATION_CODES,
    CODE_OF_ACTIVATION,
    check_activation,
    make_divisible,
    positive_integer,
)

REFERENCES = ("middle", "input")
GATES = ("hard_sigmoid", "sigmoid")
OWN = "own"


@dataclasses.dataclass(frozen=True)
class SqueezeExcite:
    """What a block's squeeze-and-excitation is like, apart from its ratio.

    The default is that of MobileNetV3 and HardCoRe-NAS; `EFFICIENT_NET` that of EfficientNet,
    MnasNet-A1 and MixNet.

    Attributes:
      reference: what the ratio multiplies, channels of the `middle` (depthwise) convolution or of
        the block's `input`.
      divisor: the width is rounded to a multiple of it (`make_divisible`); 1: to the nearest
        integer, a half to the even one.
      gate: `hard_sigmoid` or `sigmoid`.
      activation: inside; `own` is the block's own.

    Raises:
      ValueError: an unknown name, or a divisor that is not a positive integer.
    """

    reference: str = "middle"
    divisor: int = 8
    gate: str = "hard_sigmoid"
    activation: str = "relu"

    def __post_init__(self) -> None:
        for field, known in (("reference", REFERENCES), ("gate", GATES)):
            if getattr(self, field) not in known:
                raise ValueError(
                    f"squeeze-and-excitation: unknown {field} {getattr(self, field)!r}; one of "
                    f"{', '.join(known)}."
                )
        positive_integer(self.divisor, "divisor of squeeze-and-excitation")
        if self.activation != OWN:
            check_activation(self.activation, "squeeze-and-excitation")

    def width(self, ratio: float, input_channels: int, middle_channels: int) -> int:
        """Channels of the bottleneck."""
        channels = input_channels if self.reference == "input" else middle_channels
        if self.divisor == 1:
            return max(1, round(ratio * channels))
        return make_divisible(ratio * channels, self.divisor)

    def to_flags(self) -> list[str]:
        """What differs from the default, as block strings write it after the ratio."""
        default = SqueezeExcite()
        flags = [self.reference] if self.reference != default.reference else []
        if self.divisor != default.divisor:
            flags.append(f"d{self.divisor}")
        if self.gate != default.gate:
            flags.append(self.gate)
        if self.activation != default.activation:
            own = self.activation == OWN
            flags.append(OWN if own else f"n{CODE_OF_ACTIVATION[self.activation]}")
        return flags

    @classmethod
    def from_flags(cls, flags: list[str]) -> SqueezeExcite:
        """The inverse of `to_flags`.

        Raises:
          ValueError: an unknown flag, or two for one field.
        """
        fields: dict[str, str | int] = {}
        for flag in flags:
            field, value = _read_flag(flag)
            if field in fields:
                raise ValueError(f"squeeze-and-excitation has its {field} twice, in {flag!r}.")
            fields[field] = value
        return cls(**fields)  # type: ignore[arg-type]


EFFICIENT_NET = SqueezeExcite("input", 1, "sigmoid", OWN)
"""Ratio of the block's input, no rounding, sigmoid gate, the block's activation inside."""


def _read_flag(flag: str) -> tuple[str, str | int]:
    if flag in REFERENCES:
        return "reference", flag
    if flag in GATES:
        return "gate", flag
    if flag == OWN:
        return "activation", OWN
    if flag[:1] == "n" and flag[1:] in ACTIVATION_CODES:
        return "activation", ACTIVATION_CODES[flag[1:]]
    if flag[:1] == "d" and flag[1:].isdecimal():
        return "divisor", int(flag[1:])
    raise ValueError(
        f"unknown flag {flag!r} of squeeze-and-excitation; known are {', '.join(REFERENCES)}, "
        f"{', '.join(GATES)}, own, d1 and n{', n'.join(ACTIVATION_CODES)}."
    )
