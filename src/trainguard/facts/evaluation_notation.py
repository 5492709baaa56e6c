"""How the examples of checks write the facts of an evaluation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from trainguard.facts.evaluation import (
    ControlFacts,
    EvaluationFacts,
    MethodFacts,
    WitnessFacts,
)
from trainguard.facts.evaluation_probes import (
    GraderFacts,
    ParserFacts,
    PathFacts,
    RepeatFacts,
    ReplayFacts,
    TableFacts,
)
from trainguard.facts.evaluation_score import BoundFacts, ClaimFacts, ScoreFacts

if TYPE_CHECKING:
    from trainguard.facts.notation import Line

#: The record that a line states, and what its second word says.
_OWN: dict[str, tuple[type, str]] = {
    "replay": (ReplayFacts, "decoding"),
    "path": (PathFacts, "path"),
    "repeat": (RepeatFacts, "decoding"),
    "parser": (ParserFacts, "name"),
    "grader": (GraderFacts, "name"),
    "score": (ScoreFacts, ""),
    "claim": (ClaimFacts, ""),
    "bound": (BoundFacts, ""),
}
_PARTS: dict[str, tuple[type, str]] = {
    "method": (MethodFacts, "key"),
    "witness": (WitnessFacts, "during"),
    "control": (ControlFacts, ""),
    "table": (TableFacts, "key"),
}


def from_notation(lines: Sequence[Line]) -> dict[type, Any]:
    """`method KEY by=...`, `witness body questions=...`, `control rows=...`, `table KEY place=...`.

    `replay greedy tokens=...`, `repeat greedy rows=...`, `path NAME rows=...`, `parser NAME
    junk=...`, `grader NAME ...`, `score rows=...`, `claim accuracy=...` and `bound rows=...` are
    facts of their own.
    `unavailable reason=...` says why there is no control, `oracle reason=...` and
    `declared method=... reason=...` what the user declared.
    """
    parts: dict[str, list[Any]] = {word: [] for word in _PARTS}
    said = {"unavailable": "", "oracle": "", "allowed": ""}
    facts: dict[type, Any] = {}
    for line in lines:
        if line.word in said:
            said[line.word] = line.fields["reason"]
        elif line.word == "declared":
            said["allowed"] = f"{line.fields['method']} declared: {line.fields['reason']}"
        elif line.word in _PARTS:
            parts[line.word].append(_record(line, *_PARTS[line.word]))
        else:
            record = _record(line, *_OWN[line.word])
            facts[type(record)] = record
    facts[EvaluationFacts] = EvaluationFacts(
        methods=tuple(parts["method"]),
        witnesses=tuple(parts["witness"]),
        control=parts["control"][0] if parts["control"] else None,
        **said,
    )
    facts[TableFacts] = tuple(parts["table"])
    return facts


def _record(line: Line, kind: type, named: str) -> Any:
    values = dict(line.fields)
    if named:
        values[named] = line.words[1]
    if kind is MethodFacts:
        values.setdefault("kind", "instance")
    for name in ("processors", "junk_accepted"):
        if name in values:
            values[name] = tuple(values[name])
    return kind(**values)
