"""Damage that leaves JSON mostly JSON: its keys and values, at any depth."""

from __future__ import annotations

import json
from collections.abc import Iterator
from random import Random
from typing import Any

from .errors import NotApplicableError

_MARK = "the place of a value"
_TEXTS = ("", "x", "\0", "\x1b[31m", "\ud800", "e\u0301\u202e", "../..", "/dev/zero", "x" * 100_000)
_PATTERNS = ("(a+)+$", "(", "[", "*", ".*" * 50, r"(\w+\.)*\w+!", "all-linear")
#: As JSON spells them, because Python's writer refuses some.
_VALUES = (
    *("null", "true", "false", "[]", "{}", "[[]]", "[null]", '{"a": 1}', '[1, "a", null, {}]'),
    *("0", "-1", "1", "0.5", "-0.0", "1e400", "-1e-400", "NaN", "Infinity", "-Infinity"),
    *(str(2**63), "9" * 400, "-" + "9" * 5_000),
    *("[" * depth + "]" * depth for depth in (100, 100_000)),
    *('{"a":' * depth + "1" + "}" * depth for depth in (100, 50_000)),
    *(json.dumps(text) for text in (*_TEXTS, *_PATTERNS)),
)


def replace_a_value(content: bytes, random: Random, donor: bytes) -> bytes:
    document = _parsed(content)
    box, key = random.choice(list(_slots(document)))
    box[key] = _MARK
    return _with_raw(document, random.choice(_VALUES))


def copy_a_value(content: bytes, random: Random, donor: bytes) -> bytes:
    document = _parsed(content)
    slots = list(_slots(document))
    (from_box, from_key), (box, key) = random.choice(slots), random.choice(slots)
    box[key] = json.loads(json.dumps(from_box[from_key]))
    return _written(document)


def drop_a_key(content: bytes, random: Random, donor: bytes) -> bytes:
    document = _parsed(content)
    box, key = random.choice(list(_slots(document)))
    del box[key]
    return _written(document)


def rename_a_key(content: bytes, random: Random, donor: bytes) -> bytes:
    document = _parsed(content)
    slots = [(box, key) for box, key in _slots(document) if isinstance(box, dict)]
    if not slots:
        raise NotApplicableError
    box, key = random.choice(slots)
    other = random.choice(slots)[1]
    box[random.choice((*_TEXTS, *_PATTERNS, other, key + "x", key.upper()))] = box.pop(key)
    return _written(document)


def duplicate_a_key(content: bytes, random: Random, donor: bytes) -> bytes:
    """The same key twice in one object, which no writer of Python does."""
    document = _parsed(content)
    slots = [(box, key) for box, key in _slots(document) if isinstance(box, dict)]
    if not slots:
        raise NotApplicableError
    box, key = random.choice(slots)
    again = json.dumps({key: box[key]})[1:-1]
    text = _written(document).decode()
    place = random.choice([at for at, found in enumerate(text) if found == "{"])
    comma = "" if text[place + 1 :].lstrip().startswith("}") else ", "
    return f"{text[: place + 1]}{again}{comma}{text[place + 1 :]}".encode()


def replace_the_document(content: bytes, random: Random, donor: bytes) -> bytes:
    return random.choice(_VALUES).encode()


def respell(content: bytes, random: Random, donor: bytes) -> bytes:
    """What editors and other systems write, and parsers of JSON refuse."""
    text = content.decode("utf-8", "replace")
    return random.choice(
        (
            b"\xef\xbb\xbf" + content,
            text.encode("utf-16"),
            text.encode("utf-32"),
            content.replace(b'"', b"'"),
            content.replace(b"\n}", b",\n}"),
            b"// comment\n" + content,
            content + content,
            content.replace(b"\n", b"\r"),
        )
    )


JSON_WISE = (
    replace_a_value,
    copy_a_value,
    drop_a_key,
    rename_a_key,
    duplicate_a_key,
    replace_the_document,
    respell,
)


def damage_a_line(content: bytes, random: Random, donor: bytes) -> bytes:
    """One record of a file with a JSON object a line."""
    lines = content.splitlines(keepends=True)
    if not lines:
        raise NotApplicableError
    at = random.randrange(len(lines))
    line = random.choice(JSON_WISE)(lines[at], random, donor)
    return b"".join([*lines[:at], line.rstrip(b"\n"), b"\n", *lines[at + 1 :]])


def _parsed(content: bytes) -> Any:
    try:
        document = json.loads(content)
    except (ValueError, RecursionError):
        raise NotApplicableError from None
    if not isinstance(document, dict | list) or not document:
        raise NotApplicableError
    return document


def _slots(value: Any) -> Iterator[tuple[Any, Any]]:
    """Each container in a document with each of its keys."""
    if isinstance(value, dict | list):
        keys = list(value) if isinstance(value, dict) else list(range(len(value)))
        for key in keys:
            yield value, key
            yield from _slots(value[key])


def _with_raw(document: Any, raw: str) -> bytes:
    return _written(document).replace(json.dumps(_MARK).encode(), raw.encode())


def _written(document: Any) -> bytes:
    try:
        return json.dumps(document).encode()
    except (ValueError, RecursionError):  # damaged before
        raise NotApplicableError from None
