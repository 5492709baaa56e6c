"""What trainguard says: findings, what was not checked, and the report that holds them."""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path, PurePath
from typing import Any

JSON_VERSION = 1
IN_BASELINE = "accepted in the baseline"


class Severity(StrEnum):
    """How much a finding matters to the person who trains."""

    ERROR = "error"
    WARNING = "warning"
    INFO = "info"

    @property
    def rank(self) -> int:
        """0 for the gravest."""
        return list(Severity).index(self)


class Precision(StrEnum):
    """How sure a check is when it fires.

    EXACT is a proof from the evidence, HIGH a pattern that no healthy run is known to show,
    MEDIUM one that healthy runs show rarely (never an error).
    """

    EXACT = "exact"
    HIGH = "high"
    MEDIUM = "medium"


class ExitCode:
    """Exit statuses of `trainguard check`."""

    CLEAN = 0
    FINDINGS = 1
    FAILED = 2
    NOTHING_CHECKED = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class ExcerptLine:
    """One line of the frame printed under a finding: a gutter label, the text, the mark."""

    label: str
    text: str
    marked: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Location:
    """Where the evidence is: a file and line, a key and its value, a step of a run."""

    path: str | None = None
    """File or folder, as the user named it."""
    line: int | None = None
    """Line in the file, from 1."""
    column: int | None = None
    """Character in the line, from 1."""
    end_line: int | None = None
    """Last line, from 1."""
    end_column: int | None = None
    """Character of the last line behind the place, from 1."""
    key: str | None = None
    """Config key, tensor, parameter or attribute."""
    value: str | None = None
    """What stands there, as text."""
    step: int | None = None
    """Optimizer step, from 1."""
    excerpt: tuple[ExcerptLine, ...] = ()
    """Lines to show around the place; for people, not part of the JSON."""

    def to_dict(self) -> dict[str, Any]:
        """The fields that are set, for JSON."""
        fields = {
            "path": self.path,
            "line": self.line,
            "column": self.column,
            "end_line": self.end_line,
            "end_column": self.end_column,
            "key": self.key,
            "value": self.value,
            "step": self.step,
        }
        return {name: value for name, value in fields.items() if value is not None}


@dataclass(frozen=True, slots=True)
class Finding:
    """One fault found.

    A check states the first group of fields; the registry and the diagnosis fill the second.
    """

    message: str
    """The number, the place and the consequence, in one sentence."""
    fix: str = field(default="", kw_only=True)
    """What to do, in the imperative."""
    location: Location = field(default=Location(), kw_only=True)
    evidence: Mapping[str, Any] = field(default_factory=dict, kw_only=True)
    """The numbers behind the message, as JSON values."""
    severity: Severity = field(default=Severity.ERROR, kw_only=True)
    precision: Precision | None = field(default=None, kw_only=True)
    """Only where this finding is surer or less sure than its check."""

    code: str = field(default="", kw_only=True)
    name: str = field(default="", kw_only=True)
    subject: str = field(default="", kw_only=True)
    """What was looked at: an adapter folder, a run, an evaluation."""
    scope: str = field(default="", kw_only=True)
    """The run that the subject belongs to; causes explain symptoms within one scope."""
    explained_by: tuple[str, ...] = field(default=(), kw_only=True)
    """Codes of the causes found in the same scope that produce this symptom."""

    @property
    def fingerprint(self) -> str:
        """`fingerprint_from` the working directory."""
        return self.fingerprint_from(Path())

    def fingerprint_from(self, root: Path) -> str:
        """Sixteen hex digits that stay the same while the fault stays where it is.

        They depend on the code, the path, the key and, in source, the text of the line, not on
        its number, the message or a measured value. Two faults of one check in one place share
        them.

        Args:
            root: the folder that the path is taken relative to, if it lies below it.
        """
        place = self.location
        is_source = self.code.startswith("TG8")
        text = [row.text.strip() for row in place.excerpt if row.marked] if is_source else []
        parts = (self.code, relative_path(place.path or self.subject, root), place.key or "", *text)
        whole = "\0".join(parts).encode("utf-8", "backslashreplace")
        return hashlib.sha256(whole).hexdigest()[:16]

    @property
    def moment(self) -> int:
        """When in a run it was: the step, or the line of a log without steps; 0 if at no time."""
        is_of_a_step = self.code.startswith(("TG3", "TG4", "TG5"))
        return self.location.step or (is_of_a_step and self.location.line) or 0

    def to_dict(self) -> dict[str, Any]:
        """The finding as JSON values."""
        return {
            "code": self.code,
            "name": self.name,
            "severity": self.severity.value,
            "precision": self.precision.value if self.precision else None,
            "message": self.message,
            "fix": self.fix,
            "subject": self.subject,
            "location": self.location.to_dict(),
            "evidence": dict(self.evidence),
            "explained_by": list(self.explained_by),
        }


@dataclass(frozen=True, slots=True)
class NotChecked:
    """A check that could not decide, and what it would have needed."""

    reason: str
    code: str = field(default="", kw_only=True)
    subject: str = field(default="", kw_only=True)

    def to_dict(self) -> dict[str, str]:
        """The entry as JSON values; the subject only where there is one."""
        entry = {"code": self.code, "reason": self.reason, "subject": self.subject}
        return {name: value for name, value in entry.items() if value or name != "subject"}


@dataclass(frozen=True, slots=True)
class Suppressed:
    """A finding that a comment or a setting took out of the report."""

    finding: Finding
    reason: str
    """What the comment says, or which setting it is; empty if the comment gives no reason."""
    in_source: bool = True
    """Whether it is a comment."""

    def to_dict(self) -> dict[str, Any]:
        """The entry as JSON values."""
        return {**self.finding.to_dict(), "suppressed_because": self.reason}


@dataclass(frozen=True, slots=True)
class Subject:
    """One thing that was looked at."""

    name: str
    kind: str


#: How a report is shown, as "text" and as "html": `trainguard.report.display` says it.
PRESENTERS: dict[str, Callable[[Report], str]] = {}


@dataclass(frozen=True, slots=True)
class Report:
    """Everything one look found, and what it could not look at."""

    findings: tuple[Finding, ...] = ()
    checked: tuple[str, ...] = ()
    """Codes of the checks that decided on at least one subject, sorted."""
    not_checked: tuple[NotChecked, ...] = ()
    subjects: tuple[Subject, ...] = ()
    suppressed: tuple[Suppressed, ...] = ()
    """Findings that comments or settings took out; they explain nothing and fail nothing."""
    known: tuple[Finding, ...] = ()
    """Findings of the user's baseline; they explain nothing and fail nothing."""
    notes: tuple[str, ...] = ()
    """What was measured or declared and is no finding, such as a score with its interval."""
    fail_on: Severity | None = Severity.ERROR
    """The mildest severity that fails; None never fails."""

    def __str__(self) -> str:
        """The report as a terminal shows it, without colours."""
        return PRESENTERS["text"](self)

    def _repr_html_(self) -> str:
        """What a notebook shows: a piece of HTML."""
        return PRESENTERS["html"](self)

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        """What IPython shows in a terminal: the text."""
        printer.text(str(self))

    @property
    def set_aside(self) -> tuple[Suppressed, ...]:
        """What was found and does not count, the findings of the baseline included."""
        known = (Suppressed(finding, IN_BASELINE, in_source=False) for finding in self.known)
        return (*self.suppressed, *known)

    @property
    def causes(self) -> tuple[Finding, ...]:
        """The findings that no other finding explains, gravest first."""
        return tuple(finding for finding in self.findings if not finding.explained_by)

    def symptoms_of(self, cause: Finding) -> tuple[Finding, ...]:
        """The findings of the cause's scope that the cause explains."""
        return tuple(
            finding
            for finding in self.findings
            if finding.scope == cause.scope and cause.code in finding.explained_by
        )

    @property
    def exit_code(self) -> int:
        """0 clean, 1 findings at or above `fail_on`, 3 nothing was recognised to check."""
        if not self.subjects:
            return ExitCode.NOTHING_CHECKED
        failing = self.fail_on is not None and any(
            finding.severity.rank <= self.fail_on.rank for finding in self.findings
        )
        return ExitCode.FINDINGS if failing else ExitCode.CLEAN

    def count(self, severity: Severity) -> int:
        """How many findings have this severity, symptoms included."""
        return sum(finding.severity is severity for finding in self.findings)

    def to_dict(self) -> dict[str, Any]:
        """The report as JSON values (see `JSON_VERSION`)."""
        return {
            "version": JSON_VERSION,
            "findings": [finding.to_dict() for finding in self.findings],
            "checked": list(self.checked),
            "not_checked": [entry.to_dict() for entry in self.not_checked],
            "suppressed": [entry.to_dict() for entry in self.suppressed],
            "known": [finding.to_dict() for finding in self.known],
            "notes": list(self.notes),
            "summary": {
                **{severity.value: self.count(severity) for severity in Severity},
                "causes": len(self.causes),
                "subjects": [{"name": s.name, "kind": s.kind} for s in self.subjects],
                "exit_code": self.exit_code,
            },
        }

    def to_json(self, indent: int | None = 2) -> str:
        """The report as strict JSON: a non-finite number becomes the string "nan" or "inf"."""
        return json.dumps(_strict(self.to_dict()), indent=indent, ensure_ascii=False)


def _strict(value: Any) -> Any:
    """JSON has no NaN and UTF-8 no lone surrogates (of odd file names): readers reject them."""
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, Mapping):
        return {_strict(str(key)): _strict(item) for key, item in value.items()}
    if isinstance(value, Iterable) and not isinstance(value, bytes):
        return [_strict(item) for item in value]
    return value


def relative_path(path: str, root: Path = Path()) -> str:
    """A path as seen from a folder, with forward slashes, if it lies below it.

    Args:
        path: as the user named it: relative to the working directory, or absolute.
        root: the folder; the working directory by default.
    """
    place = PurePath(os.path.normpath(path))
    top = Path(os.path.normpath(root.absolute()))
    whole = Path.cwd() / place
    return (whole.relative_to(top) if whole.is_relative_to(top) else place).as_posix()


def leading_first(findings: Sequence[Finding]) -> tuple[Finding, ...]:
    """Causes before symptoms, then by severity, step and code; stable otherwise."""
    return tuple(sorted(findings, key=_order))


def _order(finding: Finding) -> tuple[bool, int, int, str, str]:
    explained = bool(finding.explained_by)
    return (explained, finding.severity.rank, finding.moment, finding.code, finding.subject)
