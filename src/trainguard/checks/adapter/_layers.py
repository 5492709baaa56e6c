"""Modules that an adapter has in some layers and lacks in others."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import pairwise, takewhile

from trainguard.checks.adapter._bases import BaseIndex
from trainguard.facts.base_model import BaseModelFacts, without_numbers

_RARE = 0.1
"""Share of missing layers above which they are a choice of the architecture, not a loss."""
_IN_LAYER = re.compile(r"(.*?\.)([0-9]{1,9})(\..+)")


def absent_beside_base(stored: Iterable[str], base: BaseModelFacts) -> Iterator[str]:
    """Modules that the base model has, of the kinds that are stored, and the adapter has not.

    Args:
        stored: paths of the adapter's modules.
        base: what its files hold beyond the number of its layers, such as those that predict
            further tokens, is no part of the model; nothing is absent if it states no number.
    """
    index = BaseIndex(base)
    adapted = {found[0]: module for module in stored if len(found := index.find(module)) == 1}
    of_kind = {without_numbers(module): module for module in adapted}
    for module in sorted(base.modules() - adapted.keys()):
        like, place = of_kind.get(without_numbers(module)), _in_layer(module)
        if like and place and place[1] < (base.layers or 0):
            yield _respelled(module, like, adapted[like])


def absent_between_layers(stored: Iterable[str]) -> Iterator[str]:
    """Modules of layers that have no tensor at all and stand between others that have some.

    Some architectures have a module in every third layer only, so that more than a few missing
    layers are none.
    """
    lists: dict[str, dict[int, list[str]]] = {}
    for module in stored:
        if place := _in_layer(module):
            start, number, end = place
            lists.setdefault(start, {}).setdefault(number, []).append(end)
    for start, layers in lists.items():
        span = max(layers) - min(layers) + 1
        if span - len(layers) > _RARE * span:
            continue
        for before, after in pairwise(sorted(layers)):
            for number in range(before + 1, after):
                yield from (f"{start}{number}{end}" for end in layers[before])


def _in_layer(module: str) -> tuple[str, int, str] | None:
    """The path before the first number, the number, and the path after it."""
    found = _IN_LAYER.fullmatch(module)
    return (found[1], int(found[2]), found[3]) if found else None


def _respelled(module: str, like: str, adapted: str) -> str:
    """A module of the base as the adapter would spell it, given how it spells one of the kind.

    The two spellings differ in what stands before their common end.
    """
    theirs, ours = like.split("."), adapted.split(".")
    ends = zip(reversed(theirs), reversed(ours), strict=False)
    common = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], ends))
    return ".".join(ours[: len(ours) - common] + module.split(".")[len(theirs) - common :])
