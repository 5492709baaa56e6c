"""The merged model is thrown away, and what is left is saved.

## Why is this bad?
`merge_and_unload()` returns the merged base model. The PEFT model that it was called on has lost
its adapter layers; saved after that it writes an adapter file without a tensor, 40 bytes long,
without a warning.

## Example
```source
from peft import PeftModel

model = PeftModel.from_pretrained(base, "out/adapter")
model.merge_and_unload()  # TG806
model.save_pretrained("out/merged")
```

## Instead
```source
from peft import PeftModel

model = PeftModel.from_pretrained(base, "out/adapter")
model = model.merge_and_unload()
model.save_pretrained("out/merged")
```

Where nothing is saved, nothing is lost:

```source
try:
    model.merge_and_unload()
except ValueError as error:
    print(error)
```

## Source
Measured with PEFT 0.21: the saved adapter holds 0 tensors.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

from trainguard.checks.source._flow import uses_of
from trainguard.facts.source import SourceFacts
from trainguard.findings import Finding, Precision, Severity
from trainguard.registry import check

_SAVES = frozenset({"save_pretrained", "push_to_hub"})


@check("TG806", severity=Severity.ERROR, precision=Precision.HIGH)
def dropped_merge(source: SourceFacts) -> Iterator[Finding]:
    """Fire on a dropped result whose leftover model is saved."""
    for call in source.calls_of(".merge_and_unload"):
        if not isinstance(source.parents.get(call), ast.Expr):
            continue
        model = call.func.value if isinstance(call.func, ast.Attribute) else None
        if not isinstance(model, ast.Name | ast.Attribute):
            continue
        for use in uses_of(source, source.scope(call), model, call.lineno):
            parent = source.parents.get(use)
            if isinstance(parent, ast.Attribute) and parent.attr in _SAVES:
                yield Finding(
                    f"the result of {ast.unparse(call.func)}() is dropped, and line "
                    f"{use.lineno} saves what is left of {ast.unparse(model)}: an adapter without "
                    "a tensor",
                    fix=f"write {ast.unparse(model)} = {ast.unparse(call.func)}()",
                    location=source.at(call),
                )
                break
