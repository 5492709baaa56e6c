"""From findings to causes: which finding explains which.

A cause explains a symptom if it declares the symptom's code, both belong to the same run, and
the cause does not come later. What a cause explains is explained by the cause's own causes too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from trainguard.findings import Finding, leading_first

#: When, within one optimizer step, the evidence of a family comes into being: the model exists
#: before the batch, the batch before the loss, the loss before the gradients, and what is saved
#: comes last. Families without a place here (evaluation, data, source) are timeless.
_MOMENT = {"TG2": 0, "TG3": 1, "TG5": 2, "TG4": 3}
_SAVED = "TG1"
#: Stands in the configuration of an adapter, which is there before it is trained.
_CONFIGURED = frozenset({"TG108"})


def explain(
    findings: Sequence[Finding], explains: Mapping[str, Sequence[str]]
) -> tuple[Finding, ...]:
    """The findings, causes first, each with the codes of the findings that explain it.

    Args:
        findings: of any number of subjects.
        explains: by code, the codes of the symptoms that the fault produces.
    """
    causes = [
        {index for index, cause in enumerate(findings) if _produces(cause, symptom, explains)}
        for symptom in findings
    ]
    return leading_first(
        [
            replace(symptom, explained_by=_codes(findings, _closure(index, causes)))
            for index, symptom in enumerate(findings)
        ]
    )


def _produces(cause: Finding, symptom: Finding, explains: Mapping[str, Sequence[str]]) -> bool:
    return (
        symptom.code in explains.get(cause.code, ())
        and cause.scope == symptom.scope
        and cause is not symptom
        and _when(cause) <= _when(symptom)
    )


def _when(finding: Finding) -> tuple[float, int]:
    family = finding.code[:3]
    if family == _SAVED and finding.code not in _CONFIGURED:
        return (float("inf"), 0)
    return (finding.moment, _MOMENT.get(family, 0))


def _closure(start: int, causes: Sequence[set[int]]) -> set[int]:
    """All direct and indirect causes; a finding never explains itself, even through a loop."""
    seen: set[int] = set()
    queue = list(causes[start])
    while queue:
        index = queue.pop()
        if index not in seen and index != start:
            seen.add(index)
            queue.extend(causes[index])
    return seen


def _codes(findings: Sequence[Finding], indices: set[int]) -> tuple[str, ...]:
    return tuple(sorted({findings[index].code for index in indices}))
