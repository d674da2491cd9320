"""Checkpoint files, written here byte by byte as the format says."""

import json
import sys

import numpy as np
import pytest

from keras_nas.models.state_dict import (
    PARTS,
    parse_safetensors,
    read_state_dict,
    state_dict_of,
    without_wrappers,
)

VALUES = np.array([[1.0, -2.5, 0.0], [3.0, 65504.0, -0.125]])
"""Exact in every floating-point type."""


def safetensors(header, values=b""):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + values


def entry(dtype, shape, begin, end):
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def test_every_dtype(tmp_path):
    bfloat16 = np.array([[0x3F80, 0xC020, 0], [0x4040, 0x477F, 0xBE00]], "<u2")
    # bfloat16 has 8 bits of precision: 0x477F is the one below 65504.
    expected16 = np.where(VALUES == 65504, 65280, VALUES)
    counts = np.array([7, -8])
    blocks = [VALUES.astype("<f8"), VALUES.astype("<f4"), VALUES.astype("<f2"), bfloat16]
    blocks += [counts.astype("<i8"), counts.astype("<i4"), np.array(5, "<i8")]
    header = {"__metadata__": {"format": "pt"}}
    begin = 0
    for dtype, block in zip(
        ("F64", "F32", "F16", "BF16", "I64", "I32", "I64"), blocks, strict=True
    ):
        name = f"t{len(header)}"
        header[name] = entry(dtype, list(block.shape), begin, begin + block.nbytes)
        begin += block.nbytes
    # The header may be padded with spaces.
    text = json.dumps(header).encode() + b"   "
    path = tmp_path / "x.safetensors"
    path.write_bytes(safetensors(text, b"".join(block.tobytes() for block in blocks)))
    tensors, part = read_state_dict(path)
    assert part == "" and list(tensors) == [f"t{i}" for i in range(1, 8)]
    found = [value.dtype.name for value in tensors.values()]
    assert found == ["float64", "float32", "float16", "float32", "int64", "int32", "int64"]
    for i, expected in enumerate([VALUES, VALUES, VALUES, expected16, counts, counts, 5], 1):
        np.testing.assert_array_equal(tensors[f"t{i}"], expected)
        assert tensors[f"t{i}"].shape == np.shape(expected)


def test_a_file_cut_off_anywhere_is_refused():
    header = {"a": entry("F32", [2], 0, 8), "b": entry("F32", [], 8, 12)}
    whole = safetensors(header, bytes(12))
    assert set(parse_safetensors(whole, "x")) == {"a", "b"}
    for end in range(len(whole)):
        with pytest.raises(ValueError, match="checkpoint x is damaged"):
            parse_safetensors(whole[:end], "x")
    with pytest.raises(ValueError, match="its tensors have 12 bytes, and it holds 13"):
        parse_safetensors(whole + b"\0", "x")


def test_no_damaged_header_gets_through_unnoticed():
    """A flipped bit is found, or changes a name only."""
    header = safetensors({"a": entry("F32", [2, 1], 0, 8), "b": entry("F32", [3], 8, 20)})
    found = 0
    for position in range(len(header)):
        for bit in range(8):
            damaged = bytearray(header)
            damaged[position] ^= 1 << bit
            try:
                tensors = parse_safetensors(bytes(damaged) + bytes(20), "x")
            except ValueError as error:
                assert "checkpoint x is damaged" in str(error)
                found += 1
            else:
                assert [value.size for value in tensors.values()] == [2, 3]
    assert found > 6 * len(header)


@pytest.mark.parametrize(
    ("header", "message"),
    [
        (b"{,", "its header is not JSON"),
        (b"\xff\xfe", "its header is not JSON"),
        ([1], "its header is a list"),
        ({"a": 1}, "tensor 'a'"),
        ({"a": {"dtype": "F32", "shape": [1]}}, "tensor 'a': 'data_offsets'"),
        ({"a": entry("F8_E4M3", [4], 0, 4)}, "dtype 'F8_E4M3' is none of F64, F32"),
        ({"a": entry("F32", [2], 0, 4)}, r"its shape is \[2\], and it has 1 values"),
        ({"a": entry("F32", [-1, -1], 0, 4)}, "tensor 'a'"),
        ({"a": entry("F32", [1], 0, 3)}, "tensor 'a'"),
        ({"a": entry("F32", [1], "0", 4)}, "tensor 'a'"),
        (
            {"a": entry("F32", [1], 0, 4), "b": entry("F32", [1], 0, 4)},
            "begins at byte 0, and .* 4",
        ),
        ({"a": entry("F32", [0], 0, 0)}, "its tensors have 0 bytes, and it holds 4"),
        ({"a": entry("F32", [1], -4, 4)}, "begins at byte -4, and should at 0"),
    ],
)
def test_a_damaged_header(header, message):
    with pytest.raises(ValueError, match=f"checkpoint x is damaged .*{message}"):
        parse_safetensors(safetensors(header, bytes(4)), "x")


TENSORS = {"bn1.weight": np.ones(2), "conv.weight": np.zeros((1, 2))}


@pytest.mark.parametrize(
    "prefix", ["", "module.", "_orig_mod.", "_orig_mod.module.", "module._orig_mod."]
)
def test_prefixes_of_wrappers_are_removed(prefix):
    wrapped = {prefix + name: value for name, value in TENSORS.items()}
    assert list(without_wrappers(wrapped)) == list(TENSORS)


def test_a_prefix_that_only_some_names_have_stays():
    mixed = {"module.a": np.ones(1), "b": np.ones(1)}
    assert list(without_wrappers(mixed)) == ["module.a", "b"]
    assert without_wrappers({}) == {}


def test_where_the_state_dict_is_in_a_checkpoint():
    assert state_dict_of(TENSORS, "x") == (TENSORS, "")
    other = {"worse": np.ones(1)}
    for place, part in enumerate(PARTS):
        later = dict.fromkeys(PARTS[place + 1 :], other)
        checkpoint = {"epoch": 3, "arch": "a", **later, part: TENSORS}
        assert state_dict_of(checkpoint, "x") == (TENSORS, part)
        checkpoint |= dict.fromkeys(PARTS[:place])  # kept no average
        assert state_dict_of(checkpoint, "x") == (TENSORS, part)


@pytest.mark.parametrize(
    ("checkpoint", "held"),
    [
        ([1], "a list"),
        ({}, "a dictionary with nothing"),
        ({"epoch": 3, "optimizer": {}}, "a dictionary with epoch, optimizer"),
        ({"state_dict": {}}, "state_dict with nothing"),
        ({"model": {"a": 1}}, "model with a"),
    ],
)
def test_what_holds_no_state_dict_is_refused(checkpoint, held):
    with pytest.raises(
        ValueError, match=f"checkpoint x should hold a state dict.* it holds {held}"
    ):
        state_dict_of(checkpoint, "x")


def test_files_that_cannot_be_read(tmp_path, monkeypatch):
    with pytest.raises(FileNotFoundError, match=r"no checkpoint at .*none\.safetensors"):
        read_state_dict(tmp_path / "none.safetensors")
    for name in ("x.npz", "x"):
        with pytest.raises(ValueError, match=r"should end in \.safetensors, \.pth, .* received"):
            read_state_dict(tmp_path / name)
    (tmp_path / "x.pth").write_bytes(b"")
    monkeypatch.setitem(sys.modules, "torch", None)  # as where it is not installed
    with pytest.raises(ModuleNotFoundError, match=r"with PyTorch, .*save_file\(.*'x.safetensors'"):
        read_state_dict(tmp_path / "x.pth")
