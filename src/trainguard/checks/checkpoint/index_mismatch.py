"""The index and the weights files disagree about which tensor is where.

## Why is this bad?
transformers 5.23 takes only the list of files from the index and reads what it finds in them, so
a wrong place goes unnoticed there. Loaders that go by the index (vLLM, accelerate's dispatch, tools
that read one tensor) miss the tensor or stop. A tensor that the index names and no file holds is
lost: if the model needs it, it is newly initialised with a line in the load report. The files of
two saves were mixed, or a tool rewrote the weights and left the index.

## Example
```full_model
tensor model.norm.weight in=model-00001-of-00002.safetensors
tensor lm_head.weight in=model-00002-of-00002.safetensors
index model.norm.weight model-00002-of-00002.safetensors   # TG142
index lm_head.weight model-00002-of-00002.safetensors
```

A tensor that is nowhere:

```full_model
tensor lm_head.weight in=model-00001-of-00001.safetensors
index lm_head.weight model-00001-of-00001.safetensors
index model.norm.weight model-00001-of-00001.safetensors   # TG142
```

A tensor that the index leaves out:

```full_model
tensor lm_head.weight in=model-00001-of-00001.safetensors
tensor model.norm.weight in=model-00001-of-00001.safetensors   # TG142
index lm_head.weight model-00001-of-00001.safetensors
```

## Instead
Save the model again with `save_pretrained`, which writes the index with the files, into an empty
folder.

```full_model
tensor lm_head.weight in=model-00001-of-00001.safetensors
index lm_head.weight model-00001-of-00001.safetensors
```

Files that could not be read are left to the checks that report them:

```full_model
shard model-00001-of-00001.safetensors missing=true
index lm_head.weight model-00001-of-00001.safetensors
```

## Source
Run with transformers 5.23: with a wrong place, a tensor left out and a tensor too many in the index
the model loads with equal logits and without a message.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from trainguard.facts.adapter import brief
from trainguard.facts.full_model import INDEX_NAME, FullModelFacts
from trainguard.findings import Finding, NotChecked, Precision, Severity
from trainguard.registry import check


@check("TG142", severity=Severity.WARNING, precision=Precision.EXACT)
def index_mismatch(model: FullModelFacts) -> Iterator[Finding | NotChecked]:
    """Fire once for each of the three ways to disagree."""
    if not model.weight_map:
        return
    if not model.is_complete:
        yield NotChecked("not every file that the index names could be read")
        return
    stored: dict[str, set[str]] = {}
    for shard, tensor in model.tensors():
        stored.setdefault(tensor.name, set()).add(shard.name)
    for what, names in _faults(model.weight_map, stored).items():
        if names:
            yield _finding(model, what, names)


def _faults(index: Mapping[str, str], stored: Mapping[str, set[str]]) -> dict[str, list[str]]:
    return {
        "is in no file, so it is newly initialised if the model needs it": [
            name for name in index if name not in stored
        ],
        "is in another file than the index states, so a loader that goes by the index misses it": [
            name for name, file in index.items() if name in stored and file not in stored[name]
        ],
        "is not in the index, so a loader that goes by the index leaves it out": [
            name for name in stored if name not in index
        ],
    }


def _finding(model: FullModelFacts, what: str, names: list[str]) -> Finding:
    return Finding(
        f"{brief(names[0])} {what} ({len(names)} of {len(model.weight_map)} tensors)",
        fix="save the model again with save_pretrained into an empty folder",
        location=model.location(INDEX_NAME, names[0], model.weight_map.get(names[0])),
        evidence={"tensors": names[:100], "count": len(names)},
    )
