"""The updates are far too small or far too large for the weights.

## Why is this bad?
An update of a hundred-millionth of the weights teaches nothing in any affordable run: a learning
rate with a wrong exponent, or plain SGD with a learning rate made for Adam. An update of a
twentieth of the weights or more destroys a trained model in one step, if the loss says so.

Small updates in a warm-up or at the end of a schedule are meant; large ones relative to new,
nearly zero weights (a fresh LoRA factor, soft prompts) are harmless while the loss bears them.

## Example
```steps
steps=1-9 loss=2.3 lr=1e-11 update_ratio=2e-12   # TG406
```

```steps
step=1 loss=1.1 lr=0.5 update_ratio=1.3   # TG406
steps=2-20 loss=19.5 lr=0.5 update_ratio=0.3
```

```steps
step=1 loss=2.3 lr=1e30 nonfinite_tensors=0 update_ratio=3e31   # TG406
step=2 loss=nan lr=1e30
```

```steps
step=1 loss=5.5 lr=30 update_ratio=455   # TG406
steps=2-3 loss=16 lr=30 grad_norm=1245 update_ratio=0.2
steps=4-24 loss=6.2 lr=30 grad_norm=0
```

## Instead
Choose a learning rate by which one step changes about a thousandth of the weights' size: 1e-5 for
a whole pretrained model and 2e-4 for LoRA with Adam are usual.

A warm-up begins at nothing:

```steps
steps=1-9 loss=2.3 lr=1e-12 update_ratio=2e-13
step=10 loss=2.3 lr=1e-5 update_ratio=2e-6
```

A small rate for a large model, as in reinforcement learning:

```steps
steps=1-30 loss=0.5 lr=1e-7 update_ratio=2e-7
```

Soft prompts or fresh LoRA factors are moved by more than their size, and the loss falls:

```steps
step=1 loss=4.1 lr=0.3 update_ratio=4.9
steps=2-30 loss=3.9 lr=0.3 update_ratio=0.4
```

A hinge loss that every row meets has no gradient left:

```steps
step=1 loss=1.0 lr=1 grad_norm=1.2 update_ratio=0.9
steps=2-30 loss=0 lr=1 grad_norm=0 update_ratio=0
```

## Source
Small: the median of five or more updates, at half the highest learning rate or more and after it
was reached, below 1e-8 (SageMaker Debugger's default): ten thousand of them change the weights by
at most 1e-4. Full fine-tuning at 1e-7 with Adam measured: 1e-8 to 2e-7. Large: an update of 0.05,
after which every loss, at least sixteen, is above twice all that were before it and above 1 nat. A
tiny trained model at 20 to 600 times a good learning rate measured: 0.06 to 30. An update of a
million times the weights' size, at a rate of one or more, needs no more than a loss that is not
finite after it; one of 0.05 at such a rate, no more than a higher loss whose gradients are exactly
zero from some step to the end.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from math import isfinite

from trainguard.checks._trend import (
    LEAST_LOSS,
    at_peak_rate,
    finite_until_bad,
    loss_key,
    median,
)
from trainguard.facts.steps import StepFacts, observed, place, shown
from trainguard.findings import Finding, NotChecked, Precision, Severity
from trainguard.registry import check

STEPS = 5
SMALL = 1e-8
LARGE = 0.05
FACTOR = 2.0
AFTER = 16
#: Next to no weight is so small that a sane update is this many times its size.
CERTAINLY_LARGE = 1e6


@check(
    "TG406",
    severity=Severity.ERROR,
    precision=Precision.HIGH,
    explains=(
        "TG105",
        "TG119",
        "TG130",
        "TG401",
        "TG402",
        "TG403",
        "TG407",
        "TG408",
        "TG409",
        "TG501",
        "TG502",
        "TG507",
        "TG508",
    ),
)
def vanishing_or_exploding_step(
    steps: Sequence[StepFacts], *, small: float = SMALL, large: float = LARGE
) -> Iterator[Finding | NotChecked]:
    """Fire on updates too small to add up, or on one so large that the loss did not recover."""
    if not observed(steps, "update_ratio"):
        yield NotChecked("the size of the updates was not observed")
        return
    measured = observed(at_peak_rate(steps), "update_ratio")
    ratios = [step.update_ratio or 0.0 for step in measured]
    if len(measured) >= STEPS and 0.0 < median(ratios) < small:
        yield _too_small(steps, measured[0], median(ratios))
    for step, before, since in _wrecking(steps, large):
        yield _too_large(
            steps,
            step,
            f"the loss, at most {shown(before)} until then, is at least {shown(since)} ever since",
            {"before": before, "lowest_since": since},
        )
        return
    for step, after in pairwise(steps):
        if _overflows(step, after):
            lost = f"the loss of {after.name} is no finite number"
            yield _too_large(steps, step, lost, {})
            return
    if (dead := _without_gradients(steps)) is not None:
        for step in steps[: steps.index(dead)]:
            if _is_beyond(step, large) and _has_not_fallen(step, dead):
                lost = f"every gradient is exactly zero from {dead.name} on"
                yield _too_large(steps, step, lost, {})
                return


def _too_small(steps: Sequence[StepFacts], first: StepFacts, ratio: float) -> Finding:
    return Finding(
        f"{first.name}: an update changes the weights by {ratio:.1g} of their size at the "
        f"highest learning rate of the run ({_rate(first)}), so no affordable run learns",
        fix="raise the learning rate until an update is about 1e-5 to 1e-2 of the weights, or "
        "use Adam instead of plain SGD",
        location=place(steps, first, "update_ratio"),
        evidence={"update_ratio": ratio},
    )


def _too_large(
    steps: Sequence[StepFacts], step: StepFacts, lost: str, evidence: dict[str, float]
) -> Finding:
    return Finding(
        f"{step.name}: the update is {step.update_ratio:.2g} times the size of the weights at "
        f"a learning rate of {_rate(step)}, and {lost}, so what the model knew is lost",
        fix="lower the learning rate by a factor of ten or more, and warm up",
        location=place(steps, step, "update_ratio"),
        evidence={"update_ratio": step.update_ratio, **evidence},
    )


def _wrecking(steps: Sequence[StepFacts], large: float) -> Iterator[tuple[StepFacts, float, float]]:
    """Large updates, with the highest loss until then and the lowest loss ever since."""
    key = loss_key(steps)
    seen = finite_until_bad(steps, key)
    losses = [getattr(step, key) for step in seen]
    lowest_from = losses[:]
    for index in range(len(losses) - 2, -1, -1):
        lowest_from[index] = min(losses[index], lowest_from[index + 1])
    before = float("-inf")
    for step, loss, lowest in zip(seen, losses, lowest_from[1 : -AFTER + 1], strict=False):
        before = max(before, loss)
        is_large = step.update_ratio is not None and step.update_ratio >= large
        if is_large and before > 0.0 and lowest > max(FACTOR * before, LEAST_LOSS):
            yield step, before, lowest


def _overflows(step: StepFacts, after: StepFacts) -> bool:
    """Whether a rate beyond any doubt stands between a finite loss and one that is not."""
    if step.loss is None or after.loss is None or step.update_ratio is None:
        return False
    fails = isfinite(step.loss) > isfinite(after.loss)
    return fails and not step.nonfinite_tensors and _is_beyond(step)


def _is_beyond(step: StepFacts, ratio: float = CERTAINLY_LARGE) -> bool:
    """Whether the rate is one that nobody trains with, and the update is as large."""
    # At a usual rate an update overflows by the precision of the weights, which others judge.
    if step.update_ratio is None or max(step.learning_rates or (0.0,)) < 1.0:
        return False
    return not step.update_ratio < ratio  # of infinite weights: NaN


def _has_not_fallen(step: StepFacts, dead: StepFacts) -> bool:
    """Whether the loss says that the zeros are a wreck: a hinge loss that is met has none left."""
    return step.loss is not None and dead.loss is not None and dead.loss > step.loss


def _without_gradients(steps: Sequence[StepFacts]) -> StepFacts | None:
    """The first of the last steps, at least `AFTER`, whose gradient norm is exactly zero."""
    known = observed(steps, "grad_norm")
    number = 0
    while number < len(known) and known[-1 - number].grad_norm == 0.0:
        number += 1
    return known[-number] if AFTER <= number < len(known) else None


def _rate(step: StepFacts) -> str:
    return f"{max(step.learning_rates or (0.0,)):.3g}"
