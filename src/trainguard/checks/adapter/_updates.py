"""Which stored tensors decide whether a module's update is anything at all."""

from __future__ import annotations

from collections.abc import Mapping

from trainguard.checks.adapter._tuners import FACTORS, MULTIPLIERS
from trainguard.facts.adapter import AdapterConfig, AdapterTensors, TensorFacts


def deciding_parts(
    config: AdapterConfig, tensors: AdapterTensors
) -> dict[str, Mapping[str, TensorFacts]]:
    """The parts that decide, of each module that has some; pruned ones have no elements."""
    deciding = {*FACTORS.get(config.peft_type, ()), *MULTIPLIERS.get(config.peft_type, ())}
    modules = {
        module: {
            part: tensor for part, tensor in parts.items() if part in deciding and tensor.count
        }
        for module, parts in tensors.modules().items()
    }
    return {module: parts for module, parts in modules.items() if parts}


def idle_tensor(config: AdapterConfig, parts: Mapping[str, TensorFacts]) -> TensorFacts | None:
    """The tensor that keeps the module from changing anything."""
    for part in FACTORS.get(config.peft_type, ()):
        if part in parts and parts[part].all_zero:
            return parts[part]
    multipliers = [parts[p] for p in MULTIPLIERS.get(config.peft_type, ()) if p in parts]
    if multipliers and all(tensor.all_one for tensor in multipliers):
        return multipliers[0]
    return None
