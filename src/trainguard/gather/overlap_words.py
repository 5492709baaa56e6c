"""The words of many texts at once, as one evaluation's wording is compared with another's."""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Sequence

#: Stands behind every text's words; no text keeps one of its own.
BREAK = "\0"
#: Longer answers are texts, even where a number stands in them.
LONGEST_NUMBER = 64

#: What may differ between two copies of a text. Brackets and operators may not: "(3 + 5) * 2" is
#: another question than "3 + 5 * 2".
_PUNCTUATION = r".,;:?!'\"`_\-"
_FOREIGN_PUNCTUATION = (
    r"\xa1\xab\xad\xb7\xbb\xbf\u060c\u061b\u061f\u06d4\u0964\u0965"
    r"\u200b-\u2027\u202a-\u205e\u2060-\u206f\u3001-\u301f\ufeff"
)
#: Scripts written without spaces between words: a character is a word.
_UNSPACED = r"\u3040-\u30ff\u3400-\u9fff"
_PATTERN = r"{letters}+|[0-9]+(?:\.[0-9]+)?|\.[0-9]+|-(?=\s?[0-9])|[^\s{punctuation}]"
_ASCII = re.compile(_PATTERN.format(letters="[a-z]", punctuation=_PUNCTUATION))
_ANY = re.compile(
    _PATTERN.format(
        letters=rf"[^\W0-9_{_UNSPACED}]", punctuation=_PUNCTUATION + _FOREIGN_PUNCTUATION
    )
)
# Each begins with a literal, which the engine finds far faster than a class of characters.
_THOUSANDS = re.compile(r",(?<=[0-9],)(?=[0-9]{3}(?![0-9]))")
_TRAILING_ZEROS = re.compile(r"\.(?<=[0-9]\.)(?:0+|([0-9]*[1-9])0+)(?![0-9])")
_SIGNED = re.compile(r"-?(?:[0-9]+(?:\.[0-9]+)?|\.[0-9]+)(?:e[+-]?[0-9]+)?")


def words(texts: Sequence[str]) -> list[str]:
    """The words of all texts in order, each text's followed by `BREAK`.

    Case, punctuation, spacing and the compatibility forms of Unicode are gone; a number is one
    word in one spelling ("1,234.50" is "1234.5"); an operator, a bracket and a character of a
    script without spaces are words of their own. "6kg" is two words.
    """
    joined = _normal("".join([text.replace(BREAK, " ") + BREAK for text in texts]))
    return (_ASCII if joined.isascii() else _ANY).findall(joined)


def is_number(word: str) -> bool:
    """Whether a word out of `words` is a number."""
    return word[0] in "0123456789."


def is_worded(word: str) -> bool:
    """Whether a word is made of letters or digits, and no operator, bracket or mark."""
    return word[0].isalnum() or is_number(word)


def number(answer: str | None) -> float:
    """The one number that an answer such as "6,000 gram" or "-5" states, otherwise NaN."""
    if answer is None or len(answer) > LONGEST_NUMBER:
        return math.nan
    try:
        value = float(answer)
    except ValueError:
        stated = _SIGNED.findall(_normal(answer))
        value = float(stated[0]) if len(stated) == 1 else math.nan
    return value if math.isfinite(value) else math.nan


def _normal(text: str) -> str:
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text).replace("\N{MINUS SIGN}", "-")
    text = _THOUSANDS.sub("", text.casefold())
    return _TRAILING_ZEROS.sub(lambda zeros: f".{zeros[1]}" if zeros[1] else "", text)
