"""How the gradient and the update of a step are spread over the layers of a model."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

#: Layers that are told apart; of more, neighbours are taken together.
MAX_LAYERS = 128

#: A module path up to its first number: `model.layers.3`, `encoder.block.0`, `transformer.h.11`.
_NUMBERED = re.compile(r"(?:.*?\.)?\d+(?=\.|$)")
#: What PEFT and wrappers put before and after the path of a module.
_BEFORE = re.compile(r"^(?:_orig_mod\.|module\.|base_model\.model\.)+")
_AFTER = re.compile(r"\.(?:lora_\w+|original_module|modules_to_save|base_layer)(?=\.|$)")


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerStep:
    """One optimizer step, layer by layer."""

    step: int
    """Optimizer step, from 1."""
    names: tuple[str, ...]
    """The layers, in the model's order; at most `MAX_LAYERS`."""
    gradients: tuple[float, ...]
    """L2 norm of each layer's gradients before clipping; 0.0 where none was received."""
    ratios: tuple[float | None, ...]
    """Size of each layer's update by that of its weights, L2 norms over sampled elements; None
    where that was not looked at, where the weights are zero, or where no gradient reached the
    sample, as with the embedding of tokens that are in no batch."""


def layers_of(parameters: Sequence[str]) -> dict[str, str]:
    """The layer of each parameter, by its name; layers come in the order of their first one.

    A numbered block with all that is in it is a layer, and so is each module outside of one.
    """
    layers = {name: _layer(name) for name in parameters}
    distinct = list(dict.fromkeys(layers.values()))
    size = ceil(len(distinct) / MAX_LAYERS)
    if size <= 1:
        return layers
    chunks = [distinct[start : start + size] for start in range(0, len(distinct), size)]
    joined = {layer: f"{chunk[0]} to {chunk[-1]}" for chunk in chunks for layer in chunk}
    return {name: joined[layer] for name, layer in layers.items()}


def _layer(parameter: str) -> str:
    name = _BEFORE.sub("", parameter)
    if match := _NUMBERED.match(name):
        return match[0]
    if match := _AFTER.search(name):
        return name[: match.start()]
    return name.rpartition(".")[0] or name


def short_names(layers: Sequence[str]) -> list[str]:
    """The ends of the layers' names, `layers.3` and `lm_head`, if they tell all of them apart."""
    short = [_end(layer) for layer in layers]
    return short if len(set(short)) == len(set(layers)) else list(layers)


def _end(layer: str) -> str:
    parts = layer.split(".")
    return ".".join(parts[-2:]) if parts[-1].isdigit() else parts[-1]
