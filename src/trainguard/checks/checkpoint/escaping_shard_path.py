"""The index of a sharded model names a file outside the model's folder.

## Why is this bad?
`model.safetensors.index.json` is data that comes with a download, and loaders join its paths to the
folder unchecked: an absolute path or `..` makes them open any file of the machine as weights. No
tool writes such an index, so it was made by hand, be it to load foreign files or to reach them.
trainguard does not open the file. A symbolic link that leads out of the folder is a warning, since
it may be the owner's own; the links of the hub's cache into its `blobs` are normal.

## Example
```full_model
shard /etc/hostname escape="is absolute"   # TG140
index model.embed_tokens.weight /etc/hostname
```

```full_model
shard model-00001-of-00002.safetensors escape="is a link to /data/x" by_link=true   # TG140
```

## Instead
Download the model again from a source that you trust. Shards lie beside their index.

```full_model
tensor model.embed_tokens.weight in=model-00001-of-00002.safetensors
index model.embed_tokens.weight model-00001-of-00002.safetensors
```

## Source
Run with transformers 5.23: `from_pretrained` of a local folder opens `/etc/hostname` and follows
`../` without a word.
"""

from __future__ import annotations

from collections.abc import Iterator

from trainguard.facts.adapter import brief
from trainguard.facts.full_model import INDEX_NAME, FullModelFacts
from trainguard.findings import Finding, Precision, Severity
from trainguard.registry import check


@check("TG140", severity=Severity.ERROR, precision=Precision.EXACT)
def escaping_shard_path(model: FullModelFacts) -> Iterator[Finding]:
    """Fire once for the paths that leave the folder and once for the links that do."""
    for by_link in (False, True):
        found = [one for one in model.shards if one.escape and one.by_link is by_link]
        if not found:
            continue
        first = found[0]
        yield Finding(
            f"{INDEX_NAME} lists {brief(first.name)}, which {brief(first.escape)}, so loaders open "
            f"a file outside the model's folder ({len(found)} of {len(model.shards)} files)",
            fix="put the weights into the model's folder and name them in the index without a path",
            location=model.location(INDEX_NAME, first.name, first.escape),
            evidence={"files": [one.name for one in found[:100]], "count": len(found)},
            severity=Severity.WARNING if by_link else Severity.ERROR,
        )
