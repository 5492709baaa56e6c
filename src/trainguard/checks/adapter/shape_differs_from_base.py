"""The adapter's factors do not fit the weights of the base model.

## Why is this bad?
`lora_A` reads what the module reads and `lora_B` writes what it writes. Where the sizes differ,
the adapter belongs to another base model: of another width, with another vocabulary, or before a
`resize_token_embeddings`. The loader stops with a size mismatch that names tensors, not models.
If only the vocabulary differs the finding is a warning, for the base may yet be resized.

This check needs the base model's folder: `--base DIR`, or a local one that the config names.

## Example
```adapter
config peft_type=LORA r=8
base model.layers.0.q_proj.weight shape=32x32
tensor base_model.model.model.layers.0.q_proj.lora_A.weight shape=8x16   # TG152
tensor base_model.model.model.layers.0.q_proj.lora_B.weight shape=16x8
```

```adapter
config peft_type=LORA r=8 modules_to_save='["lm_head"]'
base model.layers.0.q_proj.weight shape=16x16
base lm_head.weight shape=100x16
tensor base_model.model.lm_head.weight shape=101x16   # TG152
```

## Instead
Load the adapter on the base model that it was trained on; resize the embeddings of the base first
if they were resized for the training.

```adapter
config peft_type=LORA r=8
base model.layers.0.q_proj.weight shape=32x16
base model.embed_tokens.weight shape=100x16
tensor base_model.model.model.layers.0.q_proj.lora_A.weight shape=8x16
tensor base_model.model.model.layers.0.q_proj.lora_B.weight shape=32x8
tensor base_model.model.model.embed_tokens.lora_embedding_A shape=8x100
tensor base_model.model.model.embed_tokens.lora_embedding_B shape=16x8
```

GPT-2 stores its weights the other way round:

```adapter
config peft_type=LORA r=8
base h.0.attn.c_attn.weight shape=16x48
tensor base_model.model.transformer.h.0.attn.c_attn.lora_A.weight shape=8x16
tensor base_model.model.transformer.h.0.attn.c_attn.lora_B.weight shape=48x8
```

## Source
PEFT 0.21.2: the layers' constructors. Packed (quantised) weights are not compared, nor are
experts' parameters and block-diagonal factors, whose sizes follow other rules.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from trainguard.checks.adapter._bases import BaseIndex
from trainguard.checks.adapter._targets import UndecidableError, holds_parameters
from trainguard.facts.adapter import AdapterConfig, AdapterTensors, TensorFacts, brief, dims
from trainguard.facts.base_model import BaseModelFacts
from trainguard.findings import Finding, NotChecked, Precision, Severity
from trainguard.registry import check

#: The dimension of a factor that is one of the base weight's, by the part.
_OUTER = {"lora_A": 1, "lora_B": 0, "lora_embedding_A": 1, "lora_embedding_B": 0}
_Shape = tuple[int, ...]


@check("TG152", severity=Severity.ERROR, precision=Precision.HIGH, explains=("TG103", "TG158"))
def shape_differs_from_base(
    config: AdapterConfig, tensors: AdapterTensors, base: BaseModelFacts
) -> Iterator[Finding | NotChecked]:
    """Fire once, with the tensors that do not fit."""
    if config.peft_type != "LORA" or config.flag("use_bdlora"):
        return
    try:
        pairs = list(_pairs(config, tensors, base))
    except UndecidableError as error:
        yield NotChecked(f"a pattern of the config is {error}")
        return
    unfit = [(tensor, shape) for tensor, shape in pairs if not _fits(tensor, shape)]
    if not unfit:
        return
    yield _finding(unfit, len(pairs), tensors, base)


def _finding(
    unfit: Sequence[tuple[TensorFacts, _Shape]],
    total: int,
    tensors: AdapterTensors,
    base: BaseModelFacts,
) -> Finding:
    tensor, shape = unfit[0]
    # A vocabulary that was resized for the training is in order if the base is resized as well.
    is_vocabulary = all(base.vocab in shape for _, shape in unfit)
    return Finding(
        f"{len(unfit)} of {total} tensors do not fit the base model {brief(base.path)} (first "
        f"{brief(tensor.name)}: {dims(tensor)}, the base weight is {'x'.join(map(str, shape))}), "
        "so the loader stops with a size mismatch",
        fix="resize the base model's embeddings before loading, as the training did"
        if is_vocabulary
        else "load the adapter on the base model that it was trained on",
        location=tensors.location(tensor),
        evidence={"tensors": [t.name for t, _ in unfit[:100]], "count": len(unfit)},
        severity=Severity.WARNING if is_vocabulary else Severity.ERROR,
    )


def _pairs(
    config: AdapterConfig, tensors: AdapterTensors, base: BaseModelFacts
) -> Iterator[tuple[TensorFacts, _Shape]]:
    """The tensors that can be compared, each with the base model's weight of its module."""
    index = BaseIndex(base)
    for tensor in tensors.tensors:
        if tensor.leaf == "bias" or (tensor.part not in _OUTER and tensor.part != "weight"):
            continue
        if len(tensor.shape) != 2 or holds_parameters(config, tensor.module):
            continue
        if shape := _weight(tensor.module.removesuffix(".base_layer"), index, base):
            yield tensor, shape


def _weight(module: str, index: BaseIndex, base: BaseModelFacts) -> _Shape | None:
    """The weight's shape if exactly one module can be meant and its shape is stated."""
    found = index.find(module)
    shape = base.shapes.get(f"{found[0]}.weight") if len(found) == 1 else None
    return shape if shape and len(shape) == 2 else None


def _fits(tensor: TensorFacts, shape: _Shape) -> bool:
    """Either side of the base weight will do: Conv1D and Embedding store theirs transposed."""
    if tensor.part == "weight":
        return tensor.shape == shape
    return tensor.shape[_OUTER[tensor.part]] in shape
