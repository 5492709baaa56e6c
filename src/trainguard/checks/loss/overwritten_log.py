"""The loss that is shown is not the loss that was logged.

## Why is this bad?
Every callback gets the same dictionary of logs and may change it. What comes after it, the console
and most trackers, shows the changed number, while `trainer_state.json` keeps the Trainer's own.
A NaN that is overwritten on its way to the dashboard is not seen by anyone.

## Example
```steps
step=1 logged_loss=4.1 printed_loss=0.01   # TG506
step=2 logged_loss=4.0 printed_loss=0.01
```

```steps
step=1 logged_loss=4.1 printed_loss=4.1
step=2 logged_loss=nan printed_loss=4.1   # TG506
```

## Instead
Log a smoothed or converted value under a name of its own, and leave `loss` alone.

```steps
step=1 logged_loss=4.1 printed_loss=4.1
step=2 logged_loss=nan printed_loss=nan
```

Rounding for display changes nothing that matters:

```steps
step=1 logged_loss=4.123456 printed_loss=4.12
step=2 logged_loss=0.00049 printed_loss=0.0
```

## Source
transformers 5.23 run: a callback that rewrites `logs["loss"]` changes the printed line and what
later callbacks see, not the history. A tolerance of 1 %, or of 0.005 for small losses, is that of
rounding to two decimals.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import isclose, isfinite

from trainguard.facts.steps import StepFacts, place, shown
from trainguard.findings import Finding, NotChecked, Precision, Severity
from trainguard.registry import check

RELATIVE, ABSOLUTE = 0.01, 0.005


@check("TG506", severity=Severity.ERROR, precision=Precision.EXACT)
def overwritten_log(steps: Sequence[StepFacts]) -> Iterator[Finding | NotChecked]:
    """Fire at the first step that shows another loss than was logged; a hidden NaN comes first."""
    pairs = [
        (step, step.logged_loss, step.printed_loss)
        for step in steps
        if step.logged_loss is not None and step.printed_loss is not None
    ]
    if not pairs:
        yield NotChecked("what the callbacks left of the log was not observed")
        return
    changed = [pair for pair in pairs if not _same(pair[1], pair[2])]
    if not changed:
        return
    hiding = [pair for pair in changed if not isfinite(pair[1])]
    step, logged, printed = (hiding or changed)[0]
    yield Finding(
        f"{step.name}: the Trainer logged a loss of {shown(logged)}, and a callback made it "
        f"{shown(printed)}, so console and trackers show another run "
        f"({len(changed)} of {len(pairs)} logs)",
        fix='remove the callback that assigns logs["loss"], or let it use a name of its own',
        location=place(steps, step, "printed_loss"),
        severity=Severity.ERROR if hiding else Severity.WARNING,
        evidence={"logs": len(changed), "observed": len(pairs), "hides_nonfinite": bool(hiding)},
    )


def _same(logged: float, printed: float) -> bool:
    if not isfinite(logged) or not isfinite(printed):
        return str(logged) == str(printed)
    return isclose(logged, printed, rel_tol=RELATIVE, abs_tol=ABSOLUTE)
