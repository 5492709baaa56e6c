"""Most updates are lost to rounding: the weights are kept in 16 bits.

## Why is this bad?
A bfloat16 number has three significant digits. An update of less than about 1/500 of a weight
rounds back to that weight, step after step, and never adds up: with Adam at 2e-5, 93 % of the
elements stay as they are, and norm weights never move at any usual rate. The loss falls more
slowly or ends higher than in float32, and nothing else shows it.

`from_pretrained` keeps the precision of the checkpoint, so a bfloat16 checkpoint gives bfloat16
weights; `bf16=True` changes only the arithmetic.

## Example
```steps
steps=1-9 loss=2.3 grad_norm=1.1 lr=2e-5 sampled=1024 moved=72   # TG407
```

## Instead
Load the model with `dtype=torch.float32` and set `bf16=True`; LoRA factors are in float32 by
themselves. An optimizer with compensated or stochastic rounding moves few weights at a step, too,
and loses nothing: ignore this check there.

In float32 every element moves, and in a warm-up nothing has to:

```steps
steps=1-6 loss=2.3 grad_norm=1.1 lr=1e-7 sampled=1024 moved=30
steps=7-20 loss=2.3 grad_norm=1.1 lr=2e-5 sampled=1024 moved=1010
```

A schedule that ends near zero moves nothing at its end:

```steps
steps=1-20 loss=2.3 grad_norm=1.1 lr=1e-3 sampled=1024 moved=900
steps=21-40 loss=2.3 grad_norm=1.1 lr=1e-7 sampled=1024 moved=10
```

Nothing moved at all is TG403:

```steps
steps=1-9 loss=2.3 grad_norm=1.1 lr=2e-5 sampled=1024 moved=0
```

## Source
F12 and F13 of the failure catalogue: trl#3910, transformers#42805. Share of elements that move in
a step, bfloat16 and Adam: 87 % at 1e-3, 34 % at 1e-4, 18 % at 5e-5, 7 % at 2e-5; float32: all. A
quarter, over five or more steps at half the highest learning rate and above.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from trainguard.checks._trend import at_peak_rate
from trainguard.checks.gradients.weights_unchanged import weights_unchanged
from trainguard.facts.model import ModelFacts
from trainguard.facts.steps import StepFacts, observed, place
from trainguard.findings import Finding, NotChecked, Precision, Severity
from trainguard.registry import check

STEPS = 5
SHARE = 0.25
#: Elements over all steps from which a share is taken.
ELEMENTS = 200
_SHORT = frozenset({"bfloat16", "float16"})


@check(
    "TG407",
    severity=Severity.WARNING,
    precision=Precision.MEDIUM,
)
def lost_to_rounding(
    steps: Sequence[StepFacts], model: ModelFacts | None, *, share: float = SHARE
) -> Iterator[Finding | NotChecked]:
    """Fire if few of the elements with a gradient change, at a learning rate that is not small."""
    if not observed(steps, "moved"):
        yield NotChecked("the weights were not compared before and after a step")
        return
    if model is not None and model.trainable_dtypes and not _SHORT & {*model.trainable_dtypes}:
        return
    if any(isinstance(verdict, Finding) for verdict in weights_unchanged(steps)):
        return
    effective = [step for step in at_peak_rate(steps) if step.sampled and step.moved is not None]
    sampled = sum(step.sampled or 0 for step in effective)
    moved = sum(step.moved or 0 for step in effective)
    if len(effective) < STEPS or sampled < ELEMENTS:
        yield NotChecked(
            f"the weights were compared at {len(effective)} steps since the learning rate's peak; "
            f"{STEPS} are needed"
        )
        return
    if not 0 < moved < share * sampled:
        return
    first = effective[0]
    yield Finding(
        f"{first.name}: {moved / sampled:.1%} of the sampled weights that received a gradient "
        f"changed in a step, over {len(effective)} steps; the other updates are lost to rounding",
        fix="load the model with dtype=torch.float32 (and bf16=True for the arithmetic), or use "
        "an optimizer with float32 copies of the weights",
        location=place(steps, first, "moved"),
        evidence={"moved": moved, "sampled": sampled, "steps": len(effective)},
    )
