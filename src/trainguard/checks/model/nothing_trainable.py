"""No parameter of the model requires a gradient.

## Why is this bad?
There is nothing to train: the loss wanders with the data, `grad_norm` is 0.0 at every step and
the weights at the end are the weights at the start. Freezing the base model before adapters are
added, or `prepare_model_for_kbit_training` after they were added, leaves a model like this.

## Example
```model
model trainable_tensors=0   # TG202
```

## Instead
Freeze or prepare first, wrap second, and look at the count before training:
`sum(p.requires_grad for p in model.parameters())`.

```model
model trainable_tensors=1
```

## Source
trl#3926, peft#2299. A count, not a threshold.
"""

from __future__ import annotations

from collections.abc import Iterator

from trainguard.facts.model import ModelFacts
from trainguard.findings import Finding, Location, Precision, Severity
from trainguard.registry import check


@check(
    "TG202",
    severity=Severity.ERROR,
    precision=Precision.EXACT,
    explains=("TG105", "TG130", "TG135", "TG402", "TG403", "TG503"),
)
def nothing_trainable(model: ModelFacts) -> Iterator[Finding]:
    """Fire if no parameter requires a gradient."""
    if model.trainable_tensors:
        return
    yield Finding(
        f"0 of {model.tensors} parameter tensors require a gradient, so training changes nothing",
        fix="unfreeze what should learn, or add the adapter after the base model was frozen or "
        "prepared for k-bit training",
        location=Location(key="trainable_tensors=0", value=f"of {model.tensors}"),
        evidence={"tensors": model.tensors, "elements": model.elements},
    )
