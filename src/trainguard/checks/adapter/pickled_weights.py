"""The adapter's weights are a pickle, not safetensors.

## Why is this bad?
PEFT still loads `adapter_model.bin`, but `load_adapter` and `AutoModel` of transformers 5 read
only safetensors and end in `FileNotFoundError`. A pickle can also hold code, so others will not
want to load it (TG120 says what this one holds).

## Example
```adapter
config peft_type=LORA r=8 lora_alpha=16
file adapter_model.bin   # TG122
```

## Instead
Load it once with PEFT and save it with `save_pretrained`, which writes safetensors.

```adapter
config peft_type=LORA r=8 lora_alpha=16
file adapter_model.safetensors
```

## Source
PEFT 0.21.2 and transformers 5.23 with an adapter that has only `adapter_model.bin`.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import PurePath

from trainguard.facts.adapter import PICKLE_NAME, WEIGHTS_NAME, AdapterFiles
from trainguard.findings import Finding, Location, Precision, Severity
from trainguard.registry import check


@check("TG122", severity=Severity.INFO, precision=Precision.EXACT)
def pickled_weights(files: AdapterFiles) -> Iterator[Finding]:
    """Fire where the pickle is all there is."""
    if PICKLE_NAME in files.names and WEIGHTS_NAME not in files.names:
        yield Finding(
            f"1 file, {PICKLE_NAME}, holds the weights as a pickle, so transformers 5 cannot load "
            "the adapter and PEFT alone can",
            fix="load it with PEFT and save it again with save_pretrained",
            location=Location(path=str(PurePath(files.folder, PICKLE_NAME)), key=PICKLE_NAME),
            evidence={"file": PICKLE_NAME},
        )
