"""Containers of expected answers that code on the way to an answer can read.

The walk follows what the code names: closures, defaults, globals, attributes of the project's
objects, and the contents of caches. It runs no code of what it meets.
"""

from __future__ import annotations

import functools
import gc
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import Any

from trainguard.facts.evaluation_probes import TableFacts
from trainguard.gather.evaluation_grading import identity, same
from trainguard.gather.evaluation_models import attributes
from trainguard.gather.evaluation_provenance import is_installed, names_of

#: A look-up that is worth the trouble knows more rows than a few examples in a prompt.
FEWEST = 8
SHARE = 0.1
#: Objects visited, and entries of a container that are entered themselves.
LARGEST_WALK = 20_000
LARGEST_ENTERED = 1000
_CACHE = type(functools.lru_cache(lambda: None))
_ATOMS = (str, bytes, bytearray, int, float, complex, bool, type(None), BuiltinFunctionType)

Pair = tuple[Any, Any]
Met = tuple[Any, str]
"""A thing and how it was reached."""


def find_tables(
    methods: Iterable[tuple[str, Any]], pairs: Sequence[Pair], known: Iterable[Any] = ()
) -> list[TableFacts]:
    """The nearest table behind each method; one table is named once.

    Args:
        methods: their names and the callables.
        pairs: questions and expected answers of the audit.
        known: objects that are not entered: the audit's own.
    """
    expected = {identity(question): right for question, right in pairs}
    needed = min(len(expected), max(FEWEST, SHARE * len(expected)))
    seen = {id(thing) for thing in known}
    found = []
    for key, method in methods:
        for thing, place in _reachable(method, seen):
            hits = _known(thing, expected)
            if hits and hits >= needed:
                size, rows = _size(thing), len(expected)
                found.append(TableFacts(key=key, place=place, size=size, known=hits, rows=rows))
                break
    return found


def _reachable(root: Any, seen: set[int]) -> Iterator[Met]:
    """Every container behind a callable, nearest first."""
    queue: deque[tuple[Any, str, Any]] = deque([(root, "", getattr(root, "__self__", None))])
    visited = 0
    while queue and visited < LARGEST_WALK:
        thing, place, owner = queue.popleft()
        if id(thing) in seen or isinstance(thing, _ATOMS):
            continue
        seen.add(id(thing))
        visited += 1
        if isinstance(thing, dict | list | tuple):
            yield thing, place
        queue.extend((part, name, owner) for part, name in _parts(thing, place, owner))


def _parts(thing: Any, place: str, owner: Any) -> Iterator[Met]:
    if isinstance(thing, FunctionType):
        yield from _of_function(thing, place, owner)
    elif isinstance(thing, MethodType):
        yield thing.__func__, place
    elif isinstance(thing, functools.partial):
        yield thing.func, place
        yield from ((part, _join(place, "an argument of partial")) for part in thing.args)
        yield from ((part, _join(place, name)) for name, part in thing.keywords.items())
    elif isinstance(thing, _CACHE):
        yield thing.__wrapped__, _join(place, getattr(thing, "__name__", ""))
        yield from _of_cache(thing, place)
    elif isinstance(thing, staticmethod | classmethod):
        yield thing.__func__, place
    elif isinstance(thing, dict | list | tuple):
        if _size(thing) <= LARGEST_ENTERED:
            yield from ((part, place) for part in _members(thing))
    elif _is_of_project(thing):
        yield from _of_callable(thing, place)


def _of_function(function: FunctionType, place: str, owner: Any) -> Iterator[Met]:
    cells = zip(function.__code__.co_freevars, function.__closure__ or (), strict=False)
    for name, cell in cells:
        try:
            yield cell.cell_contents, _join(place, name)
        except ValueError:  # not filled yet
            continue
    defaults = [*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values()]
    yield from ((part, _join(place, f"a default of {function.__name__}")) for part in defaults)
    if is_installed(function.__code__):
        return
    for name in names_of(function.__code__):
        if name in function.__globals__:
            part = function.__globals__[name]
            yield from (
                _of_module(part, function, place)
                if isinstance(part, ModuleType)
                else ((part, _join(place, name)),)
            )
        yield from _of_owner(owner, name, place)


def _of_module(module: ModuleType, function: FunctionType, place: str) -> Iterator[Met]:
    """What the code may name of a module of the project that it uses as a namespace."""
    if "site-packages" in (getattr(module, "__file__", None) or "site-packages"):
        return
    for name in names_of(function.__code__):
        if name in vars(module):
            yield vars(module)[name], _join(place, f"{module.__name__}.{name}")


def _of_owner(owner: Any, name: str, place: str) -> Iterator[Met]:
    """The attribute of the object that answers, or the method of its class."""
    held = attributes(owner)
    if name in held:
        yield held[name], _join(place, f"self.{name}")
        return
    for base in type(owner).__mro__:
        if name in vars(base) and not isinstance(owner, ModuleType | type(None)):
            yield vars(base)[name], _join(place, f"self.{name}")
            return


def _of_cache(cache: Any, place: str) -> Iterator[Met]:
    """What functools remembers; it shows it to the garbage collector alone."""
    label = _join(place, f"the cache of {getattr(cache, '__name__', 'a function')}")
    for held in gc.get_referents(cache):
        if type(held) is dict:
            yield held, label
            for link in list(held.values())[:LARGEST_ENTERED]:
                yield from ((part, label) for part in _remembered(link))


def _remembered(link: Any) -> Iterator[Any]:
    """A result, or the parts of the link of a bounded cache that holds it."""
    if isinstance(link, dict | list | tuple) or _is_of_project(link):
        yield link
    elif type(link).__name__ == "_lru_list_elem":
        yield from (part for part in gc.get_referents(link) if isinstance(part, dict | list))


def _is_of_project(thing: Any) -> bool:
    """Whether the class of an object was written in the project, and is no torch module."""
    kind = type(thing)
    if isinstance(thing, type | ModuleType) or hasattr(kind, "register_buffer"):
        return False
    functions = [one for one in vars(kind).values() if isinstance(one, FunctionType)]
    return any(not is_installed(one.__code__) for one in functions)


def _of_callable(thing: Any, place: str) -> Iterator[Met]:
    """The methods of an object of the project, with itself as their owner, and what it holds."""
    for name, part in attributes(thing).items():
        yield part, _join(place, name)
    for base in type(thing).__mro__:
        for name, part in vars(base).items():
            if isinstance(part, FunctionType) and not is_installed(part.__code__):
                yield part, _join(place, name)


def _join(place: str, name: str) -> str:
    return f"{place}, {name}" if place and name else place or name


def _size(container: Any) -> int:
    """Entries, past any method of a subclass, as everywhere below: it may run code."""
    kind = dict if isinstance(container, dict) else list if isinstance(container, list) else tuple
    return int(kind.__len__(container))


def _members(container: Any) -> Iterable[Any]:
    if isinstance(container, dict):
        return dict.values(container)
    kind: Any = list if isinstance(container, list) else tuple
    members: Iterable[Any] = kind.__getitem__(container, slice(None))
    return members


def _known(container: Any, expected: dict[str, Any]) -> int:
    """Questions that stand in a container together with their expected answer."""
    if isinstance(container, dict):
        return _known_by_key(container, expected)
    hits = set()
    for row in _members(container):
        parts = _fields(row)
        for part in parts:
            if isinstance(part, str) and part in expected and _hold(parts, part, expected[part]):
                hits.add(part)
    return len(hits)


def _known_by_key(table: dict[Any, Any], expected: dict[str, Any]) -> int:
    if _size(table) < len(expected):
        return sum(
            _hold(_fields(value), key, expected[key])
            for key, value in dict.items(table)
            if isinstance(key, str) and key in expected
        )
    return sum(
        _hold(_fields(dict.get(table, question)), question, right)
        for question, right in expected.items()
    )


def _fields(row: Any) -> list[Any]:
    """The fields of a record, whatever its form; of a plain value, itself."""
    if isinstance(row, _ATOMS):
        return [row]
    if not isinstance(row, dict | list | tuple):
        row = attributes(row)
    return list(_members(row))[:LARGEST_ENTERED]


def _hold(fields: Sequence[Any], question: str, expected: Any) -> bool:
    return any(
        field is not question and isinstance(field, _ATOMS) and same(field, expected)
        for field in fields
    )
