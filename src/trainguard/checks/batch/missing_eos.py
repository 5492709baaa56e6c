"""No answer of the batch ends in an end-of-sequence token.

## Why is this bad?
The model learns to answer and not to stop. The text was tokenized without an end token, the chat
template ends a turn with a token that is not among the end tokens of tokenizer and generation
config, or the mask of the assistant's words leaves it out.

Only rows are counted that have an ignored prompt and are shorter than the longest row: text of
pre-training has no answers, and a row of full length may have been cut.

## Example
```preflight
batch answers=3 ended_answers=0   # TG306
```

## Instead
Append the EOS token to every answer, or declare the end-of-turn token of the template in
`generation_config.eos_token_id`.

```preflight
batch answers=3 ended_answers=2
```

```preflight
batch answers=1 ended_answers=0
```

## Source
trl#1623, transformers#30650; F08 and F09 of the failure catalogue.
"""

from __future__ import annotations

from collections.abc import Iterator

from trainguard.facts.preflight import BatchFacts
from trainguard.findings import Finding, Location, NotChecked, Precision, Severity
from trainguard.registry import check

FEWEST = 2


@check("TG306", severity=Severity.WARNING, precision=Precision.MEDIUM)
def missing_eos(batch: BatchFacts) -> Iterator[Finding | NotChecked]:
    """Fire if none of several whole answers contains a supervised end-of-sequence token."""
    if batch.answers is None or batch.ended_answers is None:
        yield NotChecked("no end-of-sequence token is known, or the batch has no attention mask")
        return
    if batch.answers < FEWEST or batch.ended_answers:
        return
    yield Finding(
        f"none of {batch.answers} whole answers has a supervised end-of-sequence token, so the "
        "model does not learn to stop",
        fix="append the EOS token to each answer, or add the end-of-turn token of the chat "
        "template to generation_config.eos_token_id",
        location=Location(key="ended_answers", value=f"0 of {batch.answers}"),
        evidence={"answers": batch.answers, "rows": batch.rows},
    )
