"""What the pickles of a folder would do to the process that loads them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, ClassVar

from trainguard.facts.adapter import FileProblem

if TYPE_CHECKING:
    from trainguard.facts.notation import Line


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """One thing outside the file that loading it would fetch."""

    name: str
    """Module and attribute, `os.system`, or a description where the file computes the name."""
    count: int = 1
    """How many times it is fetched, called or changed."""
    called: bool = False
    """Whether loading would call it, or change it, beyond making an empty object of the class."""
    needed: bool = False
    """Whether such a file needs it; what is not on the list of its kind is not needed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PickleFacts:
    """One pickled file, read without executing anything."""

    WANTED: ClassVar[str] = "a folder with pickled files"

    path: str
    kind: str
    """`tensors`, `random state`, `training arguments` or `other`."""
    layout: str = ""
    """`zip` and `legacy` as torch.save writes, `pickle` for a bare one, "" if it is none."""
    references: tuple[Reference, ...] = ()
    """By name."""
    problem: FileProblem | None = None
    """What kept it from being read to its end."""

    @property
    def name(self) -> str:
        """The file's name without its folder."""
        return PurePath(self.path).name

    @property
    def refused(self) -> tuple[Reference, ...]:
        """What such a file does not need; called ones first."""
        found = [reference for reference in self.references if not reference.needed]
        return tuple(sorted(found, key=lambda reference: not reference.called))


def from_notation(lines: Sequence[Line]) -> dict[type, Any]:
    """`optimizer.pt kind=tensors needs=NAME,... calls=NAME,... loads=NAME,... problem=...`.

    `needs` is on the list of that kind of file; `calls` and `loads` are not.
    """
    return {PickleFacts: tuple(_noted(line) for line in lines)}


def _noted(line: Line) -> PickleFacts:
    problem = line.fields.get("problem")
    return PickleFacts(
        path=line.word,
        kind=line.fields.get("kind", "other"),
        references=(
            *_references(line, "needs", needed=True),
            *_references(line, "calls", called=True),
            *_references(line, "loads"),
        ),
        problem=FileProblem(path=line.word, what=problem) if problem else None,
    )


def _references(line: Line, field: str, **values: bool) -> tuple[Reference, ...]:
    names = line.fields.get(field, "")
    return tuple(Reference(name=name, **values) for name in names.split(",") if name)
