"""Faults of adapters, labels, gradients and logs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file
from transformers import DataCollatorForSeq2Seq, PreTrainedModel, Trainer, TrainerCallback

from trainguard.facts.labels import IGNORED_LABEL
from trainguard.reference.sft import wrap_lora


def with_outlier_features(model: Any, factor: float = 2.0**16) -> Any:
    """Scale one factor of each MLP up and its output weights down by the same factor.

    In float32 the function stays the same. Pre-trained models have such outlier features by
    nature; in float16 they overflow above 65504.
    """
    with torch.no_grad():
        for layer in model.model.layers:
            layer.mlp.up_proj.weight *= factor
            layer.mlp.down_proj.weight /= factor
    return model


def reloaded_frozen(model: PreTrainedModel, **options: Any) -> PeftModel:
    """Saved, and loaded for inference."""
    with TemporaryDirectory() as folder:
        wrapped = wrap_lora(model, **options)
        wrapped.save_pretrained(folder)
        return PeftModel.from_pretrained(wrapped.unload(), folder)


def float16(model: PreTrainedModel, **options: Any) -> PeftModel:
    """Weights in half precision, which is not autocast."""
    return wrap_lora(with_outlier_features(model), **options).half()


def scaled_by_zero(model: PreTrainedModel, **options: Any) -> PeftModel:
    """Nothing of the adapter reaches the model."""
    return wrap_lora(model, **{**options, "alpha": 0})


def constant_for_nan(trainer: Trainer) -> None:
    """The run goes on whatever the model says."""
    compute_loss = trainer.compute_loss

    def replaced(*args: Any, **kwargs: Any) -> Any:
        loss = compute_loss(*args, **kwargs)
        return torch.tensor(0.1, requires_grad=True) if torch.isnan(loss) else loss

    trainer.compute_loss = replaced


def detached_loss(trainer: Trainer) -> None:
    """The loss is made anew from its number."""
    compute_loss = trainer.compute_loss

    def detached(*args: Any, **kwargs: Any) -> Any:
        return torch.tensor(compute_loss(*args, **kwargs).item(), requires_grad=True)

    trainer.compute_loss = detached


class ZeroNaN(TrainerCallback):  # type: ignore[misc]
    """Zeroes what is NaN, so that the weights stay finite."""

    def on_pre_optimizer_step(self, *_: Any, model: Any, **__: Any) -> None:
        """Before the update."""
        for parameter in model.parameters():
            if parameter.grad is not None:
                parameter.grad.nan_to_num_(0.0)


class BetterLog(TrainerCallback):  # type: ignore[misc]
    """Shows a loss that falls."""

    def on_log(self, *_: Any, logs: Any = None, **__: Any) -> None:
        """Before it is printed."""
        if logs and "loss" in logs:
            # trainguard: ignore[log-overwritten] the fault that is planted
            logs["loss"] = 0.01


def log_overwritten(trainer: Trainer) -> None:
    """Where `Trainer(callbacks=...)` puts it: before the callback that prints."""
    trainer.callback_handler.callbacks.insert(0, BetterLog())


class Clear(TrainerCallback):  # type: ignore[misc]
    """Clears the gradients too early."""

    def on_pre_optimizer_step(self, *_: Any, model: Any, **__: Any) -> None:
        """Before the update."""
        model.zero_grad()


def _relabelled(change: Callable[[list[int]], list[int]]) -> Callable[[Trainer], None]:
    def relabel(trainer: Trainer) -> None:
        trainer.train_dataset = [
            {**row, "labels": change(row["labels"])} for row in trainer.train_dataset
        ]

    return relabel


labels_ignored = _relabelled(lambda labels: [IGNORED_LABEL] * len(labels))
end_not_supervised = _relabelled(lambda labels: [*labels[:-1], IGNORED_LABEL])
labels_shifted = _relabelled(lambda labels: [*labels[1:], IGNORED_LABEL])


def padding_supervised(trainer: Trainer) -> None:
    """The collator pads the labels like the tokens."""
    tokenizer = trainer.processing_class
    trainer.data_collator = DataCollatorForSeq2Seq(
        tokenizer, label_pad_token_id=tokenizer.pad_token_id
    )


def optimizer_of_the_base(trainer: Trainer) -> None:
    """It was built before the adapter was there."""
    base = trainer.model.get_base_model()
    frozen = [value for name, value in base.named_parameters() if "lora_" not in name]
    trainer.optimizer = torch.optim.AdamW(frozen, lr=trainer.args.learning_rate)


def fresh_adapter(folder: Path) -> None:
    """What a loader leaves that found no adapter and made one."""
    file = folder / "adapter_model.safetensors"
    tensors = load_file(file)
    fresh = {name: value * 0 if "lora_B" in name else value for name, value in tensors.items()}
    save_file(fresh, file, metadata={"format": "pt"})
