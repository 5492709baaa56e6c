"""Each fault in a short run: what its user sees, and what trainguard names.

The runs are those of `trainguard train sft|rft --fault NAME` on the embedded model, with fewer
questions and steps. The exit status is 1 if a cause is not the expected one, or the plain runs
have any.

    python -m tests.reference.faults [NAME ...]
"""

from __future__ import annotations

import io
import sys
import tempfile
from collections.abc import Iterator
from contextlib import redirect_stdout
from dataclasses import dataclass, replace
from pathlib import Path

from trainguard.cli.reference import cache_folder
from trainguard.findings import Report, Severity
from trainguard.reference.faults import FAULTS, of_rft
from trainguard.reference.plan import Plan
from trainguard.reference.run import run
from trainguard.reference.terminal import quiet

SHORT = Plan(train=600, valid=50, test=60, steps=80, save_steps=40, samples=4, temperature=0.5)


@dataclass(frozen=True)
class Outcome:
    """A run with a fault, or without one."""

    name: str
    expected: str
    """The code of the cause; empty for a plain run."""
    seen: tuple[str, ...]
    """The last logged line and the score, as the user sees them."""
    report: Report

    @property
    def is_right(self) -> bool:
        """Whether the expected cause comes first, and every error is explained by it."""
        causes = [cause.code for cause in self.report.causes]
        errors = {one.code for one in self.report.causes if one.severity is Severity.ERROR}
        return causes[:1] == [self.expected] * bool(self.expected) and errors <= {self.expected}

    def __str__(self) -> str:
        causes = [f"{one.code} {one.name} ({one.severity})" for one in self.report.causes]
        verdict = "" if self.is_right else f"   NOT AS EXPECTED: {self.expected or 'nothing'}"
        return "\n".join(
            [
                self.name + (f": {FAULTS[self.name].summary}" if self.name in FAULTS else ""),
                *(f"    {line}" for line in self.seen),
                f"  trainguard: {', '.join(causes) or 'no finding'}{verdict}",
            ]
        )


def outcome(plan: Plan, folder: Path, cache: Path) -> Outcome:
    """Run `plan` and keep what it shows."""
    said = io.StringIO()
    with redirect_stdout(said), quiet():
        results = run(plan, folder, cache)
    logged = [line for line in said.getvalue().splitlines() if line.startswith("{'loss'")]
    return Outcome(
        name=plan.fault or f"plain {plan.method}",
        expected=FAULTS[plan.fault].code if plan.fault else "",
        seen=(*logged[-1:], str(results.after)),
        report=results.report,
    )


def plans(names: list[str]) -> Iterator[Plan]:
    """The plain runs, then one for each fault."""
    for method in () if names else ("sft", "rft"):
        yield replace(SHORT, method=method)
    for name in names or FAULTS:
        yield replace(SHORT, fault=name, method="rft" if of_rft(name) else "sft")


def main() -> None:
    """Print the table."""
    outcomes = []
    for plan in plans(sys.argv[1:]):
        with tempfile.TemporaryDirectory() as folder:
            outcomes.append(outcome(plan, Path(folder), cache_folder()))
        print(outcomes[-1], flush=True)
    right = sum(one.is_right for one in outcomes)
    print(f"\n{right} of {len(outcomes)} runs as expected")
    sys.exit(right < len(outcomes))


if __name__ == "__main__":
    main()
