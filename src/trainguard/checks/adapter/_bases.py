"""Finding an adapter's modules in the files of its base model."""

from __future__ import annotations

from collections.abc import Iterator

from trainguard.facts.base_model import BaseModelFacts, without_numbers


class BaseIndex:
    """The modules of a base model by every end of their path.

    A file may lack the segments in front that the model's class adds (`transformer.h.0` is `h.0`
    in the files of GPT-2) or have others, so that a module is found by the longest end that both
    have in common, down to the name of the list of layers.
    """

    def __init__(self, base: BaseModelFacts) -> None:
        self._by_end: dict[str, list[str]] = {}
        for module in sorted(base.modules()):
            for end in _ends(module):
                self._by_end.setdefault(end, []).append(module)
        self._kinds = {without_numbers(end) for end in self._by_end}
        # A list of experts is one module in memory and one for each expert in the files.
        self._names = {segment for module in base.modules() for segment in module.split(".")}

    def find(self, module: str) -> list[str]:
        """The base model's modules that this may be: none, one, or several that look alike."""
        found = next((self._by_end[end] for end in _ends(module) if end in self._by_end), [])
        return [path for path in found if has_number(module) or _continues(path, module)]

    def has_other_layer(self, module: str) -> bool:
        """Whether the base model has the like of this module in a layer of another number."""
        kinds = map(without_numbers, _ends(module))
        return any("#" in kind and kind in self._kinds for kind in kinds)

    def has_name(self, module: str) -> bool:
        """Whether a module of the base model, or one around it, is called like this one."""
        return module.rpartition(".")[2] in self._names


def has_number(module: str) -> bool:
    """Whether the module stands in a list of layers."""
    return any(map(str.isdecimal, module.split(".")))


def _continues(one: str, other: str) -> bool:
    """Whether either path is an end of the other: `dense` alone is the name of many modules."""
    return f".{one}".endswith(f".{other}") or f".{other}".endswith(f".{one}")


def _ends(module: str) -> Iterator[str]:
    """The path, longest end first, as far as it still says in which layers' list it stands."""
    segments = module.split(".")
    first_number = next((n for n, s in enumerate(segments) if s.isdecimal()), len(segments))
    for start in range(max(1, first_number)):
        yield ".".join(segments[start:])
