"""Reading an `adapter_config.json` that may hold anything."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from trainguard.facts.adapter import CONFIG_NAME, AdapterConfig, repeats
from trainguard.gather._json_bounds import demand_few_values
from trainguard.gather.adapter_files import UnreadableError, failed, misnamed, open_regular

LARGEST = 16 * 1024 * 1024
"""Bytes. A config with every module of a large model of experts by its full name has about 1 MB."""

_TOKEN = re.compile(r'"(?:[^"\\]++|\\.)*+"|[{}\[\]\n]', re.DOTALL)


def read_config(folder: Path) -> AdapterConfig:
    """The folder's config.

    Raises:
        UnreadableError: it is missing, not a regular file, too large, or not a JSON object.
    """
    path = folder / CONFIG_NAME
    try:
        with open_regular(path) as file:
            content = file.read(LARGEST + 1)
    except OSError as error:
        raise failed(error) from None
    return parse_config(content, str(path))


def parse_config(content: bytes, path: str) -> AdapterConfig:
    """The config that some bytes hold.

    Args:
        content: the file as a whole, or more than `LARGEST` bytes of it.
        path: as messages name it.

    Raises:
        UnreadableError: it is too large, or not a JSON object.
    """
    text = _decode(_read_all(content))
    pairs = _parse(text, content)
    return AdapterConfig(
        path=path,
        values=dict(pairs),
        lines=key_lines(text),
        source=tuple(text.splitlines()),
        repeated=repeats(pairs),
    )


def _read_all(content: bytes) -> bytes:
    if len(content) > LARGEST:
        raise UnreadableError(f"is larger than {LARGEST} bytes", fix="save the adapter again")
    return content


def _decode(content: bytes) -> str:
    if content.startswith(b"\xef\xbb\xbf"):
        raise UnreadableError(
            "begins with a byte-order mark, which the loader refuses",
            fix="save it as UTF-8 without a byte-order mark",
        )
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise misnamed(content[:64], len(content)) or UnreadableError(
            f"is not UTF-8 text (byte {error.start})", fix="save it as UTF-8"
        ) from None


def _parse(text: str, content: bytes) -> list[tuple[str, Any]]:
    """The pairs of the outermost object, repeated keys included."""
    outermost: list[tuple[str, Any]] = []

    def remember(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        # The parser closes the outermost object last.
        outermost[:] = pairs
        return dict(pairs)

    try:
        demand_few_values(content)
        values = json.loads(text, object_pairs_hook=remember)
    except json.JSONDecodeError as error:
        fault = f"is not valid JSON: {error.msg}, line {error.lineno} column {error.colno}"
        raise misnamed(content[:64], len(content)) or UnreadableError(
            fault, fix=f"repair line {error.lineno} of {CONFIG_NAME}", line=error.lineno
        ) from None
    except RecursionError:
        raise UnreadableError("is nested too deeply", fix="save the adapter again") from None
    except ValueError as error:  # an integer of thousands of digits
        raise UnreadableError(
            f"is not usable JSON: {error}", fix="save the adapter again"
        ) from None
    if not isinstance(values, dict):
        kind = "null" if values is None else f"a {type(values).__name__}"
        raise UnreadableError(
            f"holds {kind}, not a JSON object", fix="save the adapter again", line=1
        )
    return outermost


def key_lines(text: str) -> dict[str, int]:
    """The line of each key of the outermost object; of a repeated key, the last, which counts.

    Args:
        text: valid JSON.
    """
    lines: dict[str, int] = {}
    depth, line = 0, 1
    for token in _TOKEN.finditer(text):
        found = token.group()
        if found == "\n":
            line += 1
        elif found in "{[":
            depth += 1
        elif found in "}]":
            depth -= 1
        elif depth == 1 and text[token.end() : token.end() + 64].lstrip().startswith(":"):
            lines[json.loads(found)] = line
    return lines
