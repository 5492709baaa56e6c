"""What the inspected files are about to be used for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Purpose = Literal["train", "infer"]
Target = Literal["peft", "transformers", "vllm", "llamacpp", "sglang"]


@dataclass(frozen=True, slots=True)
class Intent:
    """The use that the user stated, if any."""

    purpose: Purpose | None = None
    target: Target | None = None
    """The program that is to load an adapter; None if unknown, which is judged as PEFT."""
