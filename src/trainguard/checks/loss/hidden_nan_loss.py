"""A NaN loss is logged as a finite number.

## Why is this bad?
The Trainer's `logging_nan_inf_filter`, on by default, replaces a loss that is NaN or infinite
by the mean of the logging window before it is logged: with `logging_steps=1` that is exactly
0.0. Only the log is repaired. The backward pass and the optimizer still run on the NaN, so the
weights are NaN after this step while the curve looks finite.

A log alone shows it only where the logged loss is exactly 0.0 and the gradient norm is not
finite; in a longer logging window the replaced value looks like any other.

## Example
The loss was seen where the trainer returned it, before the filter:

```steps
step=6 loss=2.1 logged_loss=2.1 grad_norm=1.3
step=7 loss=nan logged_loss=0.0 grad_norm=nan   # TG501
step=8 loss=nan logged_loss=0.0 grad_norm=nan
```

A logging window of four steps; the log line hides the NaN in a mean that looks healthy:

```steps
step=1 loss=2.1 grad_norm=1.3
step=2 loss=2.0 grad_norm=1.2
step=3 loss=nan grad_norm=nan   # TG501
step=4 loss=nan logged_loss=1.37 grad_norm=nan
```

Only the log is left:

```steps
step=1 logged_loss=2.1 grad_norm=1.3
step=2 logged_loss=0.0 grad_norm=nan   # TG501
```

## Instead
Set `logging_nan_inf_filter=False`, stop at the first non-finite loss and look at what that step
computed: its batch, its precision (float16 overflows above 65504), its labels.

```steps
step=6 loss=2.1 logged_loss=2.1 grad_norm=1.3
step=7 loss=2.0 logged_loss=2.0 grad_norm=1.2
```

A loss of 0.0 whose gradient is 0.0 too is another fault (no supervised token), and a NaN that
the log states is not hidden:

```steps
step=1 logged_loss=0.0 grad_norm=0.0
step=2 loss=nan logged_loss=nan grad_norm=nan
```

## Source
transformers#13619 introduced the filter; trl#6702 shows it hiding real NaNs. Replacement rule
read and run in transformers 5.23: `running sum / (1 + steps since the last log)`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import isfinite

from trainguard.facts.steps import StepFacts, place, shown, units
from trainguard.findings import Finding, NotChecked, Precision, Severity
from trainguard.registry import check


@check(
    "TG501",
    severity=Severity.ERROR,
    precision=Precision.EXACT,
    explains=("TG106", "TG130", "TG144", "TG401", "TG402", "TG403", "TG404", "TG502", "TG503"),
)
def hidden_nan_loss(steps: Sequence[StepFacts]) -> Iterator[Finding | NotChecked]:
    """Fire at the first step whose loss was replaced before it was logged."""
    hidden = list(_hidden(steps))
    if not hidden:
        if not any(step.loss is not None for step in steps):
            yield NotChecked(
                "needs the live loss; a log alone cannot tell, its filter replaces a NaN"
            )
        elif not any(step.logged_loss is not None for step in steps):
            yield NotChecked("nothing was logged yet that could be compared with the loss")
        return
    first, log = hidden[0]
    loss = "NaN or infinite" if first.loss is None else str(first.loss)
    the_log = "the log" if log is first else f"the log of {log.name}"
    yield Finding(
        f"{first.name}: the loss is {loss}, {the_log} says {shown(log.logged_loss or 0.0)}, "
        f"and the optimizer goes on with it ({len(hidden)} of {len(steps)} {units(steps)})",
        fix="set logging_nan_inf_filter=False and find what made the loss of "
        f"{first.name} non-finite (float16 weights overflow above 65504: train in float32 or "
        "bfloat16)",
        location=place(steps, first, "logged_loss" if log is first else "loss", also=log),
        evidence={"steps": [step.step for step, _ in hidden[:100]], "count": len(hidden)},
        # On-policy GRPO logs a true 0.0, so the signature alone is no proof.
        precision=Precision.HIGH if first.loss is None else Precision.EXACT,
    )


def _hidden(steps: Sequence[StepFacts]) -> Iterator[tuple[StepFacts, StepFacts]]:
    """Each step whose loss was not finite, with the finite log line of its logging window."""
    window: list[StepFacts] = []
    for step in steps:
        window.append(step)
        if step.logged_loss is None:
            continue
        if isfinite(step.logged_loss):
            yield from ((bad, step) for bad in window if _is_bad(bad))
        window = []


def _is_bad(step: StepFacts) -> bool:
    if step.loss is not None:
        return not isfinite(step.loss)
    # The filter's replacement at a window of one step is exactly 0.0.
    no_gradient = step.grad_norm is not None and not isfinite(step.grad_norm)
    return step.logged_loss == 0.0 and no_gradient
