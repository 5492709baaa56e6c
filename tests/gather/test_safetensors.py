"""The safetensors reader against the format's reference implementation and against numpy."""

from __future__ import annotations

import io
import json
import struct
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors import SafetensorError, deserialize

from trainguard.gather.safetensors import SafetensorsError, parse_header, read_header

WIDTHS = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "U8": 1, "BOOL": 1, "F8_E4M3": 1}


def packed(entries: dict[str, Any], data: bytes = b"") -> bytes:
    header = json.dumps(entries).encode()
    return struct.pack("<Q", len(header)) + header + data


def one(dtype: str, raw: bytes) -> bytes:
    entry = {"dtype": dtype, "shape": [len(raw) // WIDTHS[dtype]], "data_offsets": [0, len(raw)]}
    return packed({"x": entry}, raw)


def header_of(content: bytes) -> tuple[Any, ...]:
    return read_header(io.BytesIO(content), len(content))


@st.composite
def files(draw: st.DrawFn) -> bytes:
    """Valid files: contiguous tensors, scalars and empty ones among them."""
    names = draw(st.lists(st.text(min_size=1, max_size=8), unique=True, max_size=5))
    entries, data = {}, b""
    for name in names:
        if name == "__metadata__":
            continue
        dtype = draw(st.sampled_from(sorted(WIDTHS)))
        shape = draw(st.lists(st.integers(0, 4), max_size=3))
        size = int(np.prod(shape, dtype=int)) * WIDTHS[dtype]
        end = len(data) + size
        entries[name] = {"dtype": dtype, "shape": shape, "data_offsets": [len(data), end]}
        data += draw(st.binary(min_size=size, max_size=size))
    if draw(st.booleans()):
        entries["__metadata__"] = {"format": "pt"}
    return packed(entries, data)


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """Valid files with one thing changed: cut, padded, a byte flipped, a header field replaced."""
    content = bytearray(draw(files()))
    how = draw(st.sampled_from(["cut", "pad", "flip", "field"]))
    if how == "cut":
        return bytes(content[: draw(st.integers(0, len(content) - 1))])
    if how == "pad":
        return bytes(content) + draw(st.binary(min_size=1, max_size=9))
    if how == "flip":
        place = draw(st.integers(0, len(content) - 1))
        content[place] ^= 1 << draw(st.integers(0, 7))
        return bytes(content)
    length = int.from_bytes(content[:8], "little")
    entries = json.loads(content[8 : 8 + length])
    odd = st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=3), st.floats())
    if entries:
        name = draw(st.sampled_from(sorted(entries)))
        key = draw(st.sampled_from(["dtype", "shape", "data_offsets", "format"]))
        entries[name][key] = draw(st.one_of(odd, st.lists(odd, max_size=3)))
    return packed(entries, bytes(content[8 + length :]))


def reference_accepts(content: bytes) -> bool:
    try:
        deserialize(content)
    except SafetensorError:
        return False
    return True


@given(files())
def test_a_valid_file_is_read_as_the_reference_reads_it(content: bytes) -> None:
    ours = {tensor.name: tensor for tensor in header_of(content)}

    theirs = dict(deserialize(content))
    assert ours.keys() == theirs.keys()
    for name, tensor in ours.items():
        assert list(tensor.shape) == list(theirs[name]["shape"])
        assert content[tensor.start : tensor.end] == bytes(theirs[name]["data"])


@given(damaged())
def test_a_damaged_file_raises_its_own_error_or_is_valid_to_the_reference(content: bytes) -> None:
    try:
        tensors = header_of(content)
    except SafetensorsError:
        return
    assert reference_accepts(content)
    assert all(8 <= tensor.start <= tensor.end <= len(content) for tensor in tensors)


@given(damaged())
def test_what_the_reference_refuses_is_refused(content: bytes) -> None:
    if not reference_accepts(content):
        with pytest.raises(SafetensorsError):
            header_of(content)


@given(st.binary(max_size=64))
def test_any_bytes_raise_nothing_but_the_own_error(content: bytes) -> None:
    with suppress(SafetensorsError):
        header_of(content)


X = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}


@pytest.mark.parametrize(
    ("entries", "size", "says"),
    [
        ({"x": X}, 7, "cut short: the header states 8 bytes of tensors, 7 follow"),
        ({"x": X}, 9, "belong to no tensor: the header states 8, 9 follow"),
        ({"x": X, "y": X}, 8, "overlaps"),
        ({"x": X, "y": X | {"data_offsets": [12, 20]}}, 20, "hole"),
        ({"x": X | {"dtype": "F33"}}, 8, "F33"),
        ({"x": X | {"shape": [3]}}, 8, "stores 8 bytes for x; its dtype F32 and shape [3] take 12"),
        ({"x": X | {"shape": [2**63, 4]}}, 8, "overflows"),
        ({"x": X | {"shape": [True, 2]}}, 8, "the shape"),
        ({"x": X | {"data_offsets": [8, 0]}}, 8, "byte range"),
        ({"x": 5}, 8, "int, not an object"),
        ({"__metadata__": {"a": 1}}, 0, "metadata"),
        ({"\ud800": X}, 8, "not valid Unicode"),
    ],
)
def test_each_broken_rule_is_named(entries: dict[str, Any], size: int, says: str) -> None:
    with pytest.raises(SafetensorsError) as caught:
        parse_header(json.dumps(entries).encode(), size)

    assert says in str(caught.value)


@pytest.mark.parametrize(
    ("header", "says"),
    [
        (b"[]", "JSON list"),
        (b"{", "not valid JSON"),
        (b'{"x": NaN}', "NaN is not JSON"),
        (b"\xff\xfe", "not UTF-8"),
        (b"[" * 200_000, "nested too deeply"),
        (b'{"x": ' + b"9" * 5000 + b"}", "not valid JSON"),
    ],
)
def test_a_header_that_is_no_json_object_is_named(header: bytes, says: str) -> None:
    with pytest.raises(SafetensorsError, match=says):
        parse_header(header, 0)


def test_a_header_longer_than_the_format_allows_is_not_read() -> None:
    file = io.BytesIO(struct.pack("<Q", 2**40) + b"x")

    with pytest.raises(SafetensorsError, match=r"claims a header of 1099511627776 bytes"):
        read_header(file, 2**41)
    assert file.tell() == 8


def test_what_the_format_allows_is_accepted() -> None:
    empty = {"dtype": "F16", "shape": [0, 7], "data_offsets": [8, 8]}
    header = (
        b'  {"x":' + json.dumps(X | {"extra": 1}).encode() + b',"e":' + json.dumps(empty).encode()
    )

    names = [tensor.name for tensor in parse_header(header + b"}  ", 8)]

    assert names == ["x", "e"]
    assert parse_header(b"{}", 0) == ()
