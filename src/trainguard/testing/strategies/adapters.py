"""LoRA adapters as PEFT saves them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import strategies as st

from trainguard.facts.adapter import CONFIG_NAME, PREFIX, WEIGHTS_NAME

_TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj")
#: Of the B matrices and of the A matrices, as after some hundred steps.
_TRAINED, _INITIAL = 0.01, 0.1


@dataclass(frozen=True)
class SavedAdapter:
    """What the two files of an adapter hold; `save` writes them."""

    config: dict[str, Any]
    """The values of `adapter_config.json`."""
    tensors: dict[str, np.ndarray[Any, Any]]
    """By the names of `adapter_model.safetensors`, in float32."""
    fault: str | None = None
    """Name of the check that finds what is wrong; None if nothing is."""
    cut: int = field(default=0, repr=False)
    """Bytes that are missing at the end of the weights."""

    def save(self, folder: str | Path) -> Path:
        """Write the adapter into a folder that exists; returns the folder."""
        place = Path(folder)
        (place / CONFIG_NAME).write_text(json.dumps(self.config, indent=2))
        content = _safetensors(self.tensors)
        (place / WEIGHTS_NAME).write_bytes(content[: len(content) - self.cut])
        return place


@st.composite
def adapters(draw: st.DrawFn, *, fault: str | None = None) -> SavedAdapter:
    """Adapters of 1 to 3 layers, 1 to 4 modules each, of rank 1 to 4, trained.

    Args:
        draw: given by hypothesis.
        fault: one of `ADAPTER_FAULTS`, planted in the adapter; None leaves it healthy.

    Raises:
        ValueError: there is no such fault.
    """
    if fault is not None and fault not in _FAULTS:
        raise ValueError(f"no fault is called {fault!r}; there are {', '.join(ADAPTER_FAULTS)}")
    rank = draw(st.integers(1, 4))
    layers = draw(st.integers(1, 3))
    targets = draw(st.lists(st.sampled_from(_TARGETS), min_size=1, unique=True).map(sorted))
    width = draw(st.sampled_from((8, 16, 32)))
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    tensors: dict[str, np.ndarray[Any, Any]] = {}
    for layer in range(layers):
        for target in targets:
            module = f"{PREFIX}model.layers.{layer}.self_attn.{target}"
            a = random.normal(0, _INITIAL, (rank, width)).astype(np.float32)
            b = random.normal(0, _TRAINED, (width, rank)).astype(np.float32)
            tensors |= {f"{module}.lora_A.weight": a, f"{module}.lora_B.weight": b}
    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": "base",
        "r": rank,
        "lora_alpha": draw(st.sampled_from((1, 2))) * rank,
        "lora_dropout": draw(st.sampled_from((0.0, 0.05))),
        "target_modules": list(targets),
        "bias": "none",
        "inference_mode": True,
    }
    healthy = SavedAdapter(config, tensors)
    return healthy if fault is None else _FAULTS[fault](healthy, fault)


def _first(adapter: SavedAdapter, part: str) -> str:
    return next(name for name in adapter.tensors if part in name)


def _untrained(adapter: SavedAdapter, fault: str) -> SavedAdapter:
    still = {n: t * 0 if "lora_B" in n else t for n, t in adapter.tensors.items()}
    return SavedAdapter(adapter.config, still, fault)


def _nonfinite(adapter: SavedAdapter, fault: str) -> SavedAdapter:
    name = _first(adapter, "lora_B")
    broken = adapter.tensors[name].copy()
    broken[0, 0] = np.nan
    return SavedAdapter(adapter.config, {**adapter.tensors, name: broken}, fault)


def _lone(adapter: SavedAdapter, fault: str) -> SavedAdapter:
    gone = _first(adapter, "lora_B")
    kept = {name: tensor for name, tensor in adapter.tensors.items() if name != gone}
    return SavedAdapter(adapter.config, kept, fault)


def _other_rank(adapter: SavedAdapter, fault: str) -> SavedAdapter:
    return SavedAdapter({**adapter.config, "r": adapter.config["r"] + 1}, adapter.tensors, fault)


def _unscaled(adapter: SavedAdapter, fault: str) -> SavedAdapter:
    return SavedAdapter({**adapter.config, "lora_alpha": 0}, adapter.tensors, fault)


def _cut(adapter: SavedAdapter, fault: str) -> SavedAdapter:
    return SavedAdapter(adapter.config, adapter.tensors, fault, cut=4)


_FAULTS: Mapping[str, Callable[[SavedAdapter, str], SavedAdapter]] = {
    "missing-partner": _lone,
    "nonfinite-weights": _nonfinite,
    "rank-mismatch": _other_rank,
    "unreadable-file": _cut,
    "untrained-adapter": _untrained,
    "zero-scaling": _unscaled,
}
ADAPTER_FAULTS = tuple(_FAULTS)


def _safetensors(tensors: Mapping[str, np.ndarray[Any, Any]]) -> bytes:
    """The file's bytes: the length of the header, the header, the values in its order."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    body = b""
    for name, tensor in tensors.items():
        values = np.ascontiguousarray(tensor, "<f4").tobytes()
        header[name] = {
            "dtype": "F32",
            "shape": list(tensor.shape),
            "data_offsets": [len(body), len(body) + len(values)],
        }
        body += values
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + body
