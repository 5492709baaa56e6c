"""Packed documents attend to each other.

## Why is this bad?
Several documents share a row and their position ids start again, but each one still sees those
before it: the model learns to use text that has nothing to do with the one it continues. An
attention mask of ones beside the position ids does it, because transformers then no longer looks
for the beginnings.

A document runs behind the others of its row, and on its own. The difference is measured in
standard deviations of the logits and has to exceed what rounding gives: 1e-4 in float32, 0.2 in
bfloat16. With `use_cache` on, transformers does not look for them either. A Trainer switches it
off, a loop of one's own has to, which is a warning:

## Example
```preflight
packing difference=0.5 masked=true   # TG214
```

```preflight
packing difference=0.0 cached=0.5   # TG214
```

## Instead
Pass `position_ids` and no `attention_mask`, and set `model.config.use_cache = False`.

```preflight
packing difference=2e-7 cached=2e-7
```

```preflight
packing difference=2e-7
```

## Source
trl#3067, functionary#265 (loss 37.55 instead of 44.17). Packing of TRL 1.16 differs by 2e-7, the
same with a mask of ones by 0.3 to 2.6.
"""

from __future__ import annotations

from collections.abc import Iterator

from trainguard.facts.preflight import PackingFacts
from trainguard.findings import Finding, Location, Precision, Severity
from trainguard.registry import check


@check("TG214", severity=Severity.ERROR, precision=Precision.HIGH)
def packing_contaminates(packing: PackingFacts) -> Iterator[Finding]:
    """Fire if a packed document gives other logits behind another one than on its own."""
    found = packing if packing.differs else packing.cached
    if found is None or not found.differs:
        return
    masked = " and the batch has an attention mask beside the position ids" * packing.masked
    beside = masked if packing.differs else " with use_cache on"
    yield Finding(
        f"row {packing.row}: the logits of the document at position {packing.start} change by up "
        f"to {found.difference:.2g} with the documents before it{beside}, so they see "
        "each other",
        fix="pass position_ids without an attention_mask and set model.config.use_cache = False, "
        "or use an attention implementation that takes the lengths of the documents",
        severity=Severity.ERROR if packing.differs else Severity.WARNING,
        location=Location(key="difference", value=f"{found.difference:.2g} between two logits"),
        evidence={"difference": found.difference, "spread": found.spread, "row": packing.row},
    )
