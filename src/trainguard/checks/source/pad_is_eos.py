"""Padding uses the end-of-text token, and the collator masks it everywhere.

## Why is this bad?
`DataCollatorForLanguageModeling(mlm=False)` takes every padding token out of the labels. If the
padding token is the end-of-text token, the real end of every text goes with it: the model is
never taught to stop, and after training it generates up to the length limit.

## Example
```source
from transformers import AutoTokenizer, DataCollatorForLanguageModeling

tokenizer = AutoTokenizer.from_pretrained("model")
tokenizer.pad_token = tokenizer.eos_token
collator = DataCollatorForLanguageModeling(tokenizer, mlm=False)  # TG807
```

## Instead
```source
from transformers import AutoTokenizer, DataCollatorForLanguageModeling

tokenizer = AutoTokenizer.from_pretrained("model")
if tokenizer.pad_token is None:
    tokenizer.add_special_tokens({"pad_token": "<pad>"})
collator = DataCollatorForLanguageModeling(tokenizer, mlm=False)
```

A collator that keeps the labels that it is given does not mask:

```source
from transformers import AutoTokenizer, DataCollatorForSeq2Seq

tokenizer = AutoTokenizer.from_pretrained("model")
tokenizer.pad_token = tokenizer.eos_token
collator = DataCollatorForSeq2Seq(tokenizer)
```

## Source
transformers: `labels[labels == self.tokenizer.pad_token_id] = -100` in the collator.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

from trainguard.facts.source import SourceFacts, argument, constant
from trainguard.findings import Finding, Precision, Severity
from trainguard.registry import check

_PAIRS = {"pad_token": "eos_token", "pad_token_id": "eos_token_id"}


@check("TG807", severity=Severity.WARNING, precision=Precision.HIGH)
def pad_is_eos(source: SourceFacts) -> Iterator[Finding]:
    """Fire on the masking collator in a scope where padding is the end of text."""
    for call in source.calls_of("transformers.DataCollatorForLanguageModeling"):
        if constant(argument(call, "mlm", 1)) is not False:
            continue
        scope = source.scope(call)
        lines = [
            target.lineno
            for place in {scope, source.tree}
            for target, value in source.assignments(place)
            if _is_eos(target, value) and target.lineno < call.lineno
        ]
        if lines:
            yield Finding(
                f"the padding token is the end-of-text token since line {lines[-1]}, and this "
                "collator masks all padding: no label teaches the model to stop",
                fix="give the tokenizer a padding token of its own",
                location=source.at(call),
            )


def _is_eos(target: ast.expr, value: ast.expr) -> bool:
    """`x.pad_token = x.eos_token`, or by id."""
    return (
        isinstance(target, ast.Attribute)
        and isinstance(value, ast.Attribute)
        and _PAIRS.get(target.attr) == value.attr
        and ast.unparse(target.value) == ast.unparse(value.value)
    )
