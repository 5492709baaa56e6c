"""The pages written by hand, and what is in their fences."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
GENERATED = ROOT / "docs" / "checks"
_FENCE = re.compile(r"^```(?P<info>[^\n`]*)\n(?P<body>.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Fence:
    """One fenced block."""

    page: str
    line: int
    info: str
    body: str

    @property
    def name(self) -> str:
        return f"{self.page}:{self.line}"


def pages() -> list[Path]:
    docs = [
        path
        for path in sorted((ROOT / "docs").rglob("*.md"))
        if not {"checks", "_build"} & set(path.relative_to(ROOT / "docs").parts)
    ]
    others = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "examples/README.md"]
    return [*docs, *(ROOT / name for name in others), ROOT / "examples/plugin-package/README.md"]


def fences(*infos: str) -> Iterator[Fence]:
    """The blocks whose first word of info is one of these."""
    for page in pages():
        text = page.read_text(encoding="utf-8")
        for found in _FENCE.finditer(text):
            if (found["info"].split() or [""])[0] in infos:
                line = text.count("\n", 0, found.start()) + 1
                name = str(page.relative_to(ROOT))
                yield Fence(name, line, found["info"], found["body"])
