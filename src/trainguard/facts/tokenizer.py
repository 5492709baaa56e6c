"""What the tokenizer beside a saved adapter holds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

TOKENIZER_NAME = "tokenizer.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenizerFacts:
    """A `tokenizer.json`; where it is broken, the rest is not known."""

    WANTED: ClassVar[str] = "a tokenizer.json beside the adapter"

    path: str
    highest_token: int | None = None
    """Largest token id, added tokens included; None if the vocabulary was not read."""
    last_tokens: tuple[str, ...] = ()
    """The tokens of the largest ids, at most 5, the last one first."""
    problem: str = ""
    """Why it cannot be read, continuing the sentence that its name begins."""
