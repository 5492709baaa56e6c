"""Whole-string matching of the regular expressions in a config, in bounded time.

Python's own matcher can take for ever on a hostile pattern. Here a pattern maps a set of
positions to the set of positions it can end at, so that no position is tried twice: the work is
bounded by the pattern's length times the square of the text's. Greedy and lazy repeats are the
same thing under this view, for it asks only whether there is a match.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Any, TypeAlias

_Positions: TypeAlias = frozenset[int]
LONGEST = 5_000
"""Characters of a pattern that are looked at; those that name whole layers have some hundred."""
_BUDGET = 200_000
"""Steps for one pattern and one text; ordinary ones take some hundred."""


class UndecidableError(Exception):
    """The pattern is invalid, uses what only a backtracking matcher can do, or is too long."""


def fullmatch(pattern: str, text: str) -> bool:
    """Whether the pattern matches the whole text, as `re.fullmatch` would say.

    Raises:
        UndecidableError: see there.
    """
    return len(text) in _Matcher(text).ends(_parsed(pattern), frozenset({0}))


@lru_cache(maxsize=256)
def _parsed(pattern: str) -> Any:
    if len(pattern) > LONGEST:
        raise UndecidableError(f"a pattern of {len(pattern)} characters")
    # The parser alone is fast whatever the pattern; it is the standard library's, but unnamed.
    parser = importlib.import_module("re._parser")
    try:
        tree = parser.parse(pattern)
    except (RecursionError, OverflowError, ValueError, parser.error) as error:
        raise UndecidableError(f"not a valid pattern: {error}") from None
    # Flags change what the parts mean; 32 says no more than that the pattern is text.
    if tree.state.flags != 32:
        raise UndecidableError("a pattern with flags")
    return tree


class _Matcher:
    """The positions of one text that the parts of a pattern lead to."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._steps = 0

    def ends(self, tree: Iterable[tuple[Any, Any]], starts: _Positions) -> _Positions:
        """Where a sequence of parts can end if it begins at one of the starts."""
        for operation, argument in tree:
            self._steps += 1 + len(starts)
            if self._steps > _BUDGET:
                raise UndecidableError("a pattern that takes too long")
            starts = self._part(str(operation), argument, starts)
        return starts

    def _part(self, operation: str, argument: Any, starts: _Positions) -> _Positions:
        if operation in _CHARACTERS:
            accepts = _CHARACTERS[operation]
            text = self._text
            return frozenset(p + 1 for p in starts if p < len(text) and accepts(text[p], argument))
        if operation == "BRANCH":
            return frozenset().union(*(self.ends(branch, starts) for branch in argument[1]))
        if operation == "SUBPATTERN" and not argument[1] and not argument[2]:
            return self.ends(argument[3], starts)
        if operation in ("MAX_REPEAT", "MIN_REPEAT"):
            least, most, tree = argument
            return self._repeat(least, most, tree, starts)
        if operation == "AT":
            return frozenset(p for p in starts if self._is_at(str(argument), p))
        if operation in ("ASSERT", "ASSERT_NOT") and argument[0] == 1:
            wanted = operation == "ASSERT"
            return frozenset(p for p in starts if self._follows(argument[1], p) is wanted)
        raise UndecidableError(f"a pattern that uses {operation}")

    def _repeat(self, least: int, most: int, tree: Any, starts: _Positions) -> _Positions:
        # A repeat longer than the text can add nothing but empty matches.
        for _ in range(min(least, len(self._text) + 1)):
            starts = self.ends(tree, starts)
        reached, fresh, count = starts, starts, least
        while fresh and count < most:
            fresh = self.ends(tree, fresh) - reached
            reached, count = reached | fresh, count + 1
        return reached

    def _follows(self, tree: Any, position: int) -> bool:
        return bool(self.ends(tree, frozenset({position})))

    def _is_at(self, place: str, position: int) -> bool:
        if place in ("AT_BEGINNING", "AT_BEGINNING_STRING"):
            return position == 0
        if place in ("AT_END", "AT_END_STRING"):
            return position == len(self._text)
        around = self._text[max(0, position - 1) : position], self._text[position : position + 1]
        before, after = (_is_word(character) for character in around)
        if place in ("AT_BOUNDARY", "AT_NON_BOUNDARY"):
            return (before is not after) is (place == "AT_BOUNDARY")
        raise UndecidableError(f"a pattern that uses {place}")


def _is_word(character: str) -> bool:
    return character.isalnum() or character == "_"


_CATEGORIES: dict[str, Callable[[str], bool]] = {
    "CATEGORY_DIGIT": str.isdecimal,
    "CATEGORY_WORD": _is_word,
    "CATEGORY_SPACE": str.isspace,
}


def _in_category(character: str, name: str) -> bool:
    if "_NOT_" in name:
        return not _in_category(character, name.replace("_NOT_", "_"))
    return _CATEGORIES[name](character)


def _in_set(character: str, items: Any) -> bool:
    negated = bool(items) and str(items[0][0]) == "NEGATE"
    members = items[1:] if negated else items
    return negated is not any(_accepts(character, str(kind), value) for kind, value in members)


def _accepts(character: str, kind: str, value: Any) -> bool:
    if kind == "RANGE":
        return bool(value[0] <= ord(character) <= value[1])
    if kind == "CATEGORY":
        return _in_category(character, str(value))
    return bool(ord(character) == value)


_CHARACTERS: dict[str, Callable[[str, Any], bool]] = {
    "LITERAL": lambda character, code: ord(character) == code,
    "NOT_LITERAL": lambda character, code: ord(character) != code,
    "ANY": lambda character, _: character != "\n",
    "IN": _in_set,
}
