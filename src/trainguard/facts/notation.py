"""The one-line notation of facts in a check's examples.

An example is a fenced block whose name is a module of `trainguard.facts`, or of one beside it
that ends in `_notation` where there is more to write down. Each line is a record,
`# TG501` marks the line at which that check fires:

    step=7 loss=nan logged_loss=0.0 grad_norm=nan   # TG501
    step=8 loss=2.1 logged_loss=2.1 grad_norm=1.3

A block named `source` is Python code and is gathered from as a file would be.

Words without `=` come first and say what the record is where a module knows several.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from trainguard.facts.evidence import Evidence

_FENCE = re.compile(r"^```(?P<kind>[a-z_]+)\n(?P<body>.*?)^```$", re.MULTILINE | re.DOTALL)
_MARK = re.compile(r"\s+#(?P<codes>(?:\s+TG\d{3})+)\s*$")
_SPECIAL = {"nan": float("nan"), "inf": float("inf"), "-inf": float("-inf"), "none": None}
#: The fence of a source text that is judged as the user's file would be.
CODE = "source"
#: Fences that show the user's code or text, not facts.
_PROSE = frozenset({"python", "text", "json", "yaml", "toml", "bash"})


@dataclass(frozen=True, slots=True)
class Line:
    """One record of an example."""

    words: tuple[str, ...]
    fields: Mapping[str, Any]
    marks: tuple[str, ...]
    text: str

    @property
    def word(self) -> str:
        """The first word, or "" if the record has none."""
        return self.words[0] if self.words else ""


@dataclass(frozen=True, slots=True)
class Example:
    """One fenced block of facts."""

    kind: str
    lines: tuple[Line, ...]
    text: str

    @property
    def is_code(self) -> bool:
        """Whether it is a source text, from which facts are gathered."""
        return self.kind == CODE

    def evidence(self) -> Evidence:
        """The facts that the lines state; raises ValueError on a line that states none."""
        name = f"trainguard.facts.{self.kind}"
        own = importlib.util.find_spec(f"{name}_notation")
        module = importlib.import_module(own.name if own is not None else name)
        return Evidence(subject="example", kind=self.kind, facts=module.from_notation(self.lines))


def examples(doc: str) -> Iterator[Example]:
    """The blocks of facts in a check's documentation, in order."""
    for fence in _FENCE.finditer(doc):
        if fence["kind"] not in _PROSE:
            texts = [text for text in fence["body"].splitlines() if text.strip()]
            read = marked if fence["kind"] == CODE else parse
            yield Example(fence["kind"], tuple(map(read, texts)), fence["body"])


def marked(text: str) -> Line:
    """One line of code; only its mark is read."""
    mark = _MARK.search(text)
    codes = tuple(mark["codes"].split()) if mark else ()
    return Line(words=(), fields={}, marks=codes, text=text.strip())


def parse(text: str) -> Line:
    """One line of notation; values are JSON, `nan`, `inf`, `none`, or else plain text."""
    mark = _MARK.search(text)
    body = text[: mark.start()] if mark else text
    tokens = shlex.split(body)
    pairs = [token.partition("=") for token in tokens if "=" in token]
    return Line(
        words=tuple(token for token in tokens if "=" not in token),
        fields={name: _value(value) for name, _, value in pairs},
        marks=tuple(mark["codes"].split()) if mark else (),
        text=body.strip(),
    )


def _value(text: str) -> Any:
    if text.lower() in _SPECIAL:
        return _SPECIAL[text.lower()]
    try:
        return json.loads(text)
    except ValueError:
        return text
