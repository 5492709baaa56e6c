"""The schedule ends before the run.

## Why is this bad?
The learning rate has come down to 0 and stays there: all further steps cost time and change
nothing. The scheduler was given fewer steps than the run has, as when one epoch is counted for
three, or is stepped once for every process.

A schedule may end at 0; five steps and a twentieth of the run are asked for.

## Example
```preflight
plan steps=900 peak=2e-4 zero_from=301   # TG218
```

## Instead
Give the scheduler the number of optimizer steps of the whole run.

```preflight
plan steps=900 peak=2e-4
```

```preflight
plan steps=900 peak=2e-4 zero_from=899
```

## Source
sentence-transformers#497. Linear and cosine schedules of transformers 5.23 reach 0 after the last
step, not before.
"""

from __future__ import annotations

from collections.abc import Iterator

from trainguard.facts.preflight import PlanFacts
from trainguard.findings import Finding, Location, Precision, Severity
from trainguard.registry import check

FEWEST = 5
SHARE = 0.05


@check(
    "TG218",
    severity=Severity.WARNING,
    precision=Precision.HIGH,
    explains=("TG504",),
)
def schedule_shorter_than_run(plan: PlanFacts, *, share: float = SHARE) -> Iterator[Finding]:
    """Fire if the rate is zero over more than a twentieth of the run, at its end."""
    if plan.zero_from is None or not plan.peak:
        return
    idle = plan.steps - plan.zero_from + 1
    if idle < FEWEST or idle < share * plan.steps:
        return
    yield Finding(
        f"the learning rate is 0 from step {plan.zero_from} on, so the last {idle} of "
        f"{plan.steps} steps change nothing",
        fix="give the scheduler the number of optimizer steps of the whole run",
        location=Location(key=f"steps={plan.steps}", value=f"rate 0 from step {plan.zero_from}"),
        evidence={"zero_from": plan.zero_from, "steps": plan.steps},
    )
