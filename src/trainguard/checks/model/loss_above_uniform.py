"""The loss before training is far above that of guessing.

## Why is this bad?
A model that gives every token the same probability has a loss of ln(vocabulary). A fresh model is
there, a pretrained one far below. One that is surely wrong is worse than knowing nothing: its
weights or its head were not loaded as they were saved, the tokenizer belongs to another model, or
the labels are not those of the text.

## Example
```preflight
loss loss=17.3 vocabulary=32000   # TG215
```

## Instead
Generate a sentence with the model before training it, and read the warnings of its loading.

```preflight
loss loss=2.1 vocabulary=32000
```

A model with fresh weights guesses:

```preflight
loss loss=10.6 vocabulary=32000
```

## Source
The entropy of a uniform distribution. Half above it leaves room for unusual weights; fresh
Llama, GPT-2, Qwen2, Mixtral and OPT models of transformers 5.23 lie within one percent of it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from trainguard.facts.preflight import LossFacts
from trainguard.findings import Finding, Location, NotChecked, Precision, Severity
from trainguard.registry import check

ABOVE = 1.5


@check("TG215", severity=Severity.WARNING, precision=Precision.HIGH)
def loss_above_uniform(loss: LossFacts, *, above: float = ABOVE) -> Iterator[Finding | NotChecked]:
    """Fire if the loss is more than half above that of guessing."""
    if not math.isfinite(loss.loss):
        yield NotChecked("the loss before training is not finite")
        return
    if loss.loss <= above * loss.uniform:
        return
    yield Finding(
        f"the loss before training is {loss.loss:.3g}, while guessing among {loss.vocabulary} "
        f"tokens gives {loss.uniform:.3g}: the model is surely wrong",
        fix="compare the tokenizer with the model, read what loading reported as missing or "
        "unexpected, and look at the labels of one row",
        location=Location(key="loss", value=f"{loss.loss:.4g}"),
        evidence={"loss": loss.loss, "uniform": loss.uniform, "vocabulary": loss.vocabulary},
    )
