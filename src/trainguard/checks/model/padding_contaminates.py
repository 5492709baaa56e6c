"""Padding changes what the model says about a row.

## Why is this bad?
The model attends to pad tokens, so the same text is another one in every batch. The attention
mask is missing beside left padding, or the model does not use it.

The row runs as it stands in the batch and again without its padding. Positions may be counted from
the first column or from the first token: only a difference in both is one. The difference is
measured in standard deviations of the logits and has to exceed what rounding gives: 1e-4 in
float32, 0.2 in bfloat16.

## Example
```preflight
padding difference=1.3 masked=false   # TG213
```

## Instead
Pass the attention mask that the tokenizer returns.

```preflight
padding difference=1.3e-6
```

## Source
transformers#32390 and the classes of failure F64. Below 1e-6 for Llama, GPT-2, Qwen2, Mixtral and
OPT of transformers 5.23 with padding on either side; 0.4 to 2.5 without the mask.
"""

from __future__ import annotations

from collections.abc import Iterator

from trainguard.facts.preflight import PaddingFacts
from trainguard.findings import Finding, Location, Precision, Severity
from trainguard.registry import check


@check("TG213", severity=Severity.ERROR, precision=Precision.HIGH)
def padding_contaminates(padding: PaddingFacts) -> Iterator[Finding]:
    """Fire if a row of the batch gives other logits with its padding than without."""
    if not padding.differs:
        return
    yield Finding(
        f"row {padding.row}: the logits change by up to {padding.difference:.2g} with the "
        f"{padding.padding} positions of padding, which the model attends to"
        + ("" if padding.masked else "; the batch has no attention mask"),
        fix="pass the attention mask of the tokenizer, and check that the model uses it",
        location=Location(key="difference", value=f"{padding.difference:.2g} between two logits"),
        evidence={
            "difference": padding.difference,
            "spread": padding.spread,
            "row": padding.row,
            "padding": padding.padding,
        },
    )
