"""How the examples of checks write the facts of an adapter."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from trainguard.facts.adapter import (
    CONFIG_NAME,
    PICKLE_NAME,
    WEIGHTS_NAME,
    AdapterConfig,
    AdapterFiles,
    AdapterTensors,
    FileProblem,
    TensorFacts,
    ZeroTail,
    repeats,
)
from trainguard.facts.adapter_comparison import AdapterFormats, ModelBesideAdapter
from trainguard.facts.base_model import noted_base, noted_shape
from trainguard.facts.intent import Intent
from trainguard.facts.tokenizer import TOKENIZER_NAME, TokenizerFacts

if TYPE_CHECKING:
    from trainguard.facts.notation import Line


def from_notation(lines: Sequence[Line]) -> dict[type, Any]:
    """`config KEY=VALUE ...`, `tensor NAME shape=16x8 constant=0 ...`, `file NAME`, `intent ...`.

    `tokenizer.json highest_token=99` is the tokenizer beside the adapter, `base NAME shape=16x16` a
    tensor of the base model, `folder NAME` a folder that exists. A `file` line states a file that
    was read, with `problem=` one that could not be, `differs NAME in="its values"` a tensor that
    the two formats do not have alike, and `tail NAME start=4096 size=512 kept=64 whole=2` that the
    file ends with zeros, which begin in this tensor. `merged NAME` and `unmerged NAME` are weights
    of a full model in the folder. A field of two `config` lines stands in the file twice. Tensors
    are finite and not constant unless the line says so. Facts without a line are absent.
    """
    by_word: dict[str, list[Line]] = {}
    for line in lines:
        by_word.setdefault(line.word, []).append(line)
    unknown = by_word.keys() - _WORDS
    if unknown:
        raise ValueError(f"an adapter has no {', '.join(sorted(unknown))}")
    files = by_word.get("file", [])
    intent = ChainMap(*(dict(line.fields) for line in by_word.get("intent", ())))
    facts: dict[type, Any] = {Intent: Intent(**intent), AdapterFiles: _noted_files(files)}
    if "config" in by_word:
        facts[AdapterConfig] = _noted_config(by_word["config"])
        name = facts[AdapterConfig].text("base_model_name_or_path") or ""
        facts |= noted_base(by_word, name)
    for line in by_word.get(TOKENIZER_NAME, ()):
        facts[TokenizerFacts] = TokenizerFacts(path=TOKENIZER_NAME, **line.fields)
    weights_read = any(
        WEIGHTS_NAME in line.words and "problem" not in line.fields for line in files
    )
    if "tensor" in by_word or weights_read:
        tensors = tuple(_noted_tensor(line) for line in by_word.get("tensor", ()))
        tails = [ZeroTail(tensor=line.words[1], **line.fields) for line in by_word.get("tail", ())]
        facts[AdapterTensors] = AdapterTensors(
            path=WEIGHTS_NAME, tensors=tensors, zero_tail=tails[0] if tails else None
        )
    if {WEIGHTS_NAME, PICKLE_NAME} <= set(facts[AdapterFiles].names):
        facts[AdapterFormats] = _noted_formats(by_word)
    if by_word.keys() & {"merged", "unmerged"}:
        facts[ModelBesideAdapter] = _noted_model(by_word)
    return facts


_WORDS = frozenset(
    (
        "config",
        "tensor",
        "tail",
        "file",
        "differs",
        "merged",
        "unmerged",
        "intent",
        "base",
        "folder",
        TOKENIZER_NAME,
    )
)


def _noted_files(lines: Sequence[Line]) -> AdapterFiles:
    return AdapterFiles(
        folder="example",
        names=tuple(line.words[1] for line in lines),
        problems=tuple(
            FileProblem(path=line.words[1], what=line.fields["problem"])
            for line in lines
            if "problem" in line.fields
        ),
    )


def _noted_formats(by_word: Mapping[str, Sequence[Line]]) -> AdapterFormats:
    return AdapterFormats(
        total=len(by_word.get("tensor", ())),
        differing={line.words[1]: line.fields["in"] for line in by_word.get("differs", ())},
    )


def _noted_model(by_word: Mapping[str, Sequence[Line]]) -> ModelBesideAdapter:
    changed = tuple(line.words[1] for line in by_word.get("merged", ()))
    compared = len(changed) + len(by_word.get("unmerged", ()))
    return ModelBesideAdapter(base="base", compared=compared, changed=changed)


def _noted_config(lines: Sequence[Line]) -> AdapterConfig:
    numbered = list(enumerate(lines, start=1))
    pairs = [pair for line in lines for pair in line.fields.items()]
    return AdapterConfig(
        path=CONFIG_NAME,
        values=dict(pairs),
        lines={key: number for number, line in numbered for key in line.fields},
        source=tuple(line.text for line in lines),
        repeated=repeats(pairs),
    )


def _noted_tensor(line: Line) -> TensorFacts:
    values: dict[str, Any] = {"dtype": "F32", "nonfinite": 0, "rms": 0.1}
    values |= line.fields
    shape = noted_shape(values.pop("shape", "16x8"))
    return TensorFacts(name=line.words[1], shape=shape, **values)
