"""A weights file that the index names is not there.

## Why is this bad?
`from_pretrained` stops with "No such file or directory", mostly after a long load of the files
before it. A download or a copy was interrupted, or a link points at a file that was removed.

## Example
```full_model
tensor model.embed_tokens.weight in=model-00001-of-00002.safetensors
shard model-00002-of-00002.safetensors missing=true   # TG141
```

## Instead
Download or copy the missing files.

```full_model
tensor model.embed_tokens.weight in=model-00001-of-00002.safetensors
tensor lm_head.weight in=model-00002-of-00002.safetensors
```

An index beside a `model.safetensors` does not count: loaders take the single file.

```full_model
tensor model.embed_tokens.weight in=model.safetensors
```

## Source
Run with transformers 5.23: `FileNotFoundError` for the shard.
"""

from __future__ import annotations

from collections.abc import Iterator

from trainguard.facts.adapter import brief
from trainguard.facts.full_model import INDEX_NAME, FullModelFacts
from trainguard.findings import Finding, Precision, Severity
from trainguard.registry import check


@check("TG141", severity=Severity.ERROR, precision=Precision.EXACT)
def missing_shard(model: FullModelFacts) -> Iterator[Finding]:
    """Fire once, at the first file that is missing."""
    missing = [shard.name for shard in model.shards if shard.missing]
    if not missing:
        return
    tensors = sum(file in set(missing) for file in model.weight_map.values())
    yield Finding(
        f"{brief(missing[0])} is not there ({len(missing)} of {len(model.shards)} files that the "
        f"index names, with {tensors} tensors), so the model cannot be loaded",
        fix="download or copy the missing files again",
        location=model.location(INDEX_NAME, missing[0], "missing"),
        evidence={"files": missing[:100], "count": len(missing), "tensors": tensors},
    )
