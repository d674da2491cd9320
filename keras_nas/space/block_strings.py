"""Block strings, the notation of MnasNet's code and PyTorch Image Models.

`ir_r1_k5_s2_e3_c24_nre_se0.25` has a kind and fields, in any order:

    r  repeats                        k   kernel size; `k3.5.7` mixes three
    s  stride                         a   groups of the 1x1 expansion, `a1.1` means two
    e  expansion ratio                p   groups of the 1x1 projection, likewise
    m  middle channels, in place of e se  squeeze-and-excitation ratio
    c  output channels                n   activation code
    noskip  no residual connection

Two things are this project's own: `m`, and flags after the squeeze-and-excitation ratio where it
differs from the default, as in `se0.25-input-d1-sigmoid-own` (see `SqueezeExcite`).
"""

from __future__ import annotations

import re
from typing import Any

from keras_nas.space.squeeze_excite import SqueezeExcite
from keras_nas.space.values import (
    ACTIVATION_CODES,
    CODE_OF_ACTIVATION,
    format_number,
    positive_integer,
)

_FIELD = re.compile(r"(se|[rksemcnap])(.+)")
_NO_SKIP = "noskip"
_NEEDED = ("k", "s", "c")


def write_block(fields: dict[str, Any]) -> str:
    """The fields of a `Block` as a block string; what is at its default is left out, but for
    those that every published string has."""
    kernel = fields["kernel_size"]
    kernels = ".".join(map(str, kernel)) if isinstance(kernel, tuple) else str(kernel)
    text = f"{fields['kind']}_r1_k{kernels}"
    for key, name in (("a", "expand_groups"), ("p", "project_groups")):
        text += f"_{key}{'.'.join('1' * fields[name])}" if fields[name] > 1 else ""
    middle = fields["fixed_middle_channels"]
    width = f"m{middle}" if middle else f"e{format_number(fields['expansion_ratio'])}"
    text += f"_s{fields['stride']}_{width}_c{fields['channels']}"
    text += f"_n{CODE_OF_ACTIVATION[fields['activation']]}"
    if fields["se_ratio"]:
        flags = fields["squeeze_excite"].to_flags()
        text += "-".join((f"_se{format_number(fields['se_ratio'])}", *flags))
    return text + ("" if fields["skip"] else f"_{_NO_SKIP}")


def read_block(
    text: str, default_activation: str, default_squeeze_excite: SqueezeExcite
) -> tuple[dict[str, Any], int]:
    """Reads a block string.

    Args:
      text: the block string.
      default_activation: where it names none.
      default_squeeze_excite: where it has a ratio without flags.

    Returns:
      The fields of a `Block`, and the number of repeats.

    Raises:
      ValueError: naming the string and the part that cannot be read.
    """
    kind, codes = _split(text)
    try:
        squeeze_excite = SqueezeExcite()
        ratio, *flags = codes.get("se", "0").split("-")
        if flags:
            squeeze_excite = SqueezeExcite.from_flags(flags)
        elif float(ratio):
            squeeze_excite = default_squeeze_excite
        if "e" in codes and "m" in codes:
            raise ValueError("it gives both e and m; keep one.")
        fields = {
            "kind": kind,
            "kernel_size": _kernel_size(codes["k"]),
            "stride": int(codes["s"]),
            "channels": int(codes["c"]),
            "expansion_ratio": float(codes.get("e", "1")),
            "se_ratio": float(ratio),
            "activation": _activation(codes, default_activation),
            "squeeze_excite": squeeze_excite,
            "expand_groups": _groups(codes.get("a", "1")),
            "project_groups": _groups(codes.get("p", "1")),
            "skip": _NO_SKIP not in codes,
        }
        if "m" in codes:
            fields["fixed_middle_channels"] = int(codes["m"])
            positive_integer(fields["fixed_middle_channels"], "middle channels")
        repeats = int(codes.get("r", "1"))
        positive_integer(repeats, "repeats")
    except ValueError as error:
        raise ValueError(f"block string {text!r}: {error}") from None
    return fields, repeats


def _split(text: str) -> tuple[str, dict[str, str]]:
    """Kind, and the text of every field by its code."""
    kind, *parts = text.split("_")
    codes: dict[str, str] = {}
    for part in parts:
        match = _FIELD.fullmatch(part)
        key, value = (_NO_SKIP, part) if part == _NO_SKIP else match.groups() if match else ("", "")
        if not key or key in codes:
            raise ValueError(
                f"block string {text!r}: cannot read {part!r}; expected fields like "
                "k3 s1 e6 c24 nre se0.25, each once."
            )
        codes[key] = value
    missing = [key for key in _NEEDED if key not in codes]
    if missing:
        raise ValueError(f"block string {text!r} lacks {', '.join(missing)}.")
    return kind, codes


def _activation(codes: dict[str, str], default: str) -> str:
    if "n" not in codes:
        return default
    if codes["n"] not in ACTIVATION_CODES:
        raise ValueError(
            f"unknown activation code {codes['n']!r}; one of {', '.join(ACTIVATION_CODES)}."
        )
    return ACTIVATION_CODES[codes["n"]]


def _kernel_size(text: str) -> int | tuple[int, ...]:
    sizes = tuple(int(size) for size in text.split("."))
    return sizes[0] if len(sizes) == 1 else sizes


def _groups(text: str) -> int:
    """`1.1.1` -> 3: a mix of 1x1 kernels is a convolution in groups."""
    sizes = text.split(".")
    if set(sizes) != {"1"}:
        raise ValueError(f"fields a and p should be like 1.1 (two groups), received {text!r}.")
    return len(sizes)
