"""A file of a full model is not what its name says.

## Why is this bad?
The loader stops, mostly with a message that hides the cause: a Git LFS pointer, an HTML page and a
zip archive under the name of `model.safetensors` all end in "header too large", a FIFO makes it
wait for ever. A config with a missing comma is called a missing one.

## Example
```full_model
shard model.safetensors problem="is a Git LFS pointer of 135 bytes"
file model.safetensors problem="is a Git LFS pointer of 135 bytes"   # TG147
```

## Instead
Copy or download the file again (`git lfs pull` for a pointer), or save the model again.

```full_model
tensor model.embed_tokens.weight
```

## Source
The safetensors format and the rules of its reference implementation.
"""

from __future__ import annotations

from collections.abc import Iterator

from trainguard.facts.full_model import FullModelFacts
from trainguard.findings import Finding, Location, Precision, Severity
from trainguard.registry import check


@check("TG147", severity=Severity.ERROR, precision=Precision.EXACT)
def unreadable_model_file(model: FullModelFacts) -> Iterator[Finding]:
    """Fire for each file that cannot be read as what it should be."""
    for problem in model.problems:
        yield Finding(
            f"{problem.name} {problem.what}, so the model cannot be used as it is",
            fix=problem.fix or "copy, download or save the model again",
            location=Location(path=problem.path, key=problem.name),
            evidence={"file": problem.name, "problem": problem.what},
        )
