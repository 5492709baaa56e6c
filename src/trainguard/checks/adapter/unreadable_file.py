"""A file of the adapter is not what its name says.

## Why is this bad?
The loader stops, mostly with a message that hides the cause: a Git LFS pointer, an HTML page, a
zip archive and a GGUF file under the name of `adapter_model.safetensors` all end in "header too
large". A missing weights file ends in a complaint about a repository name. A FIFO ends in nothing:
the loader waits for ever. Trailing commas, comments and a byte-order mark make the config
unreadable to the loader although an editor shows nothing wrong.

## Example
```adapter
file adapter_config.json
file adapter_model.safetensors problem="is a Git LFS pointer of 134 bytes"   # TG101
```

A copy that was interrupted:

```adapter
config peft_type=LORA r=8 lora_alpha=16
file adapter_model.safetensors problem="is cut short: 4096 bytes stated, 1024 follow"   # TG101
```

## Instead
Copy or download the file again (`git lfs pull` for a pointer), or save the adapter again with
`save_pretrained`.

```adapter
file adapter_config.json
file adapter_model.safetensors
tensor base_model.model.layers.0.q_proj.lora_A.weight shape=8x16
tensor base_model.model.layers.0.q_proj.lora_B.weight shape=16x8
```

An adapter that has only `adapter_model.bin` is not broken. Its tensors are found by following
the pickle's opcodes; nothing is unpickled.

```adapter
config peft_type=LORA r=8 lora_alpha=16
file adapter_model.bin
```

## Source
The safetensors format and the rules of its reference implementation; the loaders' messages were
read in PEFT 0.21.2 with each of these files in place.
"""

from __future__ import annotations

from collections.abc import Iterator

from trainguard.facts.adapter import AdapterFiles
from trainguard.findings import Finding, Location, Precision, Severity
from trainguard.registry import check


@check(
    "TG101",
    severity=Severity.ERROR,
    precision=Precision.EXACT,
    explains=("TG102", "TG107", "TG110", "TG122"),
)
def unreadable_file(files: AdapterFiles) -> Iterator[Finding]:
    """Fire for each file that cannot be read as what it should be."""
    for problem in files.problems:
        yield Finding(
            f"{problem.name} {problem.what}, so the adapter cannot be loaded",
            fix=problem.fix or "save the adapter again with save_pretrained",
            location=Location(path=problem.path, line=problem.line, key=problem.name),
            evidence={"file": problem.name, "problem": problem.what},
        )
