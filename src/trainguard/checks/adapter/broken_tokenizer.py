"""The `tokenizer.json` beside the adapter cannot be read.

## Why is this bad?
PEFT does not look at it, so the adapter loads. `AutoTokenizer.from_pretrained` of the adapter's
folder, which serving programs and evaluation scripts call, stops with an error of the JSON parser;
with the base model's tokenizer instead, the tokens that were added for the training are lost. It
comes from a full disk, or from a copy that was interrupted.

## Example
```adapter
config peft_type=LORA r=8
tokenizer.json problem="is not valid JSON: Unterminated string"   # TG160
```

## Instead
Copy or download the file again, or save the tokenizer of the training again.

```adapter
config peft_type=LORA r=8
tokenizer.json highest_token=99
```

## Source
transformers 5.23: `AutoTokenizer.from_pretrained` of a folder with a cut file, an empty one, a list
in the place of the object.
"""

from __future__ import annotations

from collections.abc import Iterator

from trainguard.facts.tokenizer import TOKENIZER_NAME, TokenizerFacts
from trainguard.findings import Finding, Location, Precision, Severity
from trainguard.registry import check


@check("TG160", severity=Severity.WARNING, precision=Precision.EXACT)
def broken_tokenizer(tokenizer: TokenizerFacts) -> Iterator[Finding]:
    """Fire if the file is there and is no JSON object."""
    if tokenizer.problem:
        yield Finding(
            f"{TOKENIZER_NAME} {tokenizer.problem}, so no tokenizer can be loaded from this folder",
            fix="copy it again, or save the tokenizer of the training again",
            location=Location(path=tokenizer.path, key=TOKENIZER_NAME),
            evidence={"file": TOKENIZER_NAME, "problem": tokenizer.problem},
        )
