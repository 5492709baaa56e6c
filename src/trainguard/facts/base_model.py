"""What is known of the base model that an adapter belongs to, from its config and headers."""

from __future__ import annotations

import re
from collections import ChainMap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from trainguard.facts.notation import Line

_NUMBER = re.compile(r"(?<=\.)\d+(?=\.|$)")


@dataclass(frozen=True, slots=True, kw_only=True)
class BaseReference:
    """The base model that an adapter's config names."""

    WANTED: ClassVar[str] = "an adapter_config.json"

    name: str
    """`base_model_name_or_path`; "" if it is missing, null or not a string."""
    exists: bool
    """Whether there is a file or folder of that name, as the loader would look for it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BaseModelFacts:
    """The tensors of a base model as its files name them."""

    WANTED: ClassVar[str] = "the base model's folder (--base)"

    path: str
    """The folder, as the user named it."""
    architecture: str | None = None
    """The first of the config's `architectures`."""
    vocab: int | None = None
    """Rows of the input embeddings, as stored; by the config if they cannot be told."""
    layers: int | None = None
    """How many the config states; the files may hold more, of which the model has no use."""
    shapes: Mapping[str, tuple[int, ...] | None] = field(default_factory=dict)
    """Shape by tensor name; None where the values are packed, so that it is not the module's."""

    def modules(self) -> frozenset[str]:
        """Paths of the modules that own a tensor, as the files name them."""
        return frozenset(name.rpartition(".")[0] for name in self.shapes)


def without_numbers(module: str) -> str:
    """A module's path with `#` for every number: what the modules of all layers share."""
    return _NUMBER.sub("#", f".{module}")[1:]


def noted_base(by_word: Mapping[str, Sequence[Line]], name: str) -> dict[type, Any]:
    """The facts of the lines `base NAME shape=16x16` and `folder NAME` of an example.

    Any `base` line may state `architecture=`, `vocab=` and `layers=` of the whole model.

    Args:
        by_word: the example's lines by their first word.
        name: of the base model, by the example's config.
    """
    exists = any(name in line.words[1:] for line in by_word.get("folder", ()))
    facts: dict[type, Any] = {BaseReference: BaseReference(name=name, exists=exists)}
    if lines := by_word.get("base"):
        shapes = {line.words[1]: noted_shape(line.fields.get("shape", "16x16")) for line in lines}
        whole = ChainMap(*(dict(line.fields) for line in lines))
        facts[BaseModelFacts] = BaseModelFacts(
            path="base",
            architecture=whole.get("architecture"),
            vocab=whole.get("vocab"),
            layers=whole.get("layers"),
            shapes=shapes,
        )
    return facts


def noted_shape(value: Any) -> tuple[int, ...]:
    """The shape that an example spells `16x8` or `scalar`."""
    return tuple(int(size) for size in str(value).split("x")) if value != "scalar" else ()
