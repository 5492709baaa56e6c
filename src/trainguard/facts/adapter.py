"""What the files of a saved PEFT adapter hold."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Any, ClassVar

from trainguard.findings import ExcerptLine, Location

CONFIG_NAME = "adapter_config.json"
WEIGHTS_NAME = "adapter_model.safetensors"
PICKLE_NAME = "adapter_model.bin"

#: What PEFT puts before a module's path in the base model.
PREFIX = "base_model.model."
#: Segments that wrappers leave in a name although the base model's module has none of them.
WRAPPERS = ("_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module")

#: How PEFT's own tensors are named after the module's path; others are the base model's.
# fmt: off
_PARTS = (
    "adamss_", "adaption_", "beft_", "boft_", "c3a_", "deft_", "delora_", "fourierft_", "frod_",
    "glora_", "gralora_", "hada_", "hira_", "hra_", "ia3_", "lily_", "ln_tuning_", "lokr_",
    "lora_", "miss_", "oft_", "osf_", "peanut_", "poly_", "prompt_embeddings", "psoft_",
    "pvera_", "randlora_", "road_", "shadow_", "shira_", "supertuning_", "tinylora_",
    "trainable_tokens_", "unilora_", "vblora_", "vera_", "waveft_",
)
# fmt: on
_WIDEST = 160
"""Characters of a value or a source line that a finding shows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FileProblem:
    """One thing that keeps a file from being read as what it should be."""

    path: str
    """The file, as the user named its folder."""
    what: str
    """Continues the sentence that the file's name begins: "is a Git LFS pointer"."""
    fix: str = ""
    """What to do about it, in the imperative."""
    line: int | None = None
    """Line in the file, from 1."""

    @property
    def name(self) -> str:
        """The file's name without its folder."""
        return PurePath(self.path).name


@dataclass(frozen=True, slots=True, kw_only=True)
class AdapterFiles:
    """The files of an adapter folder that matter, and what is wrong with them as files."""

    WANTED: ClassVar[str] = "the folder of a saved adapter"

    folder: str
    """As the user named it."""
    names: tuple[str, ...] = ()
    """Names of the adapter's files that exist, readable or not."""
    problems: tuple[FileProblem, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class AdapterConfig:
    """A parsed `adapter_config.json`. The accessors never raise on a value of the wrong type."""

    WANTED: ClassVar[str] = "an adapter_config.json"

    path: str
    values: Mapping[str, Any]
    """Every field as JSON gives it, unknown ones too; NaN and Infinity are floats."""
    lines: Mapping[str, int] = field(default_factory=dict)
    """Line of each field in the file, from 1."""
    source: tuple[str, ...] = ()
    """The file's lines, for frames."""
    repeated: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    """All values of each field that stands in the file more than once, in its order."""

    @property
    def peft_type(self) -> str:
        """The tuner's name (`LORA`); "" if it is missing or not a string."""
        return self.text("peft_type") or ""

    def text(self, key: str) -> str | None:
        """The value if it is a string."""
        value = self.values.get(key)
        return value if isinstance(value, str) else None

    def number(self, key: str) -> float | None:
        """The value if it is a number, `false` and `true` included as the loader computes."""
        value = self.values.get(key)
        return value if isinstance(value, int | float) else None

    def names(self, key: str) -> tuple[str, ...]:
        """The strings of a list; empty if the value is no list."""
        value = self.values.get(key)
        items = value if isinstance(value, list) else ()
        return tuple(item for item in items if isinstance(item, str))

    def mapping(self, key: str) -> Mapping[str, Any]:
        """The value if it is an object; empty otherwise."""
        value = self.values.get(key)
        return value if isinstance(value, dict) else {}

    def flag(self, key: str) -> bool:
        """Whether the value is truthy, which is all that the loader asks of a flag."""
        return bool(self.values.get(key))

    def location(self, key: str) -> Location:
        """The place of a field, with its line of the file."""
        line = self.lines.get(key)
        return Location(
            path=self.path,
            line=line,
            key=key,
            value=shown(self.values.get(key)),
            excerpt=tuple(self._around(line)) if line else (),
        )

    def _around(self, line: int) -> Iterator[ExcerptLine]:
        for number in range(max(1, line - 1), min(len(self.source), line + 1) + 1):
            text = brief(self.source[number - 1])
            yield ExcerptLine(label=str(number), text=text, marked=number == line)


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorFacts:
    """One stored tensor. None means that its values were not read (as of integers)."""

    name: str
    dtype: str
    """As safetensors spells it: F32, BF16, ..."""
    shape: tuple[int, ...]
    nonfinite: int | None = None
    """Elements that are NaN or infinite."""
    largest: float | None = None
    """Largest magnitude of the finite elements; 0.0 if there is none."""
    constant: float | None = None
    """The number that all elements are; None if they differ, too."""
    rms: float | None = None
    """Root mean square of the finite elements, in a large tensor of evenly spread pieces of it."""
    module: str = field(init=False, repr=False)
    """Path of the module in the base model, without PEFT's prefix and without wrappers."""
    part: str = field(init=False, repr=False)
    """What PEFT adds there (`lora_A`, `ia3_l`), or the base model's own `weight` or `bias`."""
    infix: str = field(init=False, repr=False)
    """What stands between the part and the last word: an adapter name that was not stripped."""
    leaf: str = field(init=False, repr=False)
    """`weight` or `bias` after the part, "" for a bare parameter."""

    def __post_init__(self) -> None:
        for attribute, value in zip(
            ("module", "part", "infix", "leaf"), _parse(self.name), strict=True
        ):
            object.__setattr__(self, attribute, value)

    @property
    def count(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    @property
    def is_added(self) -> bool:
        """Whether PEFT added the tensor, as opposed to a copy of one of the base model's own."""
        return self.part.startswith(_PARTS)

    @property
    def is_read(self) -> bool:
        """Whether its values were."""
        return self.nonfinite is not None

    @property
    def all_zero(self) -> bool:
        """Whether it has elements and every one of them was read and is zero."""
        return self.count > 0 and self.constant == 0.0

    @property
    def all_one(self) -> bool:
        """Whether it has elements and every one of them was read and is one."""
        return self.count > 0 and self.constant == 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ZeroTail:
    """The zero bytes that a file ends with."""

    start: int
    """Where in the file they begin."""
    size: int
    tensor: str
    """Name of the tensor among whose bytes they begin."""
    kept: int
    """Bytes of this tensor before them."""
    whole: int
    """How many tensors after it are zero altogether."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AdapterTensors:
    """The tensors of an adapter's weights file, in the file's order."""

    WANTED: ClassVar[str] = "the weights of a saved adapter"

    path: str
    tensors: tuple[TensorFacts, ...] = ()
    zero_tail: ZeroTail | None = None
    """None if the file ends with something else, or is none of safetensors."""

    def modules(self) -> dict[str, dict[str, TensorFacts]]:
        """What PEFT added, by module path and part; the biases of parts are left out."""
        grouped: dict[str, dict[str, TensorFacts]] = {}
        for tensor in self.tensors:
            if tensor.is_added and tensor.leaf != "bias":
                grouped.setdefault(tensor.module, {})[tensor.part] = tensor
        return grouped

    def location(self, tensor: TensorFacts) -> Location:
        """The place of a tensor; its type and shape are the value."""
        return Location(path=self.path, key=tensor.name, value=f"{tensor.dtype} {dims(tensor)}")


def dims(tensor: TensorFacts) -> str:
    """A shape for people: `16x8`, `scalar`."""
    return "x".join(map(str, tensor.shape)) or "scalar"


def shown(value: Any) -> str:
    """A config value as the JSON file spells it, cut to a readable length."""
    return brief(spelled(value))


def spelled(value: Any) -> str:
    """A config value as the JSON file spells it; in words where it is nested too deeply."""
    try:
        return json.dumps(value)
    except (RecursionError, TypeError, ValueError):
        return f"a {type(value).__name__}"


def brief(text: str) -> str:
    """A name as far as a sentence has room for it."""
    return text if len(text) <= _WIDEST else text[: _WIDEST - 3] + "..."


def repeats(pairs: Iterable[tuple[str, Any]]) -> dict[str, tuple[Any, ...]]:
    """All values of each key that stands among the pairs of a JSON object more than once."""
    values: dict[str, list[Any]] = {}
    for key, value in pairs:
        values.setdefault(key, []).append(value)
    return {key: tuple(found) for key, found in values.items() if len(found) > 1}


def _parse(name: str) -> tuple[str, str, str, str]:
    """Module, part, infix and leaf of a tensor's name; every spelling gives some answer."""
    path = name.split(".")
    while path[:2] == ["base_model", "model"]:
        path = path[2:]
    path = [segment for segment in path if segment not in WRAPPERS]
    added = [index for index, segment in enumerate(path) if segment.startswith(_PARTS)]
    if not added:
        return ".".join(path[:-1]), path[-1] if path else "", "", ""
    module, part, rest = path[: added[-1]], path[added[-1]], path[added[-1] + 1 :]
    leaf = rest.pop() if rest and rest[-1] in ("weight", "bias") else ""
    return ".".join(module), part, ".".join(rest), leaf
