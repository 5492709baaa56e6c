"""The warm-up is longer than the run.

## Why is this bad?
The learning rate is still rising when the run ends, so the model is trained at a fraction of the
rate that was asked for. A run of a single step with a warm-up trains at a rate of 0 and changes
nothing. Accumulation makes it likely: warm-up counts optimizer steps, not batches.

It is an error where no step reaches half of the rate, otherwise a warning.

## Example
```preflight
plan steps=8 peak=1.4e-5 learning_rate=2e-4 rising=true   # TG217
```

```preflight
plan steps=1 peak=0.0 learning_rate=2e-4   # TG217
```

## Instead
State the warm-up as a share of the run: `warmup_steps=0.05`.

```preflight
plan steps=800 peak=2e-4 learning_rate=2e-4
```

A schedule that only rises may reach its rate:

```preflight
plan steps=8 peak=2e-4 learning_rate=2e-4 rising=true
```

A constant fraction is a choice:

```preflight
plan steps=8 peak=1e-4 learning_rate=2e-4
```

## Source
F36 of the failure catalogue, measured with transformers 5.23: a warm-up of 100 steps in a run of 8
peaks at 7 % of the rate.
"""

from __future__ import annotations

from collections.abc import Iterator

from trainguard.facts.preflight import PlanFacts
from trainguard.findings import Finding, Location, NotChecked, Precision, Severity
from trainguard.registry import check

REACHED = 0.99
LOW = 0.5


@check(
    "TG217",
    severity=Severity.ERROR,
    precision=Precision.EXACT,
    explains=("TG105", "TG130", "TG403", "TG503", "TG504"),
)
def warmup_longer_than_run(plan: PlanFacts) -> Iterator[Finding | NotChecked]:
    """Fire if the rate only rises and never reaches what it was meant to reach."""
    if not plan.learning_rate:
        yield NotChecked("the learning rate is zero, with or without a warm-up")
        return
    if plan.peak > 0 and not (plan.rising and plan.peak < REACHED * plan.learning_rate):
        return
    share = plan.peak / plan.learning_rate
    yield Finding(
        f"the learning rate peaks at {plan.peak:.2g}, {share:.0%} of {plan.learning_rate:.2g}, "
        f"because the run ends after {plan.steps} steps, before its warm-up",
        fix="set warmup_steps to a share of the run such as 0.05, and count in optimizer steps",
        severity=Severity.ERROR if share < LOW else Severity.WARNING,
        location=Location(key=f"steps={plan.steps}", value=f"peak rate {plan.peak:.2g}"),
        evidence={"peak": plan.peak, "learning_rate": plan.learning_rate, "steps": plan.steps},
    )
