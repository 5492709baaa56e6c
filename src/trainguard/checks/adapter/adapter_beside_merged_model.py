"""The adapter lies beside a model that it is merged into already.

## Why is this bad?
`from_pretrained` of transformers on a folder with a full model and an `adapter_config.json` loads
the model and then the adapter on top of it, as it has to for a base model that carries its
adapter. If the model is the outcome of `merge_and_unload()`, the update is applied twice and the
answers are those of no model that was ever evaluated. Nothing is said.

## Example
```adapter
config peft_type=LORA r=8 lora_alpha=16 base_model_name_or_path=base
merged model.layers.0.self_attn.q_proj.weight   # TG154
merged model.layers.1.self_attn.q_proj.weight
```

## Instead
Save the merged model into a folder of its own.

A base model that carries its adapter is loaded rightly:

```adapter
config peft_type=LORA r=8 lora_alpha=16 base_model_name_or_path=base
unmerged model.layers.0.self_attn.q_proj.weight
unmerged model.layers.1.self_attn.q_proj.weight
```

## Source
transformers 5.23: `maybe_load_adapters`, run on such a folder, moved the logits of a small model
away from those of the merged model by half of what the adapter moves them; AutoPeftModel of PEFT
0.21.2, which loads the base model that the config names, gave the right ones. Without that base
model on the disk nothing can be told.
"""

from __future__ import annotations

from collections.abc import Iterator

from trainguard.facts.adapter import AdapterFiles, brief
from trainguard.facts.adapter_comparison import ModelBesideAdapter
from trainguard.findings import Finding, Location, NotChecked, Precision, Severity
from trainguard.registry import check


@check("TG154", severity=Severity.WARNING, precision=Precision.HIGH)
def adapter_beside_merged_model(
    files: AdapterFiles, model: ModelBesideAdapter | None
) -> Iterator[Finding | NotChecked]:
    """Fire once if the model's adapted weights are not the base model's."""
    if model is None:
        return
    if model.problem:
        yield NotChecked(f"the folder holds a full model, but {model.problem}")
    elif model.changed:
        first = model.changed[0]
        yield Finding(
            f"{len(model.changed)} of {model.compared} compared weights of the model in the "
            f"adapter's folder (first {brief(first)}) are not those of its base model "
            f"{brief(model.base)}: it is merged already, and from_pretrained of transformers "
            "applies the adapter a second time",
            fix="move adapter_config.json and the adapter's weights into a folder of their own",
            location=Location(path=files.folder, key=first),
            evidence={"changed": list(model.changed), "compared": model.compared},
        )
