"""The names of a saved model carry the prefix of a wrapper.

## Why is this bad?
`torch.compile` puts `_orig_mod.` before every name of a state dict, DistributedDataParallel
`module.`. If it was saved without unwrapping the model first, no name matches when it is loaded:
every layer is newly initialised, and only the load report says it.

## Example
```full_model
tensor _orig_mod.model.embed_tokens.weight   # TG145
tensor _orig_mod.lm_head.weight
```

```full_model
tensor module.model.embed_tokens.weight   # TG145
tensor module.lm_head.weight
```

## Instead
Save the model inside: `model._orig_mod` of a compiled model, `model.module` of a distributed one,
or `accelerator.unwrap_model(model)`. Files that are there can be renamed: drop the prefix.

```full_model
tensor model.embed_tokens.weight
tensor lm_head.weight
```

A submodule that is called `module` is no wrapper:

```full_model
tensor module.embed_tokens.weight
tensor lm_head.weight
```

## Source
nanoGPT#325. Run with transformers 5.23: all 21 tensors of a tiny model are newly initialised.
"""

from __future__ import annotations

from collections.abc import Iterator

from trainguard.facts.adapter import brief
from trainguard.facts.full_model import FullModelFacts, ModelTensor, Shard
from trainguard.findings import Finding, NotChecked, Precision, Severity
from trainguard.registry import check


@check("TG145", severity=Severity.ERROR, precision=Precision.HIGH)
def wrapper_prefix(model: FullModelFacts) -> Iterator[Finding | NotChecked]:
    """Fire once, at the first name with a wrapper's prefix."""
    tensors = list(model.tensors())
    found = _compiled(tensors) or _distributed(tensors)
    if not found:
        return
    if model.architecture is None or model.custom_code:
        yield NotChecked("the model's own code may expect these names")
        return
    shard, tensor = found[0]
    wrapper = "_orig_mod" if "_orig_mod" in tensor.name.split(".") else "module"
    yield Finding(
        f"{brief(tensor.name)} carries the wrapper's name {wrapper} ({len(found)} of "
        f"{len(tensors)} tensors), so loaders do not recognise it and start its layer from random "
        "values",
        fix=f"save the model that the wrapper holds (model.{wrapper}), or drop the prefix from the "
        "names",
        location=model.location(shard.name, tensor.name),
        evidence={"tensors": [one.name for _, one in found[:100]], "count": len(found)},
    )


_Placed = list[tuple[Shard, ModelTensor]]


def _compiled(tensors: _Placed) -> _Placed:
    """torch.compile of a part of the model leaves its mark in the middle of a name."""
    return [placed for placed in tensors if "_orig_mod" in placed[1].name.split(".")]


def _distributed(tensors: _Placed) -> _Placed:
    """Only where every name has it: submodules may be called so."""
    return tensors if all(t.name.startswith("module.") for _, t in tensors) else []
