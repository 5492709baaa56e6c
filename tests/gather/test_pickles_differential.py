"""Whatever Python's own unpicklers ask for, the scan names too, for any sequence of opcodes."""

from __future__ import annotations

import io
import pickle
import struct
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from trainguard.gather.pickle_stream import LONGEST_TEXT
from trainguard.gather.pickle_values import COMPUTED, OUTSIDE, resolve
from trainguard.gather.pickles import scan_file


class Stub:
    """Stands for whatever a pickle asks for; takes any argument and does nothing."""

    def __new__(cls, *_: Any, **__: Any) -> Stub:
        return super().__new__(cls)

    def __init__(self, *_: Any, **__: Any) -> None:
        pass

    def __call__(self, *_: Any) -> Stub:
        return self

    def __setstate__(self, _: Any) -> None:
        pass

    def __setitem__(self, *_: Any) -> None:
        pass

    def append(self, _: Any) -> None:
        pass


def named_in(content: bytes, name: str) -> set[str]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, name)
        path.write_bytes(content)
        return {reference.name for reference in scan_file(path).references}


def asked_for(content: bytes, unpickler: type[Any]) -> tuple[list[tuple[str, str]], bool]:
    """The names that a real unpickler fetches, and whether it got to the end."""
    found: list[tuple[str, str]] = []

    class Recorder(unpickler):  # type: ignore[misc]
        def find_class(self, module: str, name: str) -> type[Stub]:
            found.append((module, name))
            return Stub

        def persistent_load(self, key: Any) -> Stub:
            found.append(("persistent", "id"))
            return Stub()

    try:
        Recorder(io.BytesIO(content)).load()
    except Exception:  # any fault ends a real load, too
        return found, False
    return found, True


TEXTS = ["os", "system", "commands", "getoutput", "__builtin__", "eval", "torch", "a.b", "c"]


def spelled(text: str) -> list[bytes]:
    raw = text.encode()
    return [
        b"X" + struct.pack("<I", len(raw)) + raw,
        b"\x8c" + bytes([len(raw)]) + raw,
        b"\x8d" + struct.pack("<Q", len(raw)) + raw,
        b"U" + bytes([len(raw)]) + raw,
        b"T" + struct.pack("<i", len(raw)) + raw,
        b"S'" + raw + b"'\n",
        b"V" + raw + b"\n",
        b"V\\u%04x" % raw[0] + raw[1:] + b"\n",
    ]


PIECES = st.one_of(
    st.sampled_from(TEXTS).flatmap(lambda text: st.sampled_from(spelled(text))),
    st.sampled_from([bytes([code]) for code in b"(012tR\x85\x86\x87\x81\x92\x93ob}]sudaelN)"]),
    st.sampled_from([b"\x93", b"R", b"\x86", b"2", b"0", b"(", b")", b"\x94", b"\x8f", b"\x90"]),
    st.sampled_from([b"\x91", b"Q", b"Pid\n", b"I01\n", b"K\x05", b"C\x02os", b"\x88", b"\x98"]),
    st.sampled_from([b"h\x00", b"h\x01", b"g0\n", b"g1\n", b"j\x00\0\0\0", b"q\x00", b"q\x01"]),
    st.sampled_from([b"I0x10\n", b"I-3\n", b"L0x1L\n", b"L7L\n", b"F1.5\n", b"G" + bytes(8)]),
    st.sampled_from([b"\x8a\x01\x05", b"\x8b\x01\0\0\0\x05", b"M\x05\0", b"J\x05\0\0\0"]),
    st.sampled_from([b"V" + b"a" * 5000 + b"\n", b"r\0\x10\0\0", b"g" + b"0" * 30 + b"\n"]),
    st.sampled_from([b"B\x01\0\0\0a", b"\x8e\x01" + bytes(7) + b"a", b"\x95" + bytes(8)]),
    st.sampled_from([b"p0\n", b"p1\n", b"r\x01\0\0\0", b"\x80\x02", b"\x80\x04"]),
    st.sampled_from([b"cos\nsystem\n", b"c__builtin__\neval\n", b"ios\nsystem\n"]),
)


@settings(max_examples=3000, deadline=None)
@given(st.lists(PIECES, max_size=25), st.sampled_from([b"", b"\x80\x02", b"\x80\x04"]))
def test_no_sequence_of_opcodes_hides_a_name(pieces: list[bytes], start: bytes) -> None:
    content = start + b"".join(pieces) + b"."
    for unpickler in (pickle.Unpickler, pickle._Unpickler):  # type: ignore[attr-defined]
        found, ended = asked_for(content, unpickler)
        # Of an unknown file that breaks off, a name without a call is left out as chance.
        for file in ("optimizer.pt", "else.pkl") if ended else ("optimizer.pt",):
            named = named_in(content, file)
            for module, name in found:
                spellings = {f"{module}.{name}", resolve(module, name, 0)}
                if module == "persistent":
                    spellings = {OUTSIDE}
                elif max(len(module), len(name)) > LONGEST_TEXT:
                    spellings = {COMPUTED}
                assert spellings & named
