"""How formats that hold a limited number of findings order and recognise them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from trainguard.findings import Finding
from trainguard.registry import Check, all_checks


def gravest_first(findings: Iterable[Finding]) -> list[Finding]:
    """By severity, within it causes before symptoms; stable otherwise."""
    return sorted(findings, key=lambda one: (one.severity.rank, bool(one.explained_by)))


def fingerprints(findings: Sequence[Finding]) -> Iterator[str]:
    """One for each finding, `hash:1`; the next of one check in one place is `hash:2`."""
    seen: Counter[str] = Counter()
    for finding in findings:
        base = finding.fingerprint
        seen[base] += 1
        yield f"{base}:{seen[base]}"


def known_checks() -> dict[str, Check]:
    """The registered checks by code; a report may name others, of a plugin that is gone."""
    return {one.code: one for one in all_checks()}
