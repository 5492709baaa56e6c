"""What a pickle is made of, as far as it is followed."""

from __future__ import annotations

import _compat_pickle
from dataclasses import dataclass, field
from typing import Any, Final

from trainguard.gather.pickle_stream import UNKNOWN

_MOST_CALLS: Final = 256
"""Calls of one name whose arguments are kept."""
COMPUTED: Final = "a name that is computed while loading"
COMPUTED_CALL: Final = "an object that is computed while loading"
OUTSIDE: Final = "an object by a persistent id that torch does not write"


@dataclass(frozen=True, slots=True)
class Name:
    """Something outside the pickle, by module and attribute."""

    path: str


@dataclass(frozen=True, slots=True)
class Storage:
    """The bytes that a tensor looks at, by torch's persistent id."""

    type: str
    key: Any
    count: Any
    whole: bool


@dataclass(frozen=True, slots=True)
class View:
    """A tensor: which elements of a storage it has. Nothing here is checked."""

    storage: Any
    offset: Any
    shape: Any
    stride: Any
    dtype: str | None = None


@dataclass(slots=True)
class Table:
    """A dict or OrderedDict, as the pairs that were put in."""

    pairs: list[tuple[Any, Any]] = field(default_factory=list)


@dataclass(slots=True)
class Use:
    """How a pickle uses one name."""

    count: int = 0
    calls: list[Any] = field(default_factory=list)
    """The arguments of each call."""
    changed: bool = False
    """Whether the thing itself would be changed for the whole process."""


class Uses(dict[str, Use]):
    """The names that a file refers to, and the storages of its tensors."""

    def __init__(self) -> None:
        super().__init__()
        self.storages: list[Storage] = []

    def load(self, path: str) -> None:
        """Note that the name is fetched."""
        self.setdefault(path, Use()).count += 1

    def call(self, path: str, arguments: Any) -> None:
        """Note a call. Too many different ones to look at count as one that is not known."""
        use = self.setdefault(path, Use())
        use.count = max(use.count, 1)
        use.calls.append(arguments if len(use.calls) < _MOST_CALLS else UNKNOWN)
        del use.calls[_MOST_CALLS + 1 :]
        for argument in arguments if isinstance(arguments, tuple) else ():
            # What is handed to a function may be called by it.
            if isinstance(argument, Name):
                self.setdefault(argument.path, Use()).calls.append(UNKNOWN)

    def change(self, path: str) -> None:
        """Note that the thing itself would get other attributes or items."""
        self.setdefault(path, Use(count=1)).changed = True


def resolve(module: str, name: str, protocol: int) -> str:
    """The path that a loader would import; old protocols spell it as Python 2 did."""
    if protocol < 3:
        if (module, name) in _compat_pickle.NAME_MAPPING:
            module, name = _compat_pickle.NAME_MAPPING[(module, name)]
        elif module in _compat_pickle.IMPORT_MAPPING:
            module = _compat_pickle.IMPORT_MAPPING[module]
    return f"{module}.{name}"


def as_storage(key: Any) -> Storage | None:
    """The storage of which torch writes such a persistent id; None for any other id."""
    if not isinstance(key, tuple) or len(key) not in (5, 6) or not isinstance(key[1], Name):
        return None
    whole = len(key) == 5 or key[5] is None
    isas_storage = isinstance(key[0], str) and key[0] == "storage"
    return Storage(key[1].path, key[2], key[4], whole) if isas_storage else None
