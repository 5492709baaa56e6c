"""Padding is supervised.

## Why is this bad?
Labels stand where the attention mask is 0, or on the pad tokens around a row, as after
`labels = input_ids.copy()` with `padding="max_length"`. The loss is a mean over padding, which is
learned within a few steps: the curve looks excellent, and the model answers with pad tokens.

One supervised position a row may be meant, where the first pad token serves as the end of the
text.

## Example
```preflight
batch rows=4 supervised=32 supervised_padding=22   # TG304
```

## Instead
```python
labels = input_ids.masked_fill(attention_mask == 0, -100)
```

```preflight
batch rows=4 supervised=32 supervised_padding=0
```

```preflight
batch rows=4 supervised=32 supervised_padding=4
```

## Source
F39 of the failure catalogue, reproduced with transformers 5.23: 22 of 32 supervised positions
were padding. A count of positions.
"""

from __future__ import annotations

from collections.abc import Iterator

from trainguard.facts.preflight import BatchFacts
from trainguard.findings import Finding, Location, NotChecked, Precision, Severity
from trainguard.registry import check


@check("TG304", severity=Severity.ERROR, precision=Precision.EXACT)
def supervised_padding(batch: BatchFacts) -> Iterator[Finding | NotChecked]:
    """Fire if more than one padded position a row is supervised."""
    if batch.supervised_padding is None:
        yield NotChecked("the batch has no attention mask, and padding cannot be told from text")
        return
    if batch.supervised_padding <= batch.rows:
        return
    yield Finding(
        f"{batch.supervised_padding} of {batch.supervised} supervised labels stand on padding, so "
        "the loss is spent on learning to write pad tokens",
        fix="set the labels to -100 where the attention mask is 0",
        location=Location(
            key="supervised_padding",
            value=f"{batch.supervised_padding} of {batch.supervised} labels",
        ),
        evidence={"supervised_padding": batch.supervised_padding, "supervised": batch.supervised},
    )
