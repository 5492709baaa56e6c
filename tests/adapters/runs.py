"""Training runs and full models as the libraries write them, and how they are broken.

The tests and the printed table share these lists.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from transformers import Trainer
from trl import SFTTrainer

from trainguard.facts.full_model import INDEX_NAME

import tiny

Damage = Callable[[Path], Any]

EVERY = {"save_strategy": "steps", "save_steps": 2}
MODEL = "model.safetensors"
ADAPTER = "adapter_model.safetensors"
LAST = "checkpoint-6"
NORM, HEAD = "model.norm.weight", "lm_head.weight"
FIRST_SHARD = "model-00001-of-00006.safetensors"
LAST_SHARD = "model-00006-of-00006.safetensors"

HEALTHY_RUNS = ("lora", "full", "sft", "limited", "best")
HEALTHY_MODELS = ("single", "sharded", "tied", "merged", "bfloat16")


class Evaluated(Trainer):
    """A trainer with a set to evaluate on."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, eval_dataset=tiny.rows(8), **options)


def frozen() -> Any:
    """An adapter as `PeftModel.from_pretrained` loads it, with what gradient checkpointing sets."""
    model = tiny.lora(tiny.model())
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    model.enable_input_require_grads()
    return model


def make(top: Path) -> Path:
    """Train the runs and save the models into a folder, each under its name."""
    best = {"eval_strategy": "steps", "eval_steps": 2, "load_best_model_at_end": True}
    adapted = lambda: tiny.lora(tiny.model())  # noqa: E731
    runs: dict[str, tuple[Any, type[Trainer], dict[str, Any]]] = {
        "lora": (adapted(), Trainer, {}),
        "full": (tiny.model(), Trainer, {}),
        "sft": (adapted(), SFTTrainer, {}),
        "only": (adapted(), Trainer, {"save_only_model": True}),
        "limited": (adapted(), Trainer, {"save_total_limit": 2}),
        "frozen": (frozen(), Trainer, {}),
        "best": (adapted(), Evaluated, best),
    }
    for name, (model, kind, options) in runs.items():
        tiny.trainer(model, top / name, kind, **EVERY, **options).train()
    model = tiny.model()
    model.save_pretrained(str(top / "single"))
    model.save_pretrained(str(top / "sharded"), max_shard_size="20KB")
    for name in ("single", "sharded"):
        tiny.tokenizer().save_pretrained(str(top / name))
    tied = tiny.model()
    tied.config.tie_word_embeddings = True
    tied.tie_weights()
    tied.save_pretrained(str(top / "tied"))
    tiny.lora(tiny.model()).merge_and_unload().save_pretrained(str(top / "merged"))
    tiny.model().to(torch.bfloat16).save_pretrained(str(top / "bfloat16"))
    return top


@dataclass(frozen=True)
class RunFault:
    """A fault of a run or a model, and the one cause to be reported."""

    check: str
    """Name; "" where no check decides it yet."""
    severity: str
    of: str
    damage: Damage


def state(checkpoint: Path, **fields: Any) -> None:
    """Set fields of a checkpoint's state."""
    path = checkpoint / "trainer_state.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


def logs(**values: Any) -> Damage:
    """Set values in every log line of every checkpoint."""

    def damage(run: Path) -> None:
        for checkpoint in run.glob("checkpoint-*"):
            lines = json.loads((checkpoint / "trainer_state.json").read_text())["log_history"]
            state(checkpoint, log_history=[line | values for line in lines])

    return damage


def lost(name: str, checkpoint: str = LAST) -> Damage:
    """Remove a file."""
    return lambda run: (run / checkpoint / name).unlink()


def copied(name: str, *to: str) -> Damage:
    """Copy a file of the first checkpoint over those of others."""

    def damage(run: Path) -> None:
        for checkpoint in to:
            shutil.copy(run / "checkpoint-2" / name, run / checkpoint / name)

    return damage


def without_log(run: Path) -> None:
    """Take the log out of every checkpoint's state."""
    for checkpoint in run.glob("checkpoint-*"):
        state(checkpoint, log_history=[])


def model_beside_adapter(run: Path) -> None:
    """The base model's weights in the last checkpoint."""
    tiny.model().save_pretrained(str(run / "base"))
    shutil.move(run / "base" / MODEL, run / LAST / MODEL)
    shutil.rmtree(run / "base")


def nan_in_optimizer(run: Path) -> None:
    """A NaN in the first moment that AdamW keeps."""
    path = run / LAST / "optimizer.pt"
    saved = torch.load(path, weights_only=True)
    next(iter(saved["state"].values()))["exp_avg"].view(-1)[0] = float("nan")
    torch.save(saved, path)


def reindexed(edit: Callable[[dict[str, str]], Any]) -> Damage:
    """A damage to the index of a sharded model."""

    def damage(folder: Path) -> None:
        path = folder / INDEX_NAME
        values = json.loads(path.read_text())
        edit(values["weight_map"])
        path.write_text(json.dumps(values))

    return damage


def rewritten(edit: Callable[[dict[str, torch.Tensor]], Any]) -> Damage:
    """A damage to the tensors of a model in one file; what it returns replaces them."""

    def damage(folder: Path) -> None:
        tensors = load_file(folder / MODEL)
        save_file(edit(tensors) or tensors, folder / MODEL, metadata={"format": "pt"})

    return damage


def configured(name: str, **fields: Any) -> Damage:
    """Set fields of a JSON file."""

    def damage(folder: Path) -> None:
        path = folder / name
        path.write_text(json.dumps(json.loads(path.read_text()) | fields))

    return damage


def prefixed(prefix: str) -> Damage:
    """Put something before the name of every tensor."""
    return rewritten(lambda old: {prefix + name: tensor for name, tensor in old.items()})


def poison(tensors: dict[str, torch.Tensor]) -> None:
    """One row of NaN."""
    tensors[HEAD][3] = float("nan")


def unmerged(folder: Path) -> None:
    """The base model of an adapter, saved without merging it first."""
    tiny.lora(tiny.model()).get_base_model().save_pretrained(str(folder))


def pointer(folder: Path) -> None:
    """What git leaves of a large file that it did not fetch."""
    (folder / MODEL).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\n")


def more_tokens(folder: Path) -> None:
    """A tokenizer with two words that the embeddings have no rows for."""
    tokenizer = tiny.tokenizer()
    tokenizer.add_tokens(["<one>", "<two>"])
    tokenizer.save_pretrained(str(folder))


def other_shard(names: dict[str, str]) -> None:
    """Look for a tensor in a shard that does not hold it."""
    names[NORM] = FIRST_SHARD if names[NORM] != FIRST_SHARD else LAST_SHARD


def renamed(run: Path) -> None:
    """Another step in the folder's name."""
    (run / LAST).rename(run / "checkpoint-60")


RUN_FAULTS: dict[str, RunFault] = {
    "weights never change": RunFault(
        "identical-checkpoints", "error", "lora", copied(ADAPTER, "checkpoint-4", LAST)
    ),
    "weights stop changing": RunFault(
        "identical-checkpoints",
        "warning",
        "full",
        lambda run: shutil.copy(run / "checkpoint-4" / MODEL, run / LAST),
    ),
    "a model beside the adapter": RunFault(
        "full-model-beside-adapter", "error", "lora", model_beside_adapter
    ),
    "only the model was saved": RunFault("resume-without-state", "info", "only", lambda _: None),
    "no optimizer": RunFault("resume-without-state", "warning", "lora", lost("optimizer.pt")),
    "no scheduler": RunFault("resume-without-state", "warning", "lora", lost("scheduler.pt")),
    "no random numbers": RunFault("resume-without-state", "info", "lora", lost("rng_state.pth")),
    "no optimizer earlier": RunFault(
        "resume-without-state", "info", "lora", lost("optimizer.pt", "checkpoint-2")
    ),
    "another step": RunFault("step-mismatch", "warning", "lora", renamed),
    "the best is gone": RunFault(
        "missing-best-checkpoint",
        "warning",
        "lora",
        lambda run: state(
            run / LAST, best_model_checkpoint=str(run / "checkpoint-5"), best_metric=1.5
        ),
    ),
    "frozen": RunFault("zero-gradients", "error", "frozen", lambda _: None),
    "frozen, without a log": RunFault("empty-optimizer", "error", "frozen", without_log),
    "loss 0, gradient NaN": RunFault(
        "hidden-nan-loss", "error", "lora", logs(loss=0.0, grad_norm=float("nan"))
    ),
    "loss NaN": RunFault("nonfinite-loss", "error", "lora", logs(loss=float("nan"))),
    "learning rate 0": RunFault("zero-learning-rate", "error", "lora", logs(learning_rate=0.0)),
    "gradient 0": RunFault("zero-gradients", "error", "lora", logs(grad_norm=0.0)),
    "state cut": RunFault(
        "could-not-look",
        "error",
        "lora",
        lambda run: (run / LAST / "trainer_state.json").write_text('{"epoch": 1.0, "log'),
    ),
    "optimizer of NaN": RunFault("nonfinite-optimizer-state", "error", "lora", nan_in_optimizer),
}

MODEL_FAULTS: dict[str, RunFault] = {
    "a shard elsewhere": RunFault(
        "escaping-shard-path",
        "error",
        "sharded",
        reindexed(lambda names: names.update({NORM: "/etc/hostname"})),
    ),
    "a shard above": RunFault(
        "escaping-shard-path",
        "error",
        "sharded",
        reindexed(lambda names: names.update({NORM: "../x.safetensors"})),
    ),
    "a shard of no file": RunFault(
        "missing-shard",
        "error",
        "sharded",
        reindexed(lambda names: names.update({NORM: "gone.safetensors"})),
    ),
    "a shard lost": RunFault(
        "missing-shard", "error", "sharded", lambda folder: (folder / LAST_SHARD).unlink()
    ),
    "another shard": RunFault("index-mismatch", "warning", "sharded", reindexed(other_shard)),
    "a tensor not in the index": RunFault(
        "index-mismatch", "warning", "sharded", reindexed(lambda names: names.pop(NORM))
    ),
    "a tensor only in the index": RunFault(
        "index-mismatch",
        "warning",
        "sharded",
        reindexed(lambda names: names.update({"model.layers.9.x": FIRST_SHARD})),
    ),
    "total size wrong": RunFault(
        "", "", "sharded", configured(INDEX_NAME, metadata={"total_size": 7})
    ),
    "not merged": RunFault("unmerged-adapter-keys", "error", "single", unmerged),
    "NaN": RunFault("nonfinite-model-weights", "error", "single", rewritten(poison)),
    "compiled": RunFault("wrapper-prefix", "error", "single", prefixed("_orig_mod.")),
    "wrapped by DDP": RunFault("wrapper-prefix", "error", "single", prefixed("module.")),
    "wrapped and compiled": RunFault(
        "wrapper-prefix", "error", "single", prefixed("module._orig_mod.")
    ),
    "added tokens": RunFault("tokenizer-larger-than-embeddings", "warning", "single", more_tokens),
    "LFS pointer": RunFault("unreadable-model-file", "error", "single", pointer),
    "no head": RunFault(
        "missing-output-layer",
        "error",
        "single",
        rewritten(lambda old: {n: t for n, t in old.items() if n != HEAD}),
    ),
    "more layers in the config": RunFault(
        "", "", "single", configured("config.json", num_hidden_layers=4)
    ),
    "temperature without sampling": RunFault(
        "", "", "single", configured("generation_config.json", temperature=0.7, do_sample=False)
    ),
    "two ends of sequence": RunFault(
        "", "", "single", configured("generation_config.json", eos_token_id=9)
    ),
}
