"""Codes and names of checks as arguments: split at commas, completed by the shell."""

from __future__ import annotations

from collections.abc import Iterable

import click
from click.shell_completion import CompletionItem


class CheckWord(click.ParamType[str]):
    """A code or a name; with `many`, prefixes of codes and several, separated by commas."""

    name = "check"

    def __init__(self, *, many: bool = False) -> None:
        self._many = many

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        """The checks that begin so, each with its summary."""
        from trainguard.registry import all_checks

        head, comma, word = incomplete.rpartition(",") if self._many else ("", "", incomplete)
        return [
            CompletionItem(f"{head}{comma}{name}", help=known.summary)
            for known in all_checks()
            for name in (known.code, known.name)
            if name.lower().startswith(word.lower())
        ]


def split(words: Iterable[str]) -> tuple[str, ...]:
    """The words of an option that may be repeated and holds several at a time."""
    return tuple(code.strip() for word in words for code in word.split(",") if code.strip())
