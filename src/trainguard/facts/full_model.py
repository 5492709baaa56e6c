"""What the files of a saved full model hold."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from trainguard.facts.adapter import FileProblem
from trainguard.findings import Location

if TYPE_CHECKING:
    from trainguard.facts.notation import Line

CONFIG_NAME = "config.json"
WEIGHTS_NAME = "model.safetensors"
INDEX_NAME = "model.safetensors.index.json"

#: Where architectures of transformers keep the embeddings of tokens.
_EMBEDDINGS = (
    "embed_tokens.weight",
    "wte.weight",
    "word_embeddings.weight",
    "embed_in.weight",
    "tok_embeddings.weight",
    "shared.weight",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelTensor:
    """One stored tensor."""

    name: str
    dtype: str = "F32"
    """As safetensors spells it."""
    shape: tuple[int, ...] = ()
    nonfinite: int | None = None
    """Elements that are NaN or infinite; None if the values were not read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shard:
    """One weights file: `model.safetensors`, or a file that the index names."""

    name: str
    """As the index spells it."""
    escape: str = ""
    """How it leaves the model's folder, continuing "the path ..."; it was not opened then."""
    by_link: bool = False
    """Whether a symbolic link leads out, as opposed to the path itself."""
    missing: bool = False
    problem: str = ""
    """Why it could not be read, continuing the sentence that its name begins."""
    tensors: tuple[ModelTensor, ...] = ()

    @property
    def is_read(self) -> bool:
        """Whether the tensors are those of the file."""
        return not (self.escape or self.missing or self.problem)


@dataclass(frozen=True, slots=True, kw_only=True)
class FullModelFacts:
    """The folder of a model that `save_pretrained` wrote, or of a download."""

    WANTED: ClassVar[str] = "a full model's folder"

    folder: str
    """As the user named it."""
    architecture: str | None = None
    """First of `architectures` in config.json, or its `model_type`."""
    custom_code: bool = False
    """Whether the config names modelling code of its own (`auto_map`)."""
    vocab_size: int | None = None
    tie_word_embeddings: bool | None = None
    dtype: str | None = None
    eos_token_ids: tuple[int, ...] = ()
    """From generation_config.json, or else from config.json."""
    weight_map: Mapping[str, str] = field(default_factory=dict)
    """Tensor to file, as the index states; empty without an index or where it does not count."""
    shards: tuple[Shard, ...] = ()
    highest_token: int | None = None
    """Largest token id in tokenizer.json."""
    last_tokens: tuple[str, ...] = ()
    """The tokens of the largest ids, at most 5, the last one first."""
    values_skipped: str = ""
    """Why the values of the tensors were not read; empty if they were."""
    problems: tuple[FileProblem, ...] = ()
    """Files that are not what they should be."""

    def tensors(self) -> Iterator[tuple[Shard, ModelTensor]]:
        """Every tensor that was seen, with its file."""
        for shard in self.shards:
            for tensor in shard.tensors:
                yield shard, tensor

    @property
    def is_complete(self) -> bool:
        """Whether every weights file was read."""
        return bool(self.shards) and all(shard.is_read for shard in self.shards)

    @property
    def embedding(self) -> ModelTensor | None:
        """The embeddings of tokens, the largest if several tensors are called so."""
        found = [
            tensor
            for _, tensor in self.tensors()
            if tensor.name.endswith(_EMBEDDINGS) and len(tensor.shape) == 2
        ]
        return max(found, key=lambda tensor: tensor.shape[0], default=None)

    def location(self, file: str, key: str, value: object = None) -> Location:
        """A place in one of the model's files."""
        shown = None if value is None else str(value)
        return Location(path=f"{self.folder}/{file}", key=key, value=shown)


def from_notation(lines: Sequence[Line]) -> dict[type, Any]:
    """`config KEY=VALUE ...`, `shard NAME ...`, `tensor NAME in=SHARD ...`, `index NAME SHARD`.

    `file NAME problem=...` is a file that could not be read.
    """
    of = {word: [line for line in lines if line.word == word] for word in _WORDS}
    known = sum(len(found) for found in of.values())
    if known != len(lines):
        raise ValueError(f"a full model has only {', '.join(_WORDS)}")
    fields: dict[str, Any] = {"architecture": "LlamaForCausalLM"}
    for line in of["config"]:
        fields |= line.fields
    tensors = [(line.fields.get("in", WEIGHTS_NAME), _noted_tensor(line)) for line in of["tensor"]]
    noted = {line.words[1]: dict(line.fields) for line in of["shard"]}
    names = dict.fromkeys([*noted, *(name for name, _ in tensors)])
    shards = tuple(
        Shard(name=n, tensors=tuple(t for at, t in tensors if at == n), **noted.get(n, {}))
        for n in names
    )
    problems = tuple(
        FileProblem(path=line.words[1], what=line.fields["problem"]) for line in of["file"]
    )
    index = {line.words[1]: line.words[2] for line in of["index"]}
    model = FullModelFacts(
        folder="example", shards=shards, weight_map=index, problems=problems, **fields
    )
    return {FullModelFacts: model}


_WORDS = ("config", "shard", "tensor", "index", "file")


def _noted_tensor(line: Line) -> ModelTensor:
    shape = str(line.fields.get("shape", "16x8"))
    return ModelTensor(
        name=line.words[1],
        dtype=line.fields.get("dtype", "F32"),
        shape=tuple(int(size) for size in shape.split("x")),
        nonfinite=line.fields.get("nonfinite", 0),
    )
