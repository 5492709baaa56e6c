"""Rows begin with two beginning-of-sequence tokens.

## Why is this bad?
A chat template that writes the token was rendered to text, and the text was tokenized again with
special tokens added. The model is trained on a start that it does not meet in use, and answers
a little worse; no error and no loss curve tells.

Nine rows in ten are asked for, because a text may itself begin with the token.

## Example
```preflight
batch rows=10 double_bos=9   # TG303
```

## Instead
Tokenize in one call, `apply_chat_template(..., tokenize=True)`, or pass
`add_special_tokens=False` when the text was rendered before.

```preflight
batch rows=10 double_bos=1
```

## Source
trl#1400, trl#3328, transformers#31796. With TRL 1.16 a pre-rendered `text` column gets two of
them without a word, `messages` do not.
"""

from __future__ import annotations

from collections.abc import Iterator

from trainguard.facts.preflight import BatchFacts
from trainguard.findings import Finding, Location, NotChecked, Precision, Severity
from trainguard.registry import check

SHARE = 0.9


@check("TG303", severity=Severity.WARNING, precision=Precision.HIGH)
def double_bos(batch: BatchFacts) -> Iterator[Finding | NotChecked]:
    """Fire if most rows begin with two beginning-of-sequence tokens."""
    if batch.double_bos is None:
        yield NotChecked("no beginning-of-sequence token is known")
        return
    if batch.double_bos < SHARE * batch.rows:
        return
    yield Finding(
        f"{batch.double_bos} of {batch.rows} rows begin with two beginning-of-sequence tokens, a "
        "start that the model does not meet in use",
        fix="tokenize with apply_chat_template(..., tokenize=True), or pass "
        "add_special_tokens=False for text that a chat template rendered",
        location=Location(key="double_bos", value=f"{batch.double_bos} of {batch.rows} rows"),
        evidence={"double_bos": batch.double_bos, "rows": batch.rows},
    )
