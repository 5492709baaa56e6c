"""The config names a module that loading the adapter would import.

## Why is this bad?
Importing a module runs it. `AutoPeftModel` imports `auto_mapping.parent_library` of a config that
has no `task_type`, and LoRA imports `megatron_core` if there is a `megatron_config`. PEFT 0.21.2
stops with a ValueError at names outside of a short list; releases without that list import
whatever the file says, from the current folder too. Nobody's model lives in Python's standard
library: such a name is there to run something.

## Example
```adapter
config peft_type=LORA r=8 lora_alpha=16
config megatron_core=helpers.core megatron_config='{"hidden_size": 64}'   # TG126
```

```adapter
config peft_type=LORA r=8 lora_alpha=16
config auto_mapping='{"base_model_class": "x", "parent_library": "antigravity"}'   # TG126
```

A base model of one's own is saved with the name of its module, so that other names are no fault.
They are told as information, for whoever loads the adapter imports them:

```adapter
config peft_type=LORA r=8 lora_alpha=16
config auto_mapping='{"base_model_class": "Net", "parent_library": "my_project.nets"}'   # TG126
```

## Instead
Load the adapter with `PeftModel.from_pretrained` on a base model that you built yourself, and do
not give `import_allowlist` a name that you do not trust.

```adapter
config peft_type=LORA r=8 lora_alpha=16
config auto_mapping='{"base_model_class": "BertModel", "parent_library": "transformers.models"}'
```

Neither name is used without its condition, and what a script defines or torch brings is loaded
already:

```adapter
config peft_type=LORA r=8 lora_alpha=16 megatron_core=helpers.core megatron_config=none
config task_type=CAUSAL_LM
config auto_mapping='{"base_model_class": "x", "parent_library": "antigravity"}'
```

```adapter
config peft_type=LORA r=8 lora_alpha=16
config auto_mapping='{"base_model_class": "Net", "parent_library": "__main__"}'
```

## Source
PEFT 0.21.2: `get_default_import_allowlist` and `_BaseAutoPeftModel.from_pretrained` in `auto.py`,
`get_default_module_allowlist` and `dispatch_megatron` in `tuners/lora/tp_layer.py`.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator

from trainguard.facts.adapter import AdapterConfig, brief
from trainguard.findings import Finding, Precision, Severity
from trainguard.registry import check

#: What AutoPeftModel imports without being asked twice.
_ALLOWED = frozenset({"diffusers", "lerobot", "megatron-core", "transformers"})
#: What is in memory before an adapter is looked at, so that importing it runs nothing.
_LOADED = frozenset({"__main__", "torch"})


@check("TG126", severity=Severity.ERROR, precision=Precision.EXACT)
def unsafe_config_import(config: AdapterConfig) -> Iterator[Finding]:
    """Fire for each module outside of PEFT's own lists that a loader would import."""
    core = config.text("megatron_core") or ""
    is_used = config.peft_type == "LORA" and config.flag("megatron_config")
    if is_used and core and _top(core) != "megatron":
        fix = "set megatron_config to null in adapter_config.json, and load only what you trust"
        yield _finding(config, "megatron_core", core, "PeftModel", fix, Severity.ERROR)
    library = config.mapping("auto_mapping").get("parent_library")
    is_used = config.values.get("task_type") is None and isinstance(library, str)
    if is_used and library and _top(library) not in _ALLOWED | _LOADED:
        fix = "load it with PeftModel.from_pretrained on a base model that you built"
        is_standard = _top(library) in sys.stdlib_module_names
        severity = Severity.ERROR if is_standard else Severity.INFO
        yield _finding(config, "auto_mapping", library, "AutoPeftModel", fix, severity)


def _top(module: str) -> str:
    return module.partition(".")[0]


def _finding(
    config: AdapterConfig, key: str, module: str, loader: str, fix: str, severity: Severity
) -> Finding:
    return Finding(
        f"{key} names the module {brief(module)}, which is none of the libraries that PEFT lets a "
        f"config import: {loader} of PEFT 0.21.2 stops with a ValueError, releases without that "
        "list run it",
        fix=fix,
        location=config.location(key),
        evidence={"field": key, "module": module, "loader": loader},
        severity=severity,
    )
