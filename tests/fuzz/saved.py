"""The valid inputs that the fuzz run damages, saved by the libraries themselves.

`python -m fuzz.saved FOLDER` (in `tests/`) writes them. It runs in a process of its own, because
torch and transformers alone take more memory than trainguard may.
"""

from __future__ import annotations

import contextlib
import io
import logging
import sys
import warnings
from pathlib import Path
from typing import Any

import torch
from peft import IA3Config, LoHaConfig, LoraConfig, PromptTuningConfig, get_peft_model

from fuzz.inputs import BASE
from trainguard import TrainGuardCallback

import tiny

_TARGETS = ["q_proj", "v_proj"]


def write_valid_inputs(folder: Path) -> None:
    """Write each input into a folder of its own."""
    for name, save in _INPUTS.items():
        (folder / name).mkdir(parents=True)
        save(folder / name)


def _adapter(config: Any, dtype: torch.dtype = torch.float32) -> Any:
    """An adapter whose parameters have left their start, as after some steps."""
    adapted = get_peft_model(tiny.model(), config)
    with torch.no_grad():
        for parameter in adapted.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter) * 0.02)
    return adapted.to(dtype)


def _lora(dtype: torch.dtype = torch.float32) -> Any:
    config = LoraConfig(r=4, lora_alpha=8, target_modules=_TARGETS, task_type="CAUSAL_LM")
    return _adapter(config, dtype)


def _lora_on_base(folder: Path) -> None:
    _lora().save_pretrained(folder / "adapter")
    tiny.model().save_pretrained(folder / BASE)


def _lora_bf16(folder: Path) -> None:
    _lora(torch.bfloat16).save_pretrained(folder)


def _lora_zip(folder: Path) -> None:
    _lora().save_pretrained(folder, safe_serialization=False)


def _lora_legacy(folder: Path) -> None:
    _lora_zip(folder)
    path = folder / "adapter_model.bin"
    torch.save(torch.load(path), path, _use_new_zipfile_serialization=False)


def _ia3(folder: Path) -> None:
    config = IA3Config(
        target_modules=["k_proj", "down_proj"],
        feedforward_modules=["down_proj"],
        task_type="CAUSAL_LM",
    )
    _adapter(config).save_pretrained(folder)


def _loha(folder: Path) -> None:
    _adapter(LoHaConfig(r=4, target_modules=_TARGETS)).save_pretrained(folder)


def _prompt(folder: Path) -> None:
    config = PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=4)
    _adapter(config).save_pretrained(folder)


def _sharded(folder: Path) -> None:
    tiny.model().save_pretrained(folder, max_shard_size="40KB")
    tiny.tokenizer().save_pretrained(folder)


def _run(folder: Path) -> None:
    adapted = tiny.lora(tiny.model())
    saving = {"save_strategy": "steps", "save_steps": 2}
    tiny.trainer(adapted, folder, max_steps=4, learning_rate=1e-2, **saving).train()


def _watched_run(folder: Path) -> None:
    """Only the records: trainguard's own and the Trainer's."""
    trainer = tiny.trainer(tiny.lora(tiny.model()), folder, callbacks=[TrainGuardCallback()])
    trainer.train()
    trainer.save_state()


_INPUTS = {
    "lora-on-base": _lora_on_base,
    "lora-bf16": _lora_bf16,
    "lora-zip": _lora_zip,
    "lora-legacy": _lora_legacy,
    "ia3": _ia3,
    "loha": _loha,
    "prompt": _prompt,
    "sharded": _sharded,
    "run": _run,
    "watched-run": _watched_run,
}

if __name__ == "__main__":
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
    with contextlib.redirect_stdout(io.StringIO()):
        write_valid_inputs(Path(sys.argv[1]))
