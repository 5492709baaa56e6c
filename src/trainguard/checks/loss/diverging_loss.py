"""The loss rises far above what it was and stays there.

## Why is this bad?
What the model had learned is gone: a learning rate that is too high, a warm-up that is missing or
a batch that wrecked the weights. Waiting costs compute and brings it back in few cases.

Order in the data does it too: where rows are sorted by source, a harder source that begins looks
the same. Hence a warning.

## Example
```steps
steps=1-16 loss=1.4
step=17 loss=2.6
steps=18-27 loss=6.5   # TG507
```

A pretrained model that is destroyed within the first updates has no time to show its level; the
losses of its first three steps stand for it:

```steps
steps=1-2 loss=1.1
step=3 loss=1.7
step=4 loss=2.0
steps=5-24 loss=4.4   # TG507
```

## Instead
Go back to the last checkpoint before the rise, lower the learning rate, warm up and clip; shuffle
the data.

A spike that comes back is no divergence, nor is a level that wanders:

```steps
steps=1-16 loss=1.4
steps=17-20 loss=6.5
steps=21-30 loss=1.5
```

```steps
steps=1-16 loss=1.4
steps=17-40 loss=2.4
```

A penalty on the KL divergence begins at 0 and grows while the policy learns:

```steps
steps=1-8 loss=0.0001
steps=9-40 loss=0.02
```

## Source
Criteria: every one of the last eight losses (of a long run, of its last eighth) is above three
times the highest loss of an earlier stretch as long, above the median of the first eight, and
above 1 nat; or, from the start of the run, every loss but the first few, at least sixteen, above
twice the first three. A pretrained model at 1-2 nats ends at 5-10 when it diverges (the logarithm
of the vocabulary is 10-12). Of 14 runs of trained tiny models that were destroyed by a learning
rate of 0.1 to 3, these criteria and TG406 together see 13; of 179 healthy runs none fires at any
step.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from trainguard.checks._trend import (
    LEAST_LOSS,
    WINDOW,
    Rise,
    finite_until_bad,
    lasting_rise,
    loss_key,
    median,
    start_of_end_above,
)
from trainguard.facts.steps import StepFacts, place, shown, units
from trainguard.findings import Finding, NotChecked, Precision, Severity
from trainguard.registry import check

FACTOR = 3.0
OPENING, OPENING_FACTOR = 3, 2.0


@check(
    "TG507",
    severity=Severity.WARNING,
    precision=Precision.MEDIUM,
    explains=("TG408",),
)
def diverging_loss(
    steps: Sequence[StepFacts], *, factor: float = FACTOR
) -> Iterator[Finding | NotChecked]:
    """Fire if the last losses are all far above a level that the run once held."""
    key = loss_key(steps)
    seen = finite_until_bad(steps, key)
    losses = [getattr(step, key) for step in seen]
    if len(seen) < 2 * WINDOW:
        yield NotChecked(f"{len(seen)} finite losses were observed; {2 * WINDOW} are needed")
        return
    if min(losses) <= 0.0:
        yield NotChecked("a loss of 0 or below is no cross-entropy, so its level says nothing")
        return
    floor = max(LEAST_LOSS, median(losses[:WINDOW]))
    rise = lasting_rise(losses, factor, floor) or _from_the_start(seen, losses)
    if rise is None:
        return
    since = losses[rise.onset :]
    yield Finding(
        f"{seen[rise.onset].name}: the loss, once at most {shown(rise.level)}, is at least "
        f"{shown(min(since))} in all of the {len(since)} {units(steps)} since, so what was "
        "learned is lost",
        fix="go back to a checkpoint before this step, lower the learning rate, warm up and clip "
        "the gradients; shuffle the data if a harder part begins here",
        location=place(steps, seen[rise.onset], key),
        evidence={"level": rise.level, "lowest_since": min(since), "steps": len(since)},
    )


def _from_the_start(seen: Sequence[StepFacts], losses: Sequence[float]) -> Rise | None:
    """A rise over the level of the first steps, if the first of all is among them."""
    if seen[0].step != 1:
        return None
    level = max(losses[:OPENING])
    onset = start_of_end_above(losses, max(OPENING_FACTOR * level, LEAST_LOSS))
    return Rise(level, onset) if len(losses) - onset >= 2 * WINDOW else None
