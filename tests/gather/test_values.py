"""The statistics of stored values, by numpy and in plain Python, against torch."""

from __future__ import annotations

import io
import math
from typing import Any
from unittest import mock

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from trainguard.gather import values
from trainguard.gather.safetensors import SafetensorsError, StoredTensor
from trainguard.gather.values import FORMATS, Statistics, measured

TORCH = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F8_E5M2": torch.float8_e5m2,
    "F8_E4M3": torch.float8_e4m3fn,
}
#: Bit patterns worth meeting, sign aside: zero, subnormals, one, the largest number, what is none.
SPECIAL = {
    name: [0, 1, form.bias << form.mantissa, form.nonfinite - 1, form.nonfinite, form.sign - 1]
    for name, form in FORMATS.items()
}


class Raw(io.BytesIO):
    """A file that returns fewer bytes than asked for, as a raw file may."""

    def readinto(self, buffer: Any) -> int:
        return super().readinto(memoryview(buffer)[:24])


def stats(
    dtype: str, raw: bytes, *, small: bool, chunk: int = 64, before: int = 5
) -> Statistics | None:
    """Of a tensor that stands behind some other bytes, read chunk by chunk."""
    tensor = StoredTensor(
        name="x", dtype=dtype, shape=(len(raw),), start=before, end=before + len(raw)
    )
    file = Raw(bytes(before) + raw + b"\xff")
    limit = values.SMALL if small else -1
    with mock.patch.object(values, "CHUNK", chunk), mock.patch.object(values, "SMALL", limit):
        (found,) = measured(file, [tensor])
    return found


def decoded(dtype: str, raw: bytes) -> torch.Tensor:
    return torch.frombuffer(bytearray(raw), dtype=TORCH[dtype]).double() if raw else torch.empty(0)


@st.composite
def tensors(draw: st.DrawFn) -> tuple[str, bytes]:
    dtype = draw(st.sampled_from(sorted(FORMATS)))
    form = FORMATS[dtype]
    special = st.sampled_from([p | s for p in SPECIAL[dtype] for s in (0, form.sign)])
    anything = st.integers(0, 256**form.width - 1)
    pool = draw(st.sampled_from([special, anything, special | anything, st.just(draw(special))]))
    patterns = draw(st.lists(pool, max_size=90))
    return dtype, b"".join(pattern.to_bytes(form.width, "little") for pattern in patterns)


@pytest.mark.parametrize("small", [True, False])
@given(tensors())
def test_the_statistics_are_those_of_torch(small: bool, case: tuple[str, bytes]) -> None:
    dtype, raw = case

    found = stats(dtype, raw, small=small)

    expected = decoded(dtype, raw)
    finite = expected[expected.isfinite()]
    assert found is not None
    assert found.nonfinite == len(expected) - len(finite)
    assert found.largest == (float(finite.abs().max()) if len(finite) else 0.0)
    alike = len(expected) > 0 and bool((expected == expected[0]).all())
    if len(expected):
        assert found.constant == (float(expected[0]) if alike and not found.nonfinite else None)
        # What is no number counts as zero.
        scale = found.largest or 1.0
        mean = float((finite / scale).square().sum()) / len(expected)
        assert found.rms == pytest.approx(scale * math.sqrt(mean), rel=1e-9, abs=1e-300)


@given(tensors())
def test_numpy_and_plain_python_agree(case: tuple[str, bytes]) -> None:
    plain, numpy = (stats(*case, small=small) for small in (True, False))

    assert plain is not None
    assert numpy is not None
    assert plain.rms == pytest.approx(numpy.rms, rel=1e-12, abs=1e-300)
    plain.rms = numpy.rms = 0.0
    assert plain == numpy


@pytest.mark.parametrize("small", [True, False])
@given(st.sampled_from(sorted(FORMATS)), st.integers(1, 300), st.booleans(), st.data())
def test_a_planted_nan_is_found_wherever_it_is(
    small: bool, dtype: str, count: int, negative: bool, data: st.DataObject
) -> None:
    form = FORMATS[dtype]
    place = data.draw(st.integers(0, count - 1)) * form.width
    raw = bytearray((form.bias << form.mantissa).to_bytes(form.width, "little") * count)
    nan = form.sign - 1 + (form.sign if negative else 0)
    raw[place : place + form.width] = nan.to_bytes(form.width, "little")

    found = stats(dtype, bytes(raw), small=small)

    assert found is not None
    assert found.nonfinite == 1
    assert found.largest == (1.0 if count > 1 else 0.0)


@pytest.mark.parametrize("small", [True, False])
def test_the_size_of_a_large_tensor_is_taken_from_all_over_it(small: bool) -> None:
    torch.manual_seed(0)
    tensor = torch.randn(200_000) * torch.linspace(0.1, 1.0, 200_000)

    found = stats("F32", tensor.numpy().tobytes(), small=small, chunk=4096)

    assert found is not None
    assert found.rms == pytest.approx(float(tensor.square().mean().sqrt()), rel=0.1)
    assert found.largest == float(tensor.abs().max())
    assert found.constant is None


@pytest.mark.parametrize("small", [True, False])
def test_one_other_element_at_the_end_of_a_chunk_is_no_constant(small: bool) -> None:
    for place in (0, 15, 16, 17, 31, 40, 47):
        tensor = torch.full((48,), 0.5)
        tensor[place] = -0.5
        found = stats("F32", tensor.numpy().tobytes(), small=small)
        assert found is not None
        assert found.constant is None


@pytest.mark.parametrize("dtype", ["I64", "U8", "BOOL", "F8_E8M0"])
def test_other_dtypes_are_not_judged(dtype: str) -> None:
    assert stats(dtype, bytes(8), small=True) is None


@pytest.mark.parametrize("small", [True, False])
def test_a_file_that_shrinks_meanwhile_is_an_error(small: bool) -> None:
    tensor = StoredTensor(name="x", dtype="F32", shape=(100,), start=8, end=408)
    limit = values.SMALL if small else -1

    with mock.patch.object(values, "SMALL", limit):
        found = measured(io.BytesIO(bytes(407)), [tensor])
        with pytest.raises(SafetensorsError, match="became shorter"):
            next(found)
