"""Reads PyTorch state dicts: `.safetensors` files, and pickled ones (`.pth`) if torch is there."""

from __future__ import annotations

import argparse
import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

StateDict = dict[str, np.ndarray]
"""Name of a tensor -> its values."""

PICKLED = (".pth", ".pt", ".bin", ".tar")
"""Endings of what `torch.save` writes."""

PARTS = ("state_dict_ema", "model_ema", "state_dict", "model")
"""Where training programs put a state dict inside a checkpoint; averaged weights first."""

_WRAPPERS = ("module.", "_orig_mod.")
"""What data-parallel training and compilation put in front of every name."""

_DTYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2", "I64": "<i8", "I32": "<i4"}
"""bfloat16 is the upper half of a float32, and NumPy has none: see `_tensor`."""


def read_state_dict(path: str | os.PathLike[str]) -> tuple[StateDict, str]:
    """Reads the state dict in a PyTorch checkpoint.

    Prefixes that wrappers put in front of all names are removed. bfloat16 becomes float32; other
    dtypes stay.

    Args:
      path: a `.safetensors` file, or one of `torch.save` (`PICKLED`).

    Returns:
      The tensors, and which one of `PARTS` of the checkpoint they are; "" where it has no parts.

    Raises:
      FileNotFoundError, OSError: it is not there or cannot be read.
      ModuleNotFoundError: it was written by `torch.save`, and torch is not installed.
      ValueError: it is damaged, holds no state dict, or has an unknown ending.
    """
    path = Path(path)
    if path.suffix != ".safetensors" and path.suffix not in PICKLED:
        raise ValueError(
            f"checkpoint {path} should end in .safetensors, {', '.join(PICKLED)}; received "
            f"{path.suffix or 'no ending'!r}."
        )
    if not path.exists():
        raise FileNotFoundError(f"no checkpoint at {path}; check the path.")
    if path.suffix == ".safetensors":
        return without_wrappers(parse_safetensors(path.read_bytes(), str(path))), ""
    tensors, part = state_dict_of(_unpickled(path), str(path))
    arrays = {name: _array(name, tensor, path) for name, tensor in tensors.items()}
    return without_wrappers(arrays), part


def parse_safetensors(data: bytes, where: str) -> StateDict:
    """The tensors in the bytes of a `.safetensors` file; `where` names their origin in errors.

    The format: the length of a header (8 bytes, little-endian), the header (JSON: name -> dtype,
    shape, and first and last byte of the values), the values. It says that values leave no byte
    out and use none twice, which finds truncated files.

    Raises:
      ValueError: the bytes are not this format, or are truncated or damaged.
    """
    length = int.from_bytes(data[:8], "little")
    if len(data) < 8 or length > len(data) - 8:
        raise _damaged(where, f"its header should have {length} bytes, and it ends before")
    try:
        header = json.loads(data[8 : 8 + length])
    except ValueError as error:
        raise _damaged(where, f"its header is not JSON ({error})") from None
    if not isinstance(header, dict):
        raise _damaged(where, f"its header is a {type(header).__name__}")
    header.pop("__metadata__", None)
    values = memoryview(data)[8 + length :]
    tensors, used = {}, []
    for name, entry in header.items():
        try:
            dtype, shape, (begin, end) = entry["dtype"], entry["shape"], entry["data_offsets"]
            tensors[name] = _tensor(values[begin:end], dtype, shape)
        except (KeyError, TypeError, ValueError) as error:
            raise _damaged(where, f"tensor {name!r}: {error}") from None
        used.append((begin, end))
    position = 0
    for begin, end in sorted(used):
        if begin != position:
            raise _damaged(where, f"a tensor begins at byte {begin}, and should at {position}")
        position = end
    if position != len(values):
        raise _damaged(where, f"its tensors have {position} bytes, and it holds {len(values)}")
    return tensors


def state_dict_of(checkpoint: Any, where: str) -> tuple[Mapping[str, Any], str]:
    """The state dict in what a training program saved, and its part as in `read_state_dict`.

    Raises:
      ValueError: there is none.
    """
    if isinstance(checkpoint, Mapping):
        part = next((part for part in PARTS if checkpoint.get(part) is not None), "")
        found = checkpoint[part] if part else checkpoint
        if (
            isinstance(found, Mapping)
            and found
            and all(hasattr(v, "shape") for v in found.values())
        ):
            return found, part
        held = f"{part or 'a dictionary'} with {', '.join(map(str, list(found)[:8])) or 'nothing'}"
    else:
        held = f"a {type(checkpoint).__name__}"
    raise ValueError(
        f"checkpoint {where} should hold a state dict, by itself or as one of {', '.join(PARTS)}; "
        f"it holds {held}. Save model.state_dict()."
    )


def without_wrappers(tensors: StateDict) -> StateDict:
    """Removes prefixes that stand in front of all names."""
    for prefix in _WRAPPERS * 2:  # they come in either order
        if tensors and all(name.startswith(prefix) for name in tensors):
            tensors = {name.removeprefix(prefix): value for name, value in tensors.items()}
    return tensors


def _tensor(values: memoryview, dtype: str, shape: list[int]) -> np.ndarray:
    if dtype not in _DTYPES:
        raise ValueError(f"dtype {dtype!r} is none of {', '.join(_DTYPES)}")
    array = np.frombuffer(values, _DTYPES[dtype])
    if array.size != math.prod(shape):
        raise ValueError(f"its shape is {shape}, and it has {array.size} values")
    array = array.reshape(shape)
    return (array.astype("<u4") << 16).view("<f4") if dtype == "BF16" else array


def _damaged(where: str, why: str) -> ValueError:
    return ValueError(
        f"checkpoint {where} is damaged or no .safetensors file: {why}. Fetch it again."
    )


def _unpickled(path: Path) -> Any:
    """What `torch.save` wrote. Runs no code of the file: `weights_only` allows tensors, plain
    values and, as here, the settings that timm's training program keeps with its weights."""
    try:
        import torch
    except ImportError:
        raise ModuleNotFoundError(
            f"checkpoint {path} can only be read with PyTorch, which is not installed. Install it, "
            "or convert the file where it is, with safetensors.torch.save_file(torch.load("
            f"'{path.name}', weights_only=True), '{path.stem}.safetensors')."
        ) from None
    try:
        with torch.serialization.safe_globals([argparse.Namespace]):
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever a damaged pickle makes torch raise
        raise ValueError(
            f"checkpoint {path} is damaged, or holds more than weights: "
            f"{str(error).splitlines()[0]} Save model.state_dict()."
        ) from error


def _array(name: str, tensor: Any, path: Path) -> np.ndarray:
    import torch

    try:
        tensor = tensor.detach()
        return (tensor.float() if tensor.dtype is torch.bfloat16 else tensor).numpy()
    except (AttributeError, TypeError, RuntimeError) as error:  # sparse or quantised
        raise ValueError(f"checkpoint {path}: tensor {name} is not a plain one: {error}") from None
