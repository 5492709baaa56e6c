"""Every gradient is exactly zero, step after step.

## Why is this bad?
No weight learns. A loss that goes up and down with the data hides it: only `grad_norm: 0.0`
tells. Frozen parameters, labels that are all ignored, a detached loss and rewards without any
difference all end here.

One zero step is no fault: a batch may hold nothing to learn, and trainable tokens receive
nothing from a batch without those tokens. Three in a row, up to the last step seen, are.

Layer-wise optimizers (GaLore, APOLLO, LOMO) consume the gradients before the Trainer measures
them, and the log says 0.0. Where the log is all there is and its losses fall, it cannot decide.

## Example
```steps
steps=1-2 loss=2.3 grad_norm=1.1
steps=3-6 loss=2.2 grad_norm=0.0   # TG402
```

## Instead
Find what cuts the gradient: count the trainable parameters and the supervised labels, look for
`.detach()`, `.item()` and `torch.no_grad()` between the model and the loss.

```steps
steps=1-3 loss=2.2 grad_norm=1.2
steps=4-5 loss=2.2 grad_norm=0.0
step=6 loss=2.1 grad_norm=0.9
```

Weights that change all the same do so by weight decay or momentum, which is no learning:

```steps
steps=1-3 loss=2.3 grad_norm=0.0 sampled=0 moved=0 drifted=512   # TG402
```

The log of a layer-wise optimizer:

```steps
steps=1-4 logged_loss=2.9 grad_norm=0.0
steps=5-8 logged_loss=2.6 grad_norm=0.0
steps=9-12 logged_loss=2.2 grad_norm=0.0
```

## Source
F01-F05 of the failure catalogue: `grad_norm` exactly 0.0 in every log of a frozen TRL run.
Three consecutive steps: measured trainable-token runs show isolated zeros only. Losses fall if
every one of the last third is below every one of the first: in a frozen run of twelve entries
chance alone does that once in 70, and then the check is silent where it should fire.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from trainguard.facts.steps import StepFacts, consecutive, from_log_alone, observed, place, units
from trainguard.findings import Finding, NotChecked, Precision, Severity
from trainguard.registry import check

STEPS = 3
FALL_STEPS = 12


@check(
    "TG402",
    severity=Severity.ERROR,
    precision=Precision.HIGH,
    explains=("TG105", "TG130", "TG135", "TG403", "TG503"),
)
def zero_gradients(steps: Sequence[StepFacts]) -> Iterator[Finding | NotChecked]:
    """Fire if the last steps, at least three, all have a gradient norm of exactly zero."""
    measured = observed(steps, "grad_norm")
    if not measured:
        yield NotChecked("no gradient norm was observed")
        return
    if measured[-1].grad_norm != 0.0:
        return
    *_, run = consecutive(measured, lambda step: step.grad_norm == 0.0)
    if len(run) < STEPS:
        return
    if from_log_alone(steps) and len(run) == len(measured) and _loss_falls(run):
        yield NotChecked("needs the live gradients; the loss falls at a logged norm of 0.0")
        return
    yield Finding(
        f"{run[0].name}: the gradient norm is exactly 0.0 from here on "
        f"({len(run)} of {len(measured)} {units(steps)}), so no weight learns{_drift(run)}",
        fix="count the trainable parameters and the supervised labels, and look for a detached "
        "loss",
        location=place(steps, run[0], "grad_norm"),
        evidence={"steps": len(run), "measured": len(measured)},
    )


def _drift(run: Sequence[StepFacts]) -> str:
    if not any(step.drifted for step in run):
        return ""
    return "; weights still change, by weight decay or momentum alone"


def _loss_falls(run: Sequence[StepFacts]) -> bool:
    losses = [step.logged_loss for step in run if step.logged_loss is not None]
    third = len(losses) // 3
    return len(losses) >= FALL_STEPS and max(losses[-third:]) < min(losses[:third])
