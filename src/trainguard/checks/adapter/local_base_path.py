"""The config names a base model by a path that does not exist here.

## Why is this bad?
Whatever finds the base model through the adapter (`AutoPeftModel`, `AutoModel` of transformers,
`llama.cpp`'s converter) reads `base_model_name_or_path`. A path of the machine that trained,
`/root/models/llama` or `./output/checkpoint-500`, means nothing elsewhere, and after a clean-up
not even there. `PeftModel.from_pretrained(base, folder)` does not look at it, so the fault shows
only with the next user, who has no way to find out which base it was.

## Example
```adapter
config peft_type=LORA r=8
config base_model_name_or_path=./output/checkpoint-500   # TG113
```

```adapter
config peft_type=LORA r=8
config base_model_name_or_path='C:\\models\\llama'   # TG113
```

Without any name, only programs that look the base up by it fail:

```adapter
intent target=transformers
config peft_type=LORA r=8
config base_model_name_or_path=none   # TG113
```

## Instead
Write the base model's id on the hub into `adapter_config.json`, or the path at which it is now.

```adapter
config peft_type=LORA r=8 base_model_name_or_path=meta-llama/Llama-3.1-8B
```

```adapter
config peft_type=LORA r=8 base_model_name_or_path=gpt2
```

A path that exists is fine, and so is no name at all for a base that the program is given:

```adapter
config peft_type=LORA r=8 base_model_name_or_path=/models/llama
folder /models/llama
```

```adapter
config peft_type=LORA r=8 base_model_name_or_path=none
```

## Source
PEFT 0.21.2: `_BaseAutoPeftModel.from_pretrained`; an id on the hub has at most one slash. What
could be either, such as `output/model`, is taken for an id.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from trainguard.facts.adapter import AdapterConfig, shown
from trainguard.facts.base_model import BaseReference
from trainguard.facts.intent import Intent
from trainguard.findings import Finding, Precision, Severity
from trainguard.registry import check

_KEY = "base_model_name_or_path"
_HUB_ID = re.compile(r"[\w-][\w.-]*(/[\w-][\w.-]*)?")
_CACHED = re.compile(r"models--([\w.-]+?)--([\w.-]+?)(?=[/\\]|$)")
#: Programs that find the base model by the adapter's config.
_LOOKING = frozenset({"transformers", "llamacpp"})


@check("TG113", severity=Severity.WARNING, precision=Precision.HIGH)
def local_base_path(
    config: AdapterConfig, reference: BaseReference, intent: Intent
) -> Iterator[Finding]:
    """Fire for a path that is not there, and for no name where one is needed."""
    if not reference.name.strip():
        if intent.target in _LOOKING:
            yield _finding(config, f"does not say where {intent.target} finds the base model")
    elif not reference.exists and not _HUB_ID.fullmatch(reference.name):
        yield _finding(
            config,
            "is neither an id on the hub nor a path that exists here, so AutoPeftModel and servers "
            "cannot find the base model",
        )


def _finding(config: AdapterConfig, what: str) -> Finding:
    value = config.values.get(_KEY)
    cached = _CACHED.search(value) if isinstance(value, str) else None
    name = f"{cached[1]}/{cached[2]}" if cached else "its id on the hub or where it is now"
    return Finding(
        f"{_KEY} is {shown(value)}: it {what}",
        fix=f"set {_KEY} in adapter_config.json to {name}",
        location=config.location(_KEY),
        evidence={"name": value if isinstance(value, str) else None},
        severity=Severity.WARNING,
    )
