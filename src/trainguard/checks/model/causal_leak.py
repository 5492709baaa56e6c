"""The model sees the tokens that it is to predict.

## Why is this bad?
The loss falls towards zero because the answer stands in the input, and the model is useless
when it has to write by itself. A causal mask is missing or was overridden: `is_causal=False`, a
4-D mask, an attention function of one's own, a mean over positions.

Two rows share a prefix and go on with different tokens. The logits of the prefix must not differ.
The difference is measured in standard deviations of the logits and has to exceed what rounding
gives: 1e-4 in float32, 0.2 in bfloat16.

## Example
```preflight
causal difference=0.22   # TG211
```

## Instead
Restore the causal mask of the attention.

```preflight
causal difference=0.0
```

Rounding is no leak:

```preflight
causal difference=0.03 arithmetic=bfloat16
```

## Source
The definition of a causal language model. Exactly 0.0 for Llama, GPT-2, Qwen2, Mixtral and OPT
of transformers 5.23 with SDPA and eager attention; 2e-4 for a mean over positions of weight 0.01.
"""

from __future__ import annotations

from collections.abc import Iterator

from trainguard.facts.preflight import CausalFacts
from trainguard.findings import Finding, Location, Precision, Severity
from trainguard.registry import check


@check("TG211", severity=Severity.ERROR, precision=Precision.EXACT)
def causal_leak(causal: CausalFacts) -> Iterator[Finding]:
    """Fire if the logits of a prefix depend on what follows it."""
    if not causal.differs:
        return
    yield Finding(
        f"the logits of {causal.positions} positions change by up to {causal.difference:.2g} with "
        "the tokens after them, so the model sees what it is to predict",
        fix="restore the causal mask: look at is_causal, at masks of four dimensions and at every "
        "operation that mixes positions",
        location=Location(key="difference", value=f"{causal.difference:.2g} between two logits"),
        evidence={
            "difference": causal.difference,
            "spread": causal.spread,
            "positions": causal.positions,
        },
    )
