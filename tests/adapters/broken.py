"""Ways in which a saved adapter is broken, each planted in a real save.

The tests and the printed table share this list.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, models

from .bases import GPT2, SHORTER, VOCABULARY, WIDER, Base
from .healthy import CONFIG, HEALTHY, WEIGHTS, Saved
from .loading import Loading, outcome, outcome_in_time

Tensors = dict[str, torch.Tensor]
Config = dict[str, Any]
Edit = Callable[[Config, Tensors], Any]
Damage = Callable[[Path], Any]

Q0 = "base_model.model.model.layers.0.self_attn.q_proj"
V1 = "base_model.model.model.layers.1.self_attn.v_proj"
BLOCK = 512
"""Bytes that a disk writes at once."""
EMBEDDING = "base_model.model.model.embed_tokens.weight"


@dataclass(frozen=True)
class Fault:
    """A fault, the check that has to find it, and what PEFT does without the check."""

    check: str
    """Name of the one cause to be reported; "" where no check decides it yet."""
    place: str
    """A part of what the finding points at."""
    peft: str
    """How PEFT loads the folder, as `loading.outcome` tells it."""
    damage: Damage
    of: str = "lora"
    """The healthy adapter that is damaged."""
    options: tuple[str, ...] = ()
    """Of the command line."""
    also: tuple[str, ...] = ()
    """Other checks that report what they see of the same fault."""
    base: Base | None = None
    """The base model to load on, and to compare with, if it is not that of the adapter."""
    with_base: bool = False
    """Whether the adapter names its base model's folder."""

    def original(self, saved: Saved) -> Path:
        """The healthy adapter's folder."""
        return saved.with_base if self.with_base else saved.alone

    @property
    def trained_on(self) -> Base:
        """The base model of the healthy adapter."""
        return HEALTHY[self.of].base

    def plant(self, saved: Saved, folder: Path) -> tuple[str, ...]:
        """Copy the healthy adapter to a folder and damage it; the options to check it with."""
        shutil.copytree(self.original(saved), folder)
        self.damage(folder)
        if self.base is None:
            return self.options
        base = folder.with_name(f"base of {folder.name}")
        self.base().save_pretrained(base)
        return (*self.options, "--base", str(base))

    def loaded(self, folder: Path, healthy: Loading) -> str:
        """What PEFT makes of the damaged folder, given what it makes of the healthy one."""
        measure = outcome_in_time if self.peft == "hangs" else outcome
        return measure(folder, healthy, self.base or self.trained_on)


def change(folder: Path, edit: Edit) -> None:
    """Apply an edit to the two files; what it returns, if anything, replaces the tensors."""
    weights, settings = folder / WEIGHTS, folder / CONFIG
    config, tensors = json.loads(settings.read_text()), load_file(weights)
    replaced = edit(config, tensors)
    tensors = tensors if replaced is None else replaced
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, weights)
    settings.write_text(json.dumps(config, indent=2))


def edited(edit: Edit) -> Damage:
    """A damage to the content of both files."""
    return lambda folder: change(folder, edit)


def having(**values: Any) -> Edit:
    """Set fields of the config."""
    return lambda config, _: config.update(values)


def lacking(field: str) -> Edit:
    """Take a field out of the config."""
    return lambda config, _: config.pop(field) and None


def renamed(pattern: str, by: Any) -> Edit:
    """Rename tensors."""
    return lambda _, tensors: {re.sub(pattern, by, name): t for name, t in tensors.items()}


def without(pattern: str) -> Edit:
    """Take tensors out."""
    return lambda _, tensors: {n: t for n, t in tensors.items() if not re.search(pattern, n)}


def values(pattern: str, make: Callable[[torch.Tensor], torch.Tensor]) -> Edit:
    """Replace the tensors whose names match by what is made of them."""
    return lambda _, tensors: {
        n: make(t) if re.search(pattern, n) else t for n, t in tensors.items()
    }


def scaled(pattern: str, factor: float) -> Edit:
    """Multiply tensors."""
    return values(pattern, lambda tensor: tensor * factor)


def reshaped(pattern: str, *keep: slice) -> Edit:
    """Keep a part of each tensor."""
    return values(pattern, lambda tensor: tensor[keep])


def one_element(pattern: str, value: float, dtype: torch.dtype = torch.float32) -> Edit:
    """Set one element of the first tensor that matches; all tensors get the type."""

    def edit(_: Config, tensors: Tensors) -> Tensors:
        name = next(name for name in tensors if re.search(pattern, name))
        tensors[name].view(-1)[0] = value
        return {name: tensor.to(dtype) for name, tensor in tensors.items()}

    return edit


def setting(**fields: Any) -> Damage:
    """A damage to fields of the config."""
    return edited(having(**fields))


def text_of_config(make: Callable[[str], str | bytes]) -> Damage:
    """A damage to the config as a text."""

    def damage(folder: Path) -> None:
        made = make((folder / CONFIG).read_text())
        (folder / CONFIG).write_bytes(made if isinstance(made, bytes) else made.encode())

    return damage


def bytes_of_weights(make: Callable[[bytes], bytes]) -> Damage:
    """A damage to the weights file as bytes."""
    return lambda folder: (folder / WEIGHTS).write_bytes(make((folder / WEIGHTS).read_bytes()))


def header(make: Callable[[dict[str, Any]], Any]) -> Damage:
    """A damage to the header of the weights file."""

    def rewrite(content: bytes) -> bytes:
        (size,) = struct.unpack("<Q", content[:8])
        entries = json.loads(content[8 : 8 + size])
        make(entries)
        text = json.dumps(entries).encode()
        return struct.pack("<Q", len(text)) + text + content[8 + size :]

    return bytes_of_weights(rewrite)


def first_tensor(entries: dict[str, Any]) -> dict[str, Any]:
    """The entry of the tensor that lies first in the file."""
    tensors = [entry for name, entry in entries.items() if name != "__metadata__"]
    return min(tensors, key=lambda entry: entry["data_offsets"])  # type: ignore[no-any-return]


def overlapping(entries: dict[str, Any]) -> None:
    """Give two tensors the same bytes."""
    one, other = [name for name in entries if name.endswith("lora_A.weight")][:2]
    entries[one]["data_offsets"] = entries[other]["data_offsets"]


def zero_filled(content: bytes) -> bytes:
    """What a crash leaves of a file whose size was reserved: its last blocks were not written."""
    kept = len(content) // 2 // BLOCK * BLOCK
    return content[:kept] + bytes(len(content) - kept)


def replaced_by_pipe(folder: Path) -> None:
    """A named pipe in the place of the weights."""
    (folder / WEIGHTS).unlink()
    os.mkfifo(folder / WEIGHTS)


def pickled(folder: Path, *, keep: bool = False, content: Any = None) -> None:
    """`adapter_model.bin` with the same tensors, or with something else."""
    tensors = load_file(folder / WEIGHTS)
    torch.save(tensors if content is None else content, folder / "adapter_model.bin")
    if not keep:
        (folder / WEIGHTS).unlink()


def differing_formats(folder: Path) -> None:
    """Both formats, one from an earlier save."""
    earlier = {name: tensor * 0.5 for name, tensor in load_file(folder / WEIGHTS).items()}
    pickled(folder, keep=True, content=earlier)


def truncated_pickle(folder: Path) -> None:
    """`adapter_model.bin` without its end."""
    pickled(folder)
    file = folder / "adapter_model.bin"
    file.write_bytes(file.read_bytes()[:-200])


class Payload:
    """Runs a command where it is unpickled by someone who trusts it."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("true",)


def hostile_pickle(folder: Path) -> None:
    """`adapter_model.bin` that runs something."""
    pickled(folder, content={"weights": Payload()})


def sharded(folder: Path) -> None:
    """Two shards and an index, which PEFT does not have."""
    tensors = load_file(folder / WEIGHTS)
    names = sorted(tensors)
    files = [f"adapter_model-0000{n}-of-00002.safetensors" for n in (1, 2)]
    for file, part in zip(files, (names[::2], names[1::2]), strict=True):
        save_file({name: tensors[name] for name in part}, folder / file)
    index = {name: files[position % 2] for position, name in enumerate(names)}
    (folder / f"{WEIGHTS}.index.json").write_text(json.dumps({"weight_map": index}))
    (folder / WEIGHTS).unlink()


def doubled_names(_: Config, tensors: Tensors) -> Tensors:
    """Every tensor with and without the adapter's name."""
    return tensors | {
        re.sub("(lora_.)", r"\1.default", name): tensor * 2 for name, tensor in tensors.items()
    }


def swapped(_: Config, tensors: Tensors) -> Tensors:
    """The factors under each other's name."""
    other = {"lora_A": "lora_B", "lora_B": "lora_A"}
    return {
        re.sub("lora_[AB]", lambda found: other[found[0]], name): tensor
        for name, tensor in tensors.items()
    }


def beside(name: str, content: str) -> Damage:
    """A file beside the adapter."""
    return lambda folder: (folder / name).write_text(content)


def larger_tokenizer(folder: Path) -> None:
    """A tokenizer with words that the base model has no rows for."""
    words = {f"w{number}": number for number in range(VOCABULARY + 3)}
    Tokenizer(models.WordLevel(words, unk_token="w0")).save(str(folder / "tokenizer.json"))


def other_readme_base(folder: Path) -> None:
    """A README that names another base model than the config."""
    change(folder, having(base_model_name_or_path="org/one"))
    (folder / "README.md").write_text("---\nbase_model: org/other\nlibrary_name: peft\n---\n")


LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:%s\nsize 9\n" % (b"0" * 64)
HTML = b"<!DOCTYPE html><html><body>404 Not Found</body></html>" * 9

#: Names of the tensors.
NAMES = {
    "no prefix": Fault(
        "untargeted-tensors", "lora_A", "warns, no-op", edited(renamed("^base_model.model.", ""))
    ),
    "half a prefix": Fault(
        "untargeted-tensors",
        "lora_A",
        "warns, no-op",
        edited(renamed("^base_model.model.model.", "base_model.")),
    ),
    "double prefix": Fault(
        "untargeted-tensors", "lora_A", "warns, no-op", edited(renamed("^", "base_model.model."))
    ),
    "compiled": Fault(
        "untargeted-tensors",
        "_orig_mod",
        "warns, no-op",
        edited(renamed(r"model\.layers", "_orig_mod.model.layers")),
    ),
    "wrapped by FSDP": Fault(
        "untargeted-tensors",
        "",
        "warns, no-op",
        edited(renamed("layers.(.)", r"layers.\1._fsdp_wrapped_module")),
    ),
    "wrapped for recomputation": Fault(
        "untargeted-tensors",
        "",
        "warns, no-op",
        edited(renamed("layers.(.)", r"layers.\1._checkpoint_wrapped_module")),
    ),
    "wrapped by DDP": Fault(
        "untargeted-tensors", "module.", "warns, no-op", edited(renamed("^", "module."))
    ),
    "lower case": Fault(
        "untargeted-tensors",
        "lora_a",
        "warns, no-op",
        edited(renamed("lora_([AB])", lambda m: m[0].lower())),
    ),
    "kohya's names": Fault(
        "untargeted-tensors",
        "lora_",
        "warns, no-op",
        edited(
            renamed(
                r"^base_model.model.(.*)\.lora_([AB])",
                lambda m: (
                    f"lora_unet_{m[1].replace('.', '_')}.lora_{'down' if m[2] == 'A' else 'up'}"
                ),
            )
        ),
    ),
    "another adapter's name": Fault(
        "untargeted-tensors", "lora_A.mine", "warns, no-op", edited(renamed("(lora_.)", r"\1.mine"))
    ),
    "the name default": Fault(
        "untargeted-tensors", "default", "silent, works", edited(renamed("(lora_.)", r"\1.default"))
    ),
    "with and without the name default": Fault(
        "untargeted-tensors", "default", "silent, works", edited(doubled_names)
    ),
    "inside a language_model": Fault(
        "",
        "",
        "warns, no-op",
        edited(renamed("model.model.layers", "model.language_model.model.layers")),
    ),
    "inside a language_model, with base": Fault(
        "module-not-in-base",
        "language_model",
        "warns, no-op",
        edited(renamed("model.model.layers", "model.language_model.model.layers")),
        with_base=True,
    ),
    "a tensor of nothing": Fault(
        "",
        "",
        "silent, works",
        edited(lambda _, t: t | {"base_model.model.model.ghost.weight": torch.ones(4)}),
    ),
    "a base weight": Fault(
        "stray-base-weight",
        "o_proj",
        "silent, changed",
        edited(lambda _, t: t | {f"{Q0[:-6]}o_proj.weight": torch.ones(32, 32)}),
    ),
}

#: Which tensors there are, and their shapes.
STRUCTURE = {
    "no B in one layer": Fault(
        "missing-partner",
        "layers.1",
        "warns, changed",
        edited(without(r"layers\.1.*q_proj.lora_B")),
    ),
    "no A at all": Fault("missing-partner", "lora_B", "warns, changed", edited(without("lora_A"))),
    "no B at all": Fault("missing-partner", "lora_A", "warns, no-op", edited(without("lora_B"))),
    "no tensors": Fault("empty-tensors", "adapter_model", "warns, no-op", edited(without(""))),
    "target not stored": Fault(
        "missing-tensors", "target_modules", "warns, changed", edited(without("v_proj"))
    ),
    "layer not stored": Fault("", "", "warns, changed", edited(without(r"layers\.1"))),
    "layer not stored, with base": Fault(
        "missing-tensors",
        "target_modules",
        "warns, changed",
        edited(without(r"layers\.1")),
        with_base=True,
    ),
    "rank of B": Fault(
        "rank-mismatch",
        "q_proj",
        "raises RuntimeError",
        edited(reshaped("q_proj.lora_B", slice(None), slice(2))),
    ),
    "rank by config": Fault("rank-mismatch", "lora_A", "raises RuntimeError", setting(r=8)),
    "rank forgotten": Fault("rank-mismatch", "lora_A", "raises RuntimeError", edited(lacking("r"))),
    "rank by pattern": Fault(
        "rank-mismatch", "v_proj", "raises RuntimeError", setting(rank_pattern={"v_proj": 2})
    ),
    "a shard": Fault(
        "rank-mismatch", "", "raises RuntimeError", edited(values("", lambda t: t.flatten()[:9]))
    ),
    "half a shard": Fault(
        "rank-mismatch", "", "raises RuntimeError", edited(values("", lambda t: t[: len(t) // 2]))
    ),
    "factors swapped": Fault("rank-mismatch", "", "raises RuntimeError", edited(swapped)),
    "factors transposed": Fault(
        "rank-mismatch", "", "raises RuntimeError", edited(values("", torch.t))
    ),
    "empty tensors": Fault(
        "empty-tensors", Q0, "raises RuntimeError", edited(values("", lambda t: t[:0]))
    ),
    "target lost": Fault(
        "untargeted-tensors", "v_proj", "silent, changed", setting(target_modules=["q_proj"])
    ),
    "target as pattern": Fault(
        "untargeted-tensors", "v_proj", "silent, changed", setting(target_modules=r".*\.q_proj")
    ),
    "target as bare text": Fault(
        "untargeted-tensors",
        "",
        "raises NoMatchingPeftModuleError",
        setting(target_modules="q_proj"),
    ),
    "layer lost": Fault(
        "untargeted-tensors", "layers.0", "silent, changed", setting(layers_to_transform=[1])
    ),
    "layer excluded": Fault(
        "untargeted-tensors", "layers.0", "silent, changed", setting(exclude_modules=r".*\.0\..*")
    ),
    "all-linear": Fault(
        "", "", "warns, works", setting(target_modules="all-linear"), with_base=True
    ),
    "dora lost": Fault(
        "untargeted-tensors",
        "lora_magnitude_vector",
        "silent, changed",
        setting(use_dora=False),
        of="dora",
    ),
    "dora without magnitudes": Fault(
        "flag-without-tensors", "use_dora", "warns, changed", setting(use_dora=True)
    ),
    "lora_bias lost": Fault(
        "untargeted-tensors",
        "lora_B.bias",
        "silent, changed",
        setting(lora_bias=False),
        of="lora with its own biases",
    ),
    "lora_bias without biases": Fault(
        "flag-without-tensors",
        "lora_bias",
        "warns, works",
        setting(lora_bias=True),
        of="lora with biases, lora_only",
    ),
    "tokens lost": Fault(
        "untargeted-tensors",
        "trainable_tokens",
        "silent, changed",
        setting(trainable_token_indices=None),
        of="lora with tokens",
    ),
    "another count of tokens": Fault(
        "token-index-mismatch",
        "token",
        "raises RuntimeError",
        setting(trainable_token_indices=[3]),
        of="lora with tokens",
    ),
    "a token twice": Fault(
        "repeated-token-index",
        "",
        "silent, changed",
        setting(trainable_token_indices=[3, 3]),
        of="lora with tokens",
    ),
    "a token outside of the vocabulary": Fault(
        "token-index-mismatch",
        "token",
        "raises IndexError",
        setting(trainable_token_indices=[3, 999]),
        of="lora with tokens",
        with_base=True,
    ),
    "tokens not saved": Fault(
        "unsaved-modules", "token", "raises KeyError", setting(trainable_token_indices=[3])
    ),
    "head not saved": Fault(
        "unsaved-modules", "modules_to", "raises KeyError", setting(modules_to_save=["lm_head"])
    ),
    "head saved, but forgotten": Fault(
        "", "", "silent, works", setting(modules_to_save=None), of="lora with whole modules"
    ),
    "classifier not saved": Fault(
        "unsaved-modules",
        "",
        "raises KeyError",
        edited(without("score")),
        of="lora, sequence classification",
    ),
    "experts lost": Fault(
        "untargeted-tensors",
        "experts",
        "silent, changed",
        setting(target_parameters=None),
        of="lora on experts",
    ),
    "experts misspelled": Fault(
        "untargeted-tensors",
        "experts",
        "warns, changed",
        setting(target_parameters=["mlp.expert.gate_up_proj"]),
        of="lora on experts",
    ),
    "layer_replication lost": Fault(
        "", "", "silent, changed", setting(layer_replication=None), of="lora on replicated layers"
    ),
    "layer_replication lost, with base": Fault(
        "module-not-in-base",
        "",
        "silent, changed",
        setting(layer_replication=None),
        of="lora on replicated layers",
        with_base=True,
    ),
    "ia3 target lost": Fault(
        "untargeted-tensors",
        "down_proj",
        "silent, changed",
        setting(target_modules=["k_proj"], feedforward_modules=[]),
        of="ia3",
    ),
    "loha without a part": Fault(
        "missing-partner", "", "warns, changed", edited(without("hada_w1_b")), of="loha"
    ),
    "lokr without a part": Fault(
        "missing-partner", "", "warns, no-op", edited(without("lokr_w1_a")), of="lokr in factors"
    ),
    "vera without a part": Fault(
        "missing-partner", "", "warns, changed", edited(without("vera_lambda_d")), of="vera"
    ),
    "adalora without a part": Fault(
        "missing-partner", "", "raises AttributeError", edited(without("lora_E")), of="adalora"
    ),
    "hira without a part": Fault(
        "missing-partner", "", "warns, changed", edited(without("hira_A")), of="hira"
    ),
    "embedding without a part": Fault(
        "missing-partner",
        "",
        "warns, changed",
        edited(without("lora_embedding_B")),
        of="lora with embeddings",
    ),
    "oft under its old name": Fault(
        "untargeted-tensors",
        "oft_r",
        "warns, no-op",
        edited(renamed("oft_R.weight", "oft_r")),
        of="oft",
    ),
}

#: Numbers.
VALUES = {
    "A is zero": Fault(
        "untrained-adapter", "lora_A", "silent, no-op", edited(scaled("lora_A", 0.0))
    ),
    "B is minus zero": Fault(
        "untrained-adapter", "lora_B", "silent, no-op", edited(scaled("lora_B", -0.0))
    ),
    "A and B are zero": Fault("untrained-adapter", "", "silent, no-op", edited(scaled("", 0.0))),
    "a dead module": Fault(
        "dead-modules",
        "layers.0",
        "silent, changed",
        edited(scaled(r"layers\.0.*q_proj.lora_B", 0.0)),
    ),
    "all values dead": Fault(
        "dead-modules", "v_proj", "silent, changed", edited(scaled("v_proj.lora_B", 0.0))
    ),
    "NaN": Fault(
        "nonfinite-weights",
        "lora_A",
        "silent, NaN",
        edited(one_element("v_proj.lora_A", float("nan"))),
    ),
    "NaN, float16": Fault(
        "nonfinite-weights",
        "lora_B",
        "silent, NaN",
        edited(one_element("v_proj.lora_B", float("nan"), torch.float16)),
    ),
    "NaN, float64": Fault(
        "nonfinite-weights",
        "lora_B",
        "silent, NaN",
        edited(one_element("v_proj.lora_B", float("nan"), torch.float64)),
    ),
    "infinity, bfloat16": Fault(
        "nonfinite-weights",
        "lora_B",
        "silent, NaN",
        edited(one_element("lora_B", float("-inf"), torch.bfloat16)),
    ),
    "overflow of float16": Fault(
        "nonfinite-weights",
        "lora_B",
        "silent, NaN",
        edited(one_element("lora_B", 70000.0, torch.float16)),
    ),
    "B vanished": Fault(
        "vanishing-or-exploding-update", "lora_B", "silent, changed", edited(scaled("lora_B", 1e-6))
    ),
    "B denormal": Fault(
        "vanishing-or-exploding-update", "lora_B", "silent, no-op", edited(scaled("lora_B", 1e-38))
    ),
    "B exploded": Fault(
        "vanishing-or-exploding-update", "lora_B", "silent, changed", edited(scaled("lora_B", 60.0))
    ),
    "B is noise": Fault(
        "vanishing-or-exploding-update",
        "lora_B",
        "silent, changed",
        edited(values("lora_B", torch.randn_like)),
    ),
    "one huge element": Fault(
        "vanishing-or-exploding-update",
        "",
        "silent, changed",
        edited(one_element("lora_B", 4000.0)),
    ),
    "one module exploded": Fault(
        "vanishing-or-exploding-update",
        "lora_A",
        "silent, changed",
        edited(scaled(r"layers\.0.*q_proj.lora_A", 4000.0)),
    ),
    "A constant": Fault(
        "constant-factor",
        "",
        "silent, changed",
        edited(values(r"layers\.0.*q_proj.lora_A", lambda t: torch.full_like(t, 0.1))),
    ),
    "B constant": Fault(
        "constant-factor",
        "",
        "silent, changed",
        edited(values("lora_B", lambda t: torch.full_like(t, 0.1))),
    ),
    "A of rank one": Fault(
        "", "", "silent, changed", edited(values("lora_A", lambda t: t[:1].repeat(len(t), 1)))
    ),
    "integers": Fault(
        "integer-weights",
        "lora_",
        "silent, changed",
        edited(values("", lambda t: (t * 100).to(torch.int8))),
    ),
    "one module in float16": Fault(
        "", "", "silent, works", edited(values(r"layers\.0.*q_proj", torch.Tensor.half))
    ),
    "tied embeddings diverged": Fault(
        "",
        "",
        "silent, changed",
        edited(
            lambda _, t: (
                t
                | {
                    "base_model.model.lm_head.weight": t[
                        "base_model.model.model.embed_tokens.weight"
                    ]
                    + 1
                }
            )
        ),
        of="lora with whole embeddings, tied",
        with_base=True,
    ),
    "an adaption prompt of NaN": Fault(
        "nonfinite-weights",
        "",
        "silent, NaN",
        edited(one_element("adaption_prompt", float("nan"))),
        of="adaption prompt",
    ),
    "a prompt of NaN": Fault(
        "nonfinite-weights",
        "",
        "silent, NaN",
        edited(one_element("prompt_embeddings", float("nan"))),
        of="prompt",
    ),
}

#: Fields of the config.
CONFIGS = {
    "alpha zero": Fault("zero-scaling", "lora_alpha", "silent, no-op", setting(lora_alpha=0)),
    "alpha false": Fault("zero-scaling", "lora_alpha", "silent, no-op", setting(lora_alpha=False)),
    "alpha NaN": Fault(
        "zero-scaling", "lora_alpha", "silent, NaN", setting(lora_alpha=float("nan"))
    ),
    "alpha zero by pattern": Fault(
        "zero-scaling", "pattern", "silent, changed", setting(alpha_pattern={"q_proj": 0})
    ),
    "alpha 4000": Fault(
        "unusual-scaling", "lora_alpha", "silent, changed", setting(lora_alpha=4000)
    ),
    "alpha negative": Fault(
        "unusual-scaling", "lora_alpha", "silent, changed", setting(lora_alpha=-8)
    ),
    "alpha tiny": Fault(
        "unusual-scaling", "lora_alpha", "silent, changed", setting(lora_alpha=1e-3)
    ),
    "alpha lost": Fault(
        "unusual-scaling", "peft_type", "silent, works", edited(lacking("lora_alpha"))
    ),
    "alpha huge by pattern": Fault(
        "unusual-scaling", "pattern", "silent, changed", setting(alpha_pattern={"q_proj": 999})
    ),
    "alpha is null": Fault(
        "config-type", "lora_alpha", "raises TypeError", setting(lora_alpha=None)
    ),
    "alpha is text": Fault(
        "config-type", "lora_alpha", "raises TypeError", setting(lora_alpha="8")
    ),
    "r is text": Fault("config-type", "r", "raises TypeError", setting(r="4")),
    "r is null": Fault("config-type", "r", "raises TypeError", setting(r=None)),
    "r is true": Fault("config-type", "r", "raises TypeError", setting(r=True)),
    "r is zero": Fault("config-type", "r", "raises ValueError", setting(r=0)),
    "r is negative": Fault("config-type", "r", "raises ValueError", setting(r=-1)),
    "r is half": Fault("config-type", "r", "raises TypeError", setting(r=4.5)),
    "rslora as text": Fault(
        "config-type", "use_rslora", "silent, changed", setting(use_rslora="false")
    ),
    "dora as text": Fault("config-type", "use_dora", "warns, changed", setting(use_dora="False")),
    "no rank pattern": Fault(
        "config-type", "rank_pattern", "raises AttributeError", setting(rank_pattern=None)
    ),
    "alphas in a list": Fault(
        "config-type", "alpha_pattern", "raises AttributeError", setting(alpha_pattern=["q"])
    ),
    "unmatched rank pattern": Fault(
        "unmatched-pattern", "rank_pattern", "warns, works", setting(rank_pattern={"nowhere": 2})
    ),
    "unmatched alpha pattern": Fault(
        "unmatched-pattern", "alpha_pattern", "warns, works", setting(alpha_pattern={"nowhere": 7})
    ),
    "no targets": Fault(
        "config-type",
        "target_modules",
        "raises NoMatchingPeftModuleError",
        setting(target_modules=[]),
    ),
    "targets a number": Fault(
        "config-type", "target_modules", "raises TypeError", setting(target_modules=4)
    ),
    "task in lower case": Fault(
        "config-type", "task_type", "raises ValueError", setting(task_type="causal_lm")
    ),
    "no bias": Fault("config-type", "bias", "raises AttributeError", setting(bias=None)),
    "unknown bias": Fault(
        "config-type", "bias", "raises NotImplementedError", setting(bias="some")
    ),
    "dropout in percent": Fault(
        "config-type", "lora_dropout", "raises ValueError", setting(lora_dropout=10)
    ),
    "init a number": Fault(
        "config-type", "init_lora_weights", "raises AttributeError", setting(init_lora_weights=4)
    ),
    "init as text": Fault(
        "config-type", "init", "raises ValueError", setting(init_lora_weights="false")
    ),
    "layers as text": Fault(
        "config-type", "layers_to", "raises TypeError", setting(layers_to_transform="1")
    ),
    "layers true": Fault(
        "config-type", "layers_to", "silent, changed", setting(layers_to_transform=True)
    ),
    "layers with a pattern of targets": Fault(
        "config-type",
        "layers_to_transform",
        "raises ValueError",
        setting(layers_to_transform=[0, 1], target_modules=".*(q|v)_proj"),
    ),
    "excluded a number": Fault(
        "config-type", "exclude", "raises TypeError", setting(exclude_modules=4)
    ),
    "parameters as text": Fault(
        "config-type", "target_par", "raises TypeError", setting(target_parameters="x")
    ),
    "a prompt without a task": Fault(
        "void-prompt-task", "", "silent, no-op", setting(task_type=None), of="prompt"
    ),
    "a prefix without a task": Fault(
        "void-prompt-task", "", "silent, no-op", setting(task_type=None), of="prefix"
    ),
    "p-tuning without a task": Fault(
        "void-prompt-task", "", "silent, no-op", setting(task_type=None), of="p-tuning"
    ),
    "an unknown field": Fault("unknown-config-field", "", "warns, works", setting(lora_aplha=16)),
    "no type": Fault("unknown-peft-type", "", "raises KeyError", edited(lacking("peft_type"))),
    "an unknown type": Fault(
        "unknown-peft-type", "peft_type", "raises KeyError", setting(peft_type="LORAX")
    ),
    "megatron from elsewhere": Fault(
        "unsafe-config-import",
        "megatron_core",
        "raises ValueError",
        setting(megatron_config={"hidden_size": 32}, megatron_core="helpers.core"),
    ),
    "a library of Python": Fault(
        "unsafe-config-import",
        "auto_mapping",
        "silent, works",
        setting(
            task_type=None, auto_mapping={"base_model_class": "x", "parent_library": "antigravity"}
        ),
    ),
    "pissa, iterated": Fault(
        "nondeterministic-init",
        "init",
        "silent, changed",
        setting(init_lora_weights="pissa_niter_4"),
        of="lora, pissa",
    ),
    "corda": Fault(
        "nondeterministic-init", "init", "raises ValueError", setting(init_lora_weights="corda")
    ),
    "loftq": Fault(
        "nondeterministic-init", "init", "raises ImportError", setting(init_lora_weights="loftq")
    ),
    "pissa for vLLM": Fault(
        "nondeterministic-init",
        "init",
        "silent, works",
        lambda _: None,
        of="lora, pissa",
        options=("--target", "vllm"),
    ),
    "olora for vLLM": Fault(
        "nondeterministic-init",
        "init",
        "silent, works",
        lambda _: None,
        of="lora, olora",
        options=("--target", "vllm"),
    ),
    "dora for vLLM": Fault(
        "unsupported-by-target",
        "use_dora",
        "silent, works",
        lambda _: None,
        of="dora",
        options=("--target", "vllm"),
    ),
    "default names for transformers": Fault(
        "unsupported-by-target",
        "default",
        "silent, works",
        edited(renamed("(lora_.)", r"\1.default")),
        with_base=True,
        options=("--target", "transformers"),
        also=("untargeted-tensors",),
    ),
    "base moved": Fault(
        "local-base-path",
        "base_model",
        "silent, works",
        setting(base_model_name_or_path="./output/checkpoint-500"),
    ),
    "base on Windows": Fault(
        "local-base-path",
        "base_model",
        "silent, works",
        setting(base_model_name_or_path="C:\\llama"),
    ),
    "no base, for transformers": Fault(
        "local-base-path",
        "base_model",
        "silent, works",
        setting(base_model_name_or_path=None),
        options=("--target", "transformers"),
    ),
    "a README of another base": Fault("", "", "silent, works", other_readme_base),
}

#: The config as a file.
JSON = {
    "config: missing": Fault(
        "unreadable-file", CONFIG, "raises ValueError", lambda folder: (folder / CONFIG).unlink()
    ),
    "config: empty": Fault(
        "unreadable-file", CONFIG, "raises JSONDecodeError", text_of_config(lambda _: "")
    ),
    "config: cut": Fault(
        "unreadable-file", CONFIG, "raises JSONDecodeError", text_of_config(lambda text: text[:90])
    ),
    "config: byte-order mark": Fault(
        "unreadable-file",
        CONFIG,
        "raises JSONDecodeError",
        text_of_config(lambda text: "\ufeff" + text),
    ),
    "config: UTF-16": Fault(
        "unreadable-file",
        CONFIG,
        "raises UnicodeDecodeError",
        text_of_config(lambda text: text.encode("utf-16")),
    ),
    "config: comment": Fault(
        "unreadable-file",
        CONFIG,
        "raises JSONDecodeError",
        text_of_config(lambda text: "// mine\n" + text),
    ),
    "config: trailing comma": Fault(
        "unreadable-file",
        CONFIG,
        "raises JSONDecodeError",
        text_of_config(lambda text: text.replace("\n}", ",\n}")),
    ),
    "config: list": Fault(
        "unreadable-file", CONFIG, "raises TypeError", text_of_config(lambda text: f"[{text}]")
    ),
    "config: null": Fault(
        "unreadable-file", CONFIG, "raises TypeError", text_of_config(lambda _: "null")
    ),
    "config: nested": Fault(
        "unreadable-file", CONFIG, "raises RecursionError", text_of_config(lambda _: "[" * 100_000)
    ),
    "config: LFS pointer": Fault(
        "unreadable-file", CONFIG, "raises JSONDecodeError", text_of_config(lambda _: LFS)
    ),
    "config: a field twice": Fault(
        "repeated-config-field",
        "",
        "silent, works",
        text_of_config(lambda text: text.replace('"r": 4', '"r": 8,\n  "r": 4')),
    ),
    "config: a pattern that hangs": Fault(
        "untargeted-tensors", "", "hangs", setting(target_modules=r"(?:[a-z_.0-9]+)+\.q_projection")
    ),
}

#: The weights as a file.
FILES = {
    "weights: missing": Fault(
        "unreadable-file",
        WEIGHTS,
        "raises HFValidationError",
        lambda folder: (folder / WEIGHTS).unlink(),
    ),
    "weights: empty": Fault(
        "unreadable-file", WEIGHTS, "raises SafetensorError", bytes_of_weights(lambda _: b"")
    ),
    "weights: cut in the header": Fault(
        "unreadable-file", WEIGHTS, "raises SafetensorError", bytes_of_weights(lambda b: b[:100])
    ),
    "weights: cut in the data": Fault(
        "unreadable-file", WEIGHTS, "raises SafetensorError", bytes_of_weights(lambda b: b[:-100])
    ),
    "weights: padded": Fault(
        "unreadable-file",
        WEIGHTS,
        "raises SafetensorError",
        bytes_of_weights(lambda b: b + bytes(64)),
    ),
    "weights: end never written": Fault(
        "zero-filled-tail",
        "",
        "silent, changed",
        bytes_of_weights(zero_filled),
        of="lora with patterns",
    ),
    "weights: header of no JSON": Fault(
        "unreadable-file",
        WEIGHTS,
        "raises SafetensorError",
        bytes_of_weights(lambda b: b[:8] + b"!" + b[9:]),
    ),
    "weights: header too long": Fault(
        "unreadable-file",
        WEIGHTS,
        "raises SafetensorError",
        bytes_of_weights(lambda b: struct.pack("<Q", 2**40) + b[8:]),
    ),
    "weights: unknown dtype": Fault(
        "unreadable-file",
        WEIGHTS,
        "raises SafetensorError",
        header(lambda h: first_tensor(h).update(dtype="F31")),
    ),
    "weights: shape and bytes differ": Fault(
        "unreadable-file",
        WEIGHTS,
        "raises SafetensorError",
        header(lambda h: first_tensor(h).update(shape=[5, 32])),
    ),
    "weights: overlap": Fault(
        "unreadable-file", WEIGHTS, "raises SafetensorError", header(overlapping)
    ),
    "weights: hole": Fault(
        "unreadable-file",
        WEIGHTS,
        "raises SafetensorError",
        header(lambda h: h.pop(next(n for n in h if "lora_B" in n))),
    ),
    "weights: LFS pointer": Fault(
        "unreadable-file", WEIGHTS, "raises SafetensorError", bytes_of_weights(lambda _: LFS)
    ),
    "weights: web page": Fault(
        "unreadable-file", WEIGHTS, "raises SafetensorError", bytes_of_weights(lambda _: HTML)
    ),
    "weights: zip": Fault(
        "unreadable-file",
        WEIGHTS,
        "raises SafetensorError",
        bytes_of_weights(lambda _: b"PK\x03\x04" + bytes(99)),
    ),
    "weights: GGUF": Fault(
        "unreadable-file",
        WEIGHTS,
        "raises SafetensorError",
        bytes_of_weights(lambda _: b"GGUF" + bytes(99)),
    ),
    "weights: folder": Fault(
        "unreadable-file",
        WEIGHTS,
        "raises OSError",
        lambda folder: ((folder / WEIGHTS).unlink(), (folder / WEIGHTS).mkdir()),
    ),
    "weights: named pipe": Fault("unreadable-file", WEIGHTS, "hangs", replaced_by_pipe),
    "weights: shards": Fault("unreadable-file", WEIGHTS, "raises HFValidationError", sharded),
    "weights: pickled": Fault("pickled-weights", "", "silent, works", pickled),
    "weights: pickled and cut": Fault("unreadable-file", "", "raises OSError", truncated_pickle),
    "weights: a pickle that runs something": Fault(
        "unsafe-pickle", "", "raises UnpicklingError", hostile_pickle, also=("pickled-weights",)
    ),
    "weights: a hostile pickle beside them": Fault(
        "unsafe-pickle",
        "",
        "silent, works",
        lambda folder: pickled(folder, keep=True, content={"weights": Payload()}),
    ),
    "weights: two formats that differ": Fault(
        "conflicting-formats", "", "silent, works", differing_formats
    ),
}

#: Another base model, and what lies beside the adapter.
SURROUNDINGS = {
    "wider base": Fault(
        "shape-differs-from-base", "", "raises RuntimeError", lambda _: None, base=WIDER
    ),
    "shorter base": Fault(
        "module-not-in-base", "", "silent, changed", lambda _: None, base=SHORTER
    ),
    "another architecture": Fault(
        "module-not-in-base", "", "raises NoMatchingPeftModuleError", lambda _: None, base=GPT2
    ),
    "resized embeddings on the old base": Fault(
        "shape-differs-from-base",
        "",
        "raises RuntimeError",
        lambda _: None,
        of="lora, resized and trained embeddings",
        with_base=True,
    ),
    "tokenizer cut": Fault(
        "broken-tokenizer",
        "tokenizer.json",
        "silent, works",
        beside("tokenizer.json", '{"version": "1.0", "mod'),
    ),
    "tokenizer larger than the base": Fault(
        "tokenizer-larger-than-base",
        "highest_token",
        "silent, works",
        larger_tokenizer,
        with_base=True,
    ),
    "chat template broken": Fault(
        "", "", "silent, works", beside("chat_template.jinja", "{% for message in messages %}")
    ),
    "end of sequence unknown": Fault(
        "", "", "silent, works", beside("tokenizer_config.json", '{"eos_token": "<gone>"}')
    ),
}

BROKEN = NAMES | STRUCTURE | VALUES | CONFIGS | JSON | FILES | SURROUNDINGS
