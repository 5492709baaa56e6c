"""The rows of a batch influence each other.

## Why is this bad?
What the model says about one text depends on the texts that happen to lie beside it, so training
learns from a mixture and the same text scores differently in each evaluation. Batch
normalization in training mode does it, or a reshape that merges the wrong dimensions.

One row is run twice beside different neighbours, in training mode and with the same random
numbers. The difference is measured in standard deviations of the logits and has to exceed what
rounding gives: 1e-4 in float32, 0.2 in bfloat16. Experts with a limited capacity do it by design,
so this is a warning.

## Example
```preflight
rows difference=0.36   # TG212
```

## Instead
Replace batch normalization by layer normalization, or keep it in evaluation mode.

```preflight
rows difference=0.0
```

## Source
Measured: 0.36 with a batch normalization in training mode, 0.0 in evaluation mode and for Llama,
GPT-2, Qwen2, Mixtral and OPT of transformers 5.23.
"""

from __future__ import annotations

from collections.abc import Iterator

from trainguard.facts.preflight import RowFacts
from trainguard.findings import Finding, Location, Precision, Severity
from trainguard.registry import check


@check("TG212", severity=Severity.WARNING, precision=Precision.HIGH)
def rows_not_independent(rows: RowFacts) -> Iterator[Finding]:
    """Fire if the logits of a row depend on the other row of its batch."""
    if not rows.differs:
        return
    yield Finding(
        f"the logits of a row change by up to {rows.difference:.2g} with the other row of the "
        "batch, so each text is learned together with its neighbours",
        fix="look for batch normalization and for reshapes that mix the batch dimension",
        location=Location(key="difference", value=f"{rows.difference:.2g} between two logits"),
        evidence={
            "difference": rows.difference,
            "spread": rows.spread,
        },
    )
