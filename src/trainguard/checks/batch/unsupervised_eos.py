"""No end-of-sequence token is supervised.

## Why is this bad?
The model never learns to stop: every answer it gives runs to the length limit. With
`pad_token = eos_token`, a collator that masks labels by the id of the pad token masks the true
ends as well; transformers' `DataCollatorForLanguageModeling` does so. Loss and gradients look
healthy.

Only an end token that directly follows a supervised token is counted. The ends of prompts are
rightly ignored, and so is padding made of end tokens.

## Example
```preflight
batch ends=4 supervised_ends=0   # TG302
```

## Instead
Give the tokenizer a pad token of its own, or mask labels by the attention mask.

```preflight
batch ends=4 supervised_ends=4
```

Text without any end token is another matter:

```preflight
batch ends=0 supervised_ends=0
```

## Source
trl#734, trl#456, unsloth#416, DeepSeek-Coder#163. Collator of transformers 5.23 measured; TRL 1.16
builds the labels before it pads and is not affected.
"""

from __future__ import annotations

from collections.abc import Iterator

from trainguard.facts.preflight import BatchFacts
from trainguard.findings import Finding, Location, NotChecked, Precision, Severity
from trainguard.registry import check


@check(
    "TG302",
    severity=Severity.ERROR,
    precision=Precision.HIGH,
    explains=("TG306",),
)
def unsupervised_eos(batch: BatchFacts) -> Iterator[Finding | NotChecked]:
    """Fire if answers end in end-of-sequence tokens and not one of these is supervised."""
    if batch.ends is None or batch.supervised_ends is None:
        yield NotChecked(
            "no end-of-sequence token is known, or without an attention mask it cannot be told "
            "from padding"
        )
        return
    if not batch.ends or batch.supervised_ends:
        return
    yield Finding(
        f"none of the {batch.ends} end-of-sequence tokens that end a supervised text is itself "
        "supervised, so the model does not learn to stop",
        fix="give the tokenizer a pad token that is not its EOS token, or mask the labels where "
        "the attention mask is 0 instead of by token id",
        location=Location(key="supervised_ends", value=f"0 of {batch.ends}"),
        evidence={"ends": batch.ends, "rows": batch.rows},
    )
