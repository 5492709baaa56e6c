"""Reading a JSON object that may be anything."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from trainguard.gather._json_bounds import demand_few_values
from trainguard.gather.adapter_files import UnreadableError, failed, misnamed, open_regular


def read_object(path: Path, largest: int) -> dict[str, Any]:
    """The object in a JSON file.

    Args:
        path: of a regular file, or of a link to one.
        largest: how many bytes are read at most.

    Raises:
        UnreadableError: it is missing, not a regular file, larger, or not a JSON object.
    """
    return as_object(read_bytes(path, largest))


def as_object(content: bytes) -> dict[str, Any]:
    """The object that JSON text spells.

    Raises:
        UnreadableError: it is none.
    """
    try:
        demand_few_values(content)
        values = json.loads(content)
    except RecursionError:
        raise UnreadableError("is nested too deeply", fix="save it again") from None
    except ValueError as error:  # not JSON, not UTF-8, or a number of thousands of digits
        raise misnamed(content[:64], len(content)) or UnreadableError(
            f"is not valid JSON: {error}", fix="copy, download or save it again"
        ) from None
    if not isinstance(values, dict):
        raise UnreadableError(
            f"holds a JSON {type(values).__name__}, not an object", fix="save it again"
        )
    return values


def read_bytes(path: Path, largest: int) -> bytes:
    """The content of a file.

    Raises:
        UnreadableError: it is missing, not a regular file, or larger.
    """
    content = bytearray()
    try:
        with open_regular(path) as file:
            while piece := file.read(min(2**20, largest + 1 - len(content))):
                content += piece
    except OSError as error:
        raise failed(error) from None
    if len(content) > largest:
        raise UnreadableError(f"is larger than {largest} bytes", fix="check what wrote it")
    return bytes(content)


def whole(value: Any) -> int | None:
    """The value if it is a whole number."""
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def text(value: Any) -> str | None:
    """The value if it is text that can be printed: JSON can spell lone surrogates."""
    if not isinstance(value, str):
        return None
    try:
        value.encode()
    except UnicodeEncodeError:
        return None
    return value
