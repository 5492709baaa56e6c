"""Updates are smaller than the precision of the weights.

## Why is this bad?
A bfloat16 number has eight significant bits. A weight of 1.0 takes no change below 0.002, and one
of 0.02 none below 0.00003: a smaller update is rounded away, every time. An update of Adam is
about one learning rate. Such weights stay as they are however long the run is; those of
normalization layers, which are near 1, do so at any usual rate.

Counted are the elements that stay the same when the learning rate is added or subtracted. It is
a warning where they are at least half.

## Example
```preflight
precision learning_rate=1e-5 immovable=0.85   # TG216
```

## Instead
Keep the trained weights in float32 and compute in bfloat16 (`bf16=True` and a model loaded in
float32), use an optimizer with stochastic rounding, or train an adapter in float32.

```preflight
precision learning_rate=2e-4 immovable=0.04
```

## Source
Round to nearest. Elements left unchanged by a step of AdamW over bfloat16 weights, measured with
torch 2.13: 66 % at 1e-4, 93 % at 2e-5, 99.6 % at 1e-6; none in float32.
"""

from __future__ import annotations

from collections.abc import Iterator

from trainguard.facts.preflight import PrecisionFacts
from trainguard.findings import Finding, Location, Precision, Severity
from trainguard.registry import check

SHARE = 0.5


@check(
    "TG216",
    severity=Severity.WARNING,
    precision=Precision.HIGH,
    explains=("TG403", "TG503"),
)
def update_below_precision(precision: PrecisionFacts) -> Iterator[Finding]:
    """Fire if a step of Adam is too small for at least half of the 16-bit weights."""
    if precision.immovable < SHARE:
        return
    yield Finding(
        f"{precision.immovable:.0%} of {precision.elements} trainable {precision.dtype} weights "
        f"cannot take an update of {precision.learning_rate:.2g}, one learning rate, because it "
        "is rounded away",
        fix="keep the trained weights in float32 and compute in bfloat16, or use an optimizer "
        "with stochastic rounding",
        location=Location(key="learning_rate", value=f"{precision.learning_rate:g}"),
        evidence={
            "immovable": precision.immovable,
            "elements": precision.elements,
            "stuck_tensors": precision.stuck_tensors,
        },
    )
