"""Facts about a live model and its optimizer: flags and identities, no tensor is read."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from trainguard.facts.model import ModelFacts, OptimizerFacts

if TYPE_CHECKING:
    from torch.nn import Module, Parameter
    from torch.optim import Optimizer

MAX_NAMES = 20


def model_facts(model: Module) -> ModelFacts:
    """Count the model's parameters, and those of its active PEFT adapters."""
    parameters = dict(model.named_parameters())
    names = {id(parameter): name for name, parameter in parameters.items()}
    trainable = [p for p in parameters.values() if p.requires_grad]
    adapter = {id(p): p for p in _adapter_parameters(model)}
    return ModelFacts(
        tensors=len(parameters),
        trainable_tensors=len(trainable),
        elements=sum(p.numel() for p in parameters.values()),
        trainable_elements=sum(p.numel() for p in trainable),
        trainable_dtypes=tuple(sorted({str(p.dtype).removeprefix("torch.") for p in trainable})),
        adapters=_active_adapters(model),
        peft_type=_peft_type(model),
        adapter_tensors=len(adapter),
        trainable_adapter_tensors=sum(p.requires_grad for p in adapter.values()),
        adapter_example=next((names.get(key) for key in adapter), None),
        gradient_checkpointing=any(
            getattr(module, "gradient_checkpointing", False) for module in model.modules()
        ),
    )


def optimizer_facts(model: Module, optimizer: Optimizer) -> OptimizerFacts:
    """Compare the tensors that the optimizer steps with the model's parameters, by identity."""
    stepped = {id(p) for group in optimizer.param_groups for p in group["params"]}
    parameters = dict(model.named_parameters())
    missing = [n for n, p in parameters.items() if p.requires_grad and id(p) not in stepped]
    return OptimizerFacts(
        tensors=len(stepped),
        missing=tuple(missing[:MAX_NAMES]),
        missing_tensors=len(missing),
        foreign_tensors=len(stepped - {id(p) for p in parameters.values()}),
    )


def unwrapped_model(model: Any) -> Module:
    """The module inside data-parallel and compile wrappers, whose parameters are the same."""
    while True:
        inner = getattr(model, "_orig_mod", None)
        if inner is None and type(model).__name__ in {"DistributedDataParallel", "DataParallel"}:
            inner = model.module
        if inner is None:
            return model
        model = inner


def observable_optimizer(optimizer: Any) -> Optimizer | None:
    """The torch optimizer that steps the model's parameters, inside wrappers such as accelerate's.

    None where something else steps them, so that neither gradients nor updates can be seen from
    outside: DeepSpeed's engine, or hooks that update layer by layer behind a dummy.
    """
    from torch.optim import Optimizer

    # accelerate's wrapper is an Optimizer too, but without the state that hooks need.
    while isinstance(inner := getattr(optimizer, "optimizer", None), Optimizer):
        if _steps_elsewhere(optimizer):
            return None
        optimizer = inner
    if not isinstance(optimizer, Optimizer) or _steps_elsewhere(optimizer):
        return None
    return optimizer


def _steps_elsewhere(optimizer: Any) -> bool:
    name = type(optimizer).__name__
    return name.startswith("DeepSpeed") or "Dummy" in name


def _adapter_parameters(model: Module) -> Iterator[Parameter]:
    """The parameters of the active adapters, as PEFT itself finds them."""
    if "peft" not in sys.modules:
        return
    from peft import PeftModel
    from peft.tuners.tuners_utils import BaseTunerLayer
    from peft.tuners.xlora.classifier import XLoraClassifier

    for module in model.modules():
        if isinstance(module, XLoraClassifier):  # all that X-LoRA trains; its experts are frozen
            yield from module.parameters()
        if isinstance(module, BaseTunerLayer):
            for layer in module.adapter_layer_names:
                yield from _of_active(getattr(module, layer, None), module.active_adapters)
    if isinstance(model, PeftModel):
        yield from _of_active(getattr(model, "prompt_encoder", None), _active_adapters(model))


def _of_active(container: Any, active: Iterable[str]) -> Iterator[Parameter]:
    """Tuners keep a dictionary by adapter name; its values are modules or parameters."""
    from torch.nn import Module, Parameter

    for name in active:
        entry = container[name] if container is not None and name in container else None
        if isinstance(entry, Parameter):
            yield entry
        elif isinstance(entry, Module):
            yield from entry.parameters()


def _active_adapters(model: Any) -> tuple[str, ...]:
    active = getattr(model, "active_adapters", ())
    try:
        active = active() if callable(active) else active
    except ValueError:  # transformers raises it on a model without adapters
        return ()
    return tuple(active)


def _peft_type(model: Any) -> str | None:
    configs = getattr(model, "peft_config", None)
    for name in _active_adapters(model):
        if isinstance(configs, dict) and name in configs:
            kind = configs[name].peft_type
            return str(getattr(kind, "value", kind))
    return None
