"""All the facts about one subject, as a gatherer hands them to the engine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """The facts about one adapter, one run or one evaluation."""

    subject: str
    """What was looked at, as the user named it."""
    kind: str
    """What it was recognised as: "adapter", "training run", "evaluation"."""
    facts: Mapping[type, Any]
    """A record by its type, or a tuple of records by the type of its members."""
    absent: Mapping[type, str] = field(default_factory=dict)
    """Facts that such a subject normally has, and why this one has not."""
    path: str | None = None
    """Default place of the findings; the subject if None."""
    notes: tuple[str, ...] = ()
    """What was measured or declared and needs no judgement; it stands in the report."""
    scope: str = ""
    """The run this belongs to, if it is part of one; the subject if empty."""
