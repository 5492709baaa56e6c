"""The adapter is saved in two formats that do not hold the same weights.

## Why is this bad?
Nothing that an earlier save left behind is removed: an adapter saved as `adapter_model.bin` and
later as safetensors has both files. PEFT loads `adapter_model.safetensors` and never looks at the
other, without a word, and transformers 5 reads only safetensors. A program that prefers the
pickle, or an edit of the wrong file, gives another model.

## Example
```adapter
file adapter_model.safetensors
file adapter_model.bin   # TG124
tensor base_model.model.layers.0.q_proj.lora_A.weight shape=8x16
tensor base_model.model.layers.0.q_proj.lora_B.weight shape=16x8
differs base_model.model.layers.0.q_proj.lora_B.weight in="its values"
```

## Instead
Find out which file holds the adapter that you want, and delete the other.

```adapter
file adapter_model.safetensors
file adapter_model.bin
tensor base_model.model.layers.0.q_proj.lora_A.weight shape=8x16
tensor base_model.model.layers.0.q_proj.lora_B.weight shape=16x8
```

## Source
PEFT 0.21.2: `load_peft_weights`, with both files in place. The tensors are compared byte by byte;
nothing is unpickled.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import PurePath

from trainguard.facts.adapter import PICKLE_NAME, WEIGHTS_NAME, AdapterFiles, brief
from trainguard.facts.adapter_comparison import AdapterFormats
from trainguard.findings import Finding, Location, NotChecked, Precision, Severity
from trainguard.registry import check


@check("TG124", severity=Severity.WARNING, precision=Precision.EXACT)
def conflicting_formats(
    files: AdapterFiles, formats: AdapterFormats | None
) -> Iterator[Finding | NotChecked]:
    """Fire once if any tensor differs; a folder with one format has no conflict."""
    if formats is None:
        return
    if formats.problem:
        yield NotChecked(formats.problem)
    elif formats.differing:
        yield _finding(files, formats)
    elif formats.uncompared:
        yield NotChecked(
            f"the elements of {len(formats.uncompared)} tensors do not stand in {PICKLE_NAME} "
            "one after the other"
        )


def _finding(files: AdapterFiles, formats: AdapterFormats) -> Finding:
    first, what = next(iter(formats.differing.items()))
    count = len(formats.differing)
    return Finding(
        f"{WEIGHTS_NAME} and {PICKLE_NAME} differ in {count} of {formats.total} tensors (first "
        f"{brief(first)}: {what}), and the loader takes the first file and ignores the second "
        "without a word",
        fix=f"delete the file whose weights you do not want, {PICKLE_NAME} if the adapter works",
        location=Location(path=str(PurePath(files.folder, PICKLE_NAME)), key=PICKLE_NAME),
        evidence={"count": count, "tensors": list(formats.differing)[:100]},
    )
