"""Texts as overlap compares them: words, numbers, and keys of numbers and answer."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator
from functools import lru_cache

#: Ends a row in a text of many; it is no blank, so that splitting keeps it.
END = "\0"
_OPERATORS = "+*/=^%<>-()&|~$"
_PUNCTUATION = str.maketrans(dict.fromkeys("!\"#',:;?@[\\]_`{}\t\n\v\f\r", " "))
#: Runs of full stops are taken off one by one; whoever writes more of them means something.
_FULL_STOPS = 8
#: One character of a script without blanks is a word.
_UNSPACED = re.compile(r"([\u3040-\u30ff\u3400-\u9fff])")
_OTHER_SIGN = re.compile(r"[^\w\s\0-\x7f]")
_SUPERSCRIPT = re.compile(r"(?<=\w)([\xb2\xb3\xb9\u2070\u2074-\u2079]+)")
_DASHES = re.compile(r"[\u2010-\u2015\u2212]")
_THOUSANDS = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")
_WHOLE = re.compile(r"(?<=\d)\.0+(?![\d.])")
_NUMBER = re.compile(r"\d+(?:\.\d+)?|\0")

Key = tuple[float, ...]


def normal(texts: Iterable[str]) -> str:
    """All texts as words between blanks, each text ended by `END`.

    Case, punctuation and the form of characters and numbers (1,200 and 1200) are gone; operators,
    signs and round brackets, which a formula needs, are words of their own.
    """
    given = list(texts)
    joined = f" {END} ".join([*given, ""]).casefold()
    if joined.count(END) > len(given):
        return normal(text.replace(END, " ") for text in given)
    if not joined.isascii():
        joined = _DASHES.sub("-", unicodedata.normalize("NFKC", _SUPERSCRIPT.sub(r"^\1", joined)))
        joined = _UNSPACED.sub(r" \1 ", _OTHER_SIGN.sub(_kept_sign, joined))
    if "," in joined:
        joined = _THOUSANDS.sub("", joined)
    for operator in _OPERATORS:
        if operator in joined:
            joined = joined.replace(operator, f" {operator} ")
    joined = joined.translate(_PUNCTUATION)
    for _ in range(_FULL_STOPS):
        joined = joined.replace(". ", " ")
    return _WHOLE.sub("", joined) if ".0" in joined else joined


def _kept_sign(sign: re.Match[str]) -> str:
    """A vowel sign stays in its word and a symbol such as × is a word; the rest is punctuation."""
    kind = unicodedata.category(sign[0])
    return sign[0] if kind[0] == "M" else f" {sign[0]} " if kind in ("Sm", "Sc", "So") else " "


def words_of(text: str) -> list[str]:
    """The words of one text, as `normal` has them."""
    return normal([text]).split()[:-1]


def keys_of(joined: str, answers: Iterable[str | None]) -> Iterator[Key | None]:
    """Per row of a normal text: its sorted numbers and its numeric answer; None where one lacks."""
    numbers: list[float] = []
    expected = iter(answers)
    for token in _NUMBER.findall(joined):
        if token != END:
            numbers.append(float(token))
            continue
        answer = number(next(expected))
        yield (*sorted(numbers), answer) if numbers and answer is not None else None
        numbers = []


@lru_cache(maxsize=1 << 16)
def number(text: str | None) -> float | None:
    """A number to six digits, as one side computes what the other writes down."""
    if not text:
        return None
    try:
        value = float(text.replace(",", ""))
    except ValueError:
        return None
    return float(f"{value:.6g}") if abs(value) < float("inf") else None
