"""The checks: how one is declared, found and selected.

A check is a generator over facts. Its parameters' annotations say which facts it needs:
`AdapterConfig` one record, `Sequence[StepFacts]` all records of a kind, `X | None` a record that
it can do without. A keyword-only parameter with a default is a threshold, which a user may set.
Its module's docstring is its documentation and its first test.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import sys
import types
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, Union, get_args, get_origin

from trainguard.facts.evidence import Evidence
from trainguard.facts.failure import Failure
from trainguard.facts.suppression import UnusedSuppression
from trainguard.findings import Finding, NotChecked, Precision, Severity

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

ENTRY_POINT_GROUP = "trainguard.checks"
DOCS = "https://trainguard.readthedocs.io/en/latest/"
"""Where the documentation is published."""

Judge = Callable[..., Iterator[Finding | NotChecked]]
_J = TypeVar("_J", bound=Judge)
_registered: dict[str, Check] = {}
_broken_plugins: list[Failure] = []


@dataclass(frozen=True)
class Need:
    """One parameter of a check: which facts, one or all of them, and whether it can do without."""

    name: str
    kind: type
    many: bool
    optional: bool


@dataclass(frozen=True)
class Check:
    """A registered check: its identity, its words and its judge."""

    code: str
    severity: Severity
    precision: Precision
    explains: tuple[str, ...]
    judge: Judge
    forced: Severity | None = None
    """What a user wants the severity of every finding to be."""
    chosen: Mapping[str, float] = field(default_factory=dict, hash=False)
    """Thresholds that a user has set."""

    @property
    def name(self) -> str:
        """The function's name in kebab case: `hidden-nan-loss`."""
        return self.judge.__name__.replace("_", "-")

    @property
    def doc(self) -> str:
        """The module's docstring, in Markdown."""
        return inspect.cleandoc(sys.modules[self.judge.__module__].__doc__ or "")

    @property
    def summary(self) -> str:
        """The first line of the documentation, without its full stop."""
        return self.doc.partition("\n")[0].rstrip(".")

    @property
    def url(self) -> str:
        """The page of the documentation; empty for a plugin's check, which has its own."""
        is_own = self.judge.__module__.startswith("trainguard.")
        return f"{DOCS}checks/{self.name}.html" if is_own else ""

    @cached_property
    def needs(self) -> tuple[Need, ...]:
        """What the judge's parameters ask for."""
        hints = typing.get_type_hints(self.judge)
        return tuple(
            _need(name, hints[name])
            for name, parameter in self._parameters.items()
            if parameter.default is inspect.Parameter.empty
        )

    @cached_property
    def thresholds(self) -> Mapping[str, float]:
        """The numbers that a user may set, with their defaults."""
        return {
            name: parameter.default
            for name, parameter in self._parameters.items()
            if parameter.default is not inspect.Parameter.empty
        }

    @property
    def _parameters(self) -> Mapping[str, inspect.Parameter]:
        return inspect.signature(self.judge).parameters

    @property
    def reports_failures(self) -> bool:
        """Whether this is the check that reports what trainguard could not look at."""
        return any(need.kind is Failure for need in self.needs)

    @property
    def reports_suppressions(self) -> bool:
        """Whether this is the check that reports comments that suppress nothing."""
        return any(need.kind is UnusedSuppression for need in self.needs)

    @property
    def reports_on_us(self) -> bool:
        """Whether it judges what came of the other checks, after them."""
        return self.reports_failures or self.reports_suppressions

    def missing(self, evidence: Evidence) -> tuple[type, ...]:
        """The kinds of facts that this check needs and the evidence has not."""
        return tuple(
            need.kind
            for need in self.needs
            if not need.optional and need.kind not in evidence.facts
        )

    def run(self, evidence: Evidence) -> Iterator[Finding | NotChecked]:
        """Judge the evidence; every finding comes out signed with this check's code and name."""
        arguments = {need.name: evidence.facts.get(need.kind) for need in self.needs}
        for verdict in self.judge(**arguments, **self.chosen):
            if isinstance(verdict, NotChecked):
                yield replace(verdict, code=self.code, subject=evidence.subject)
            else:
                yield self._signed(verdict, evidence)

    def _signed(self, finding: Finding, evidence: Evidence) -> Finding:
        location = finding.location
        if location.path is None:
            location = replace(location, path=evidence.path or evidence.subject)
        return replace(
            finding,
            code=self.code,
            name=self.name,
            # A finding may be milder than its check, never graver.
            severity=self.forced
            or max(finding.severity, self.severity, key=lambda severity: severity.rank),
            precision=finding.precision or self.precision,
            location=location,
            subject=evidence.subject,
            scope=evidence.scope or evidence.subject,
        )


def check(
    code: str, *, severity: Severity, precision: Precision, explains: Sequence[str] = ()
) -> Callable[[_J], _J]:
    """Register a check.

    Args:
        code: `TG` and three digits; the first is the family.
        severity: of its findings; one finding may be milder.
        precision: how sure it is; MEDIUM cannot be an error.
        explains: codes of the symptoms that this fault produces.

    Raises:
        ValueError: the code or the name is taken, or a MEDIUM check claims an error.
    """
    if precision is Precision.MEDIUM and severity is Severity.ERROR:
        raise ValueError(f"{code}: a check of medium precision cannot be an error")

    def register(judge: _J) -> _J:
        new = Check(code, severity, precision, tuple(explains), judge)
        for old in _registered.values():
            same_place = old.judge.__module__ == judge.__module__
            if not same_place and (old.code == code or old.name == new.name):
                raise ValueError(
                    f"{code} {new.name} is already registered as {old.code} {old.name}"
                )
        _registered[code] = new
        return judge

    return register


@lru_cache(maxsize=1)
def all_checks() -> tuple[Check, ...]:
    """Every check of trainguard and of the installed plugins that can be loaded, by code."""
    package = importlib.import_module("trainguard.checks")
    for module in pkgutil.walk_packages(package.__path__, prefix=f"{package.__name__}."):
        importlib.import_module(module.name)
    for plugin in _plugins():
        try:
            plugin.load()
        except Exception as error:  # someone else's module must not take the others away
            reason = f"{type(error).__name__}: {error}"
            _broken_plugins.append(Failure(f"loading the plugin {plugin.name}", reason))
    return tuple(_registered[code] for code in sorted(_registered))


def _plugins() -> Iterable[EntryPoint]:
    # importlib.metadata takes longer to import than all checks together, and few have plugins.
    if not any(_may_have_plugins(Path(place)) for place in sys.path):
        return ()
    from importlib.metadata import entry_points

    return entry_points(group=ENTRY_POINT_GROUP)


def _may_have_plugins(place: Path) -> bool:
    """Whether a distribution in a place of the import path may name checks, by its text alone."""
    group = ENTRY_POINT_GROUP.encode()
    try:
        if not place.is_dir():
            return place.exists()  # an archive, of which only importlib.metadata knows
        files = [file for file in place.glob("*-info/entry_points.txt") if file.is_file()]
        return any(group in file.read_bytes() for file in files)
    except OSError:
        return True  # what cannot be read here, importlib.metadata may know


def plugin_failures() -> tuple[Failure, ...]:
    """The plugins whose checks could not be loaded."""
    all_checks()
    return tuple(_broken_plugins)


class UnknownCheckError(ValueError):
    """A code or name that selects no check; the message offers the nearest."""

    def __init__(self, wanted: str) -> None:
        import difflib  # only here

        words = [word for known in all_checks() for word in (known.name, known.code)]
        near = difflib.get_close_matches(wanted, words, n=1, cutoff=0.5)
        self.nearest = near[0] if near else ""
        hint = f"; did you mean {self.nearest}" if near else "; `trainguard checks` lists them"
        super().__init__(f"no check is called {wanted}{hint}")


def find(wanted: str) -> Check:
    """The check of this code or name; raises UnknownCheckError."""
    for known in all_checks():
        if wanted.upper() == known.code or wanted.lower() == known.name:
            return known
    raise UnknownCheckError(wanted)


def select(chosen: Iterable[str] = (), ignored: Iterable[str] = ()) -> tuple[Check, ...]:
    """The checks that a user asked for.

    Args:
        chosen: code prefixes or names to run; empty means all. TG000, which reports what could
            not be looked at, always belongs to them.
        ignored: code prefixes or names to leave out; wins over `chosen`.

    Raises:
        UnknownCheckError: a word matches no check.
    """
    wanted, unwanted = _all_matching(chosen), _all_matching(ignored)
    return tuple(
        known
        for known in all_checks()
        if (not wanted or known.code in wanted or known.reports_failures)
        and known.code not in unwanted
    )


def _all_matching(words: Iterable[str]) -> set[str]:
    return {code for word in words for code in matching(word)}


def matching(word: str) -> frozenset[str]:
    """The codes of the checks that a code, a prefix of codes or a name selects.

    Raises:
        UnknownCheckError: there is none.
    """
    codes = frozenset(
        known.code
        for known in all_checks()
        if known.code.startswith(word.upper()) or known.name == word.lower()
    )
    if not codes or not word:
        raise UnknownCheckError(word)
    return codes


def _need(name: str, hint: Any) -> Need:
    optional = get_origin(hint) in (Union, types.UnionType)
    if optional:
        hint = next(option for option in get_args(hint) if option is not type(None))
    many = get_origin(hint) is Sequence
    return Need(name, get_args(hint)[0] if many else hint, many, optional)
