"""Methods on the way to an answer that are not what their class says."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from types import CodeType, FunctionType
from typing import Any

from trainguard.facts.evaluation import MethodFacts
from trainguard.gather.evaluation_models import attributes
from trainguard.gather.evaluation_provenance import (
    class_body,
    codes,
    constants_of,
    declared_otherwise,
    differs_from_source,
    is_installed,
    is_mock,
    is_own,
    names_of,
    reached,
    shown,
)

#: Methods that an answer passes through, whatever they belong to.
METHODS = (
    *("answer", "generate", "forward", "__call__", "prepare_inputs_for_generation"),
    *("encode", "decode", "batch_decode", "apply_chat_template", "format_prompt", "parse_answer"),
)
#: What `allow_override` leaves on a function.
ALLOWED = "__trainguard_allowed__"
#: Code that names the class of an object calls the class's methods past the instance.
_WAYS_TO_CLASS = frozenset({"super", "type", "__class__", "__mro__"})


@dataclass(frozen=True, eq=False)
class Override:
    """A replacement, where it stands, and what stood there before if that is known."""

    holder: Any
    """The instance or the class."""
    name: str
    value: Any
    original: Any
    facts: MethodFacts

    @property
    def in_place(self) -> bool:
        """Whether it can be taken away: it still stands there and the original is known."""
        return self.original is not None and self._standing() is self.value

    @contextmanager
    def taken_away(self) -> Iterator[None]:
        """Put the original in its place for a while."""
        self._put(self.original)
        try:
            yield
        finally:
            self._put(self.value)

    def _standing(self) -> Any:
        held = vars(self.holder) if isinstance(self.holder, type) else attributes(self.holder)
        return held.get(self.name)

    def _put(self, method: Any) -> None:
        if isinstance(self.holder, type):
            setattr(self.holder, self.name, method)
        else:  # past any __setattr__ of the class; the order of the attributes stays
            object.__getattribute__(self.holder, "__dict__")[self.name] = method


def find_overrides(things: Iterable[Any], method: str) -> list[Override]:
    """The code that stands in for methods of these objects: the project's, and on instances
    also that of installed packages.

    Args:
        things: the object that answers, its models and its tokenizers.
        method: the method that is asked, in addition to `METHODS`.
    """
    found: dict[tuple[int, str], Override] = {}
    for thing in things:
        for name in dict.fromkeys((method, *METHODS)):
            for override in _overrides(thing, name):
                found.setdefault((id(override.holder), override.facts.key), override)
    return list(found.values())


def _overrides(thing: Any, name: str) -> Iterator[Override]:
    if is_mock(thing):
        yield from _mocked(thing, name)
        return
    for found in (_on_instance(thing, name), _on_class(thing, name), _on_access(thing, name)):
        if found is not None:
            yield found


def _mocked(thing: Any, name: str) -> Iterator[Override]:
    """A mock has every method; the one that is asked is worth a word."""
    if name in attributes(thing).get("_mock_children", {}):
        facts = MethodFacts(key=_key(type(thing), name), kind="instance", by=_by(thing), mock=True)
        yield Override(thing, name, None, None, facts)


def _on_instance(thing: Any, name: str) -> Override | None:
    declared = inspect.getattr_static(type(thing), name, None)
    value = attributes(thing).get(name)
    if value is None or not callable(value) or not hasattr(declared, "__get__"):
        return None
    originals = _innermost(declared)
    things = reached(value, thing, originals)
    found = codes(things)
    foreign = [code for code in found if code not in originals and not is_installed(code)]
    if found and originals.issuperset(found):
        return None  # the method itself, bound or cached
    installed = bool(found) and not foreign and not is_mock(value)
    reaches = any(code in originals for code in found) or _names_class(foreign, name)
    facts = _facts(thing, name, "instance", value, found if installed else foreign, reaches)
    original = declared.__get__(thing, type(thing))
    return Override(thing, name, value, original, replace(facts, installed=installed))


def _on_class(thing: Any, name: str) -> Override | None:
    owner = next((base for base in type(thing).__mro__ if name in vars(base)), None)
    if owner is None:
        return None
    value = vars(owner)[name]
    things = reached(value)
    foreign = [code for code in codes(things) if not is_installed(code)]
    if is_mock(value):
        return Override(owner, name, value, None, _facts(owner, name, "class", value, [], False))
    if not foreign:
        return None
    if is_own(foreign[0], owner):
        return _swapped_code(owner, name, things, foreign[0])
    if declared_otherwise(owner, name):
        return None
    original = _written_in(owner, name, things)
    kind = "class" if class_body(owner) else "dynamic"
    facts = _facts(owner, name, kind, value, foreign, original is not None)
    return Override(owner, name, value, original, facts)


def _swapped_code(owner: type, name: str, things: list[Any], code: CodeType) -> Override | None:
    functions = (thing for thing in things if isinstance(thing, FunctionType))
    function = next(one for one in functions if one.__code__ is code)
    if not differs_from_source(function):
        return None
    facts = _facts(owner, name, "code", function, [code], reaches=False)
    return Override(owner, name, function, None, facts)


def _on_access(thing: Any, name: str) -> Override | None:
    """A `__getattribute__` that knows the method by name hands out what it likes."""
    for base in type(thing).__mro__:
        function = vars(base).get("__getattribute__")
        if isinstance(function, FunctionType) and not is_installed(function.__code__):
            if name not in constants_of(function.__code__):
                return None
            found = [function.__code__]
            facts = _facts(base, "__getattribute__", "access", function, found, reaches=False)
            return Override(base, name, function, None, facts)
    return None


def _innermost(declared: Any) -> frozenset[CodeType]:
    """The code of the method as its class has it, under its decorators."""
    function = inspect.unwrap(getattr(declared, "__func__", declared))
    return frozenset(codes([function]))


def _names_class(found: list[CodeType], name: str) -> bool:
    """Whether code goes back to the class for the method: `type(self).answer(self, ...)`."""
    names = [set(names_of(code)) for code in found]
    return any(name in used and used & _WAYS_TO_CLASS for used in names)


def _written_in(owner: type, name: str, things: list[Any]) -> Any:
    """The function that the class body gives this name, if the replacement kept it."""
    written = f"{owner.__qualname__}.{name}"
    for thing in things:
        if not isinstance(thing, FunctionType):
            continue
        if thing.__code__.co_qualname == written and is_own(thing.__code__, owner):
            return thing
    return None


def _facts(
    holder: Any, name: str, kind: str, value: Any, foreign: list[CodeType], reaches: bool
) -> MethodFacts:
    code = foreign[0] if foreign else None
    return MethodFacts(
        key=_key(holder if isinstance(holder, type) else type(holder), name),
        kind=kind,
        by=code.co_qualname.rpartition("<locals>.")[2] if code else _by(value),
        path=shown(code.co_filename) if code else None,
        line=code.co_firstlineno if code else None,
        mock=is_mock(value),
        reaches_original=reaches,
        allowed=allowance(value),
    )


def allowance(value: Any) -> str:
    """The reason that `allow_override` left on a method, bound or partly applied."""
    for link in ("func", "__func__"):
        value = getattr(value, link, value)
    return str(attributes(value).get(ALLOWED, ""))


def _key(owner: type, name: str) -> str:
    return f"{owner.__name__}.{name}"


def _by(value: Any) -> str:
    """What has no code of its own: a mock, or a method of a built-in type such as `dict.get`."""
    if is_mock(value):
        return f"unittest.mock.{type(value).__name__}"
    return getattr(value, "__qualname__", type(value).__qualname__)
