"""What a project has set: `[tool.trainguard]` of `pyproject.toml`, or `trainguard.toml`.

```toml
[tool.trainguard]
select = ["TG1", "TG5", "answer-method-replaced"]  # all checks if left out
ignore = ["TG119"]
exclude = ["outputs/archive"]
fail-on = "warning"
baseline = "trainguard-baseline.json"

[tool.trainguard.severity]
diverging-loss = "error"

[tool.trainguard.per-path-ignores]
"tests/*" = ["TG8"]

[tool.trainguard.checks.loss-spike]
factor = 2.0
```

In `trainguard.toml` the tables stand without `tool.trainguard`. Of the folder that is checked and
those above it, the nearest that holds one of the two files decides.
"""

from __future__ import annotations

import logging
import math
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from functools import cached_property
from os.path import commonpath
from pathlib import Path, PurePath
from typing import Any

from trainguard.findings import Finding, Severity, relative_path
from trainguard.registry import Check, UnknownCheckError, find, matching, select
from trainguard.report import FORMATS

FILE = "trainguard.toml"
PYPROJECT = "pyproject.toml"
NEVER = "never"
#: No project sets this much; a larger file is not read.
LARGEST = 2**20


class ConfigError(ValueError):
    """A setting that says nothing; the message names the file, the key and the nearest word."""


@dataclass(frozen=True)
class Settings:
    """What holds for one look, each field under the name of its key."""

    source: Path | None = None
    """The file that was read; None if there is none."""
    select: tuple[str, ...] = ()
    """Codes, code prefixes or names of the checks to run; all if empty."""
    ignore: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    """Patterns of files and folders that are not looked at."""
    fail_on: Severity | None = Severity.ERROR
    """The mildest severity that fails; None never does."""
    output_format: str = "full"
    baseline: Path | None = None
    severity: Mapping[str, Severity] = field(default_factory=dict)
    """By code, code prefix or name; the most exact word decides."""
    per_path_ignores: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    checks: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    """Thresholds by the name of their check."""

    @property
    def root(self) -> Path:
        """The folder that patterns are relative to."""
        return self.source.parent if self.source else Path()

    @cached_property
    def selected(self) -> tuple[Check, ...]:
        """The checks to run, with the severities and thresholds that were set."""
        return tuple(map(self._adjusted, select(self.select, self.ignore)))

    def _adjusted(self, check: Check) -> Check:
        # The longest code is the most exact, a name more exact than any.
        words = sorted(self.severity, key=lambda word: (word == check.name, len(word)))
        forced = [self.severity[word] for word in words if check.code in matching(word)]
        chosen = self.checks.get(check.name, {})
        if not forced and not chosen:
            return check
        return replace(check, forced=forced[-1] if forced else None, chosen=chosen)

    def excused(self, finding: Finding) -> str | None:
        """Why a finding is ignored at its place; None if it counts."""
        for pattern, words in self.per_path_ignores.items():
            is_named = any(finding.code in matching(word) for word in words)
            if is_named and self._covers(pattern, finding.location.path or finding.subject):
                return f"ignored in {pattern} by {self.source.name if self.source else 'settings'}"
        return None

    def ignored_at(self, path: str | Path) -> tuple[str, ...]:
        """The words of the per-path ignores that hold for a path."""
        held = [
            w for p, words in self.per_path_ignores.items() if self._covers(p, path) for w in words
        ]
        return tuple(dict.fromkeys(held))

    def excludes(self, path: str | Path) -> bool:
        """Whether a file or folder is not to be looked at."""
        return any(self._covers(pattern, path) for pattern in self.exclude)

    def _covers(self, pattern: str, path: str | Path) -> bool:
        return covers(pattern, relative_path(str(path), self.root))


def covers(pattern: str, path: str) -> bool:
    """Whether a pattern names a path, its last part, or a folder that it lies in.

    `*` matches any characters, `/` included, `?` one, `[abc]` one of these.

    Args:
        pattern: such as `tests/*`, `outputs/old` or `*.ipynb`; a slash at its end says nothing.
        path: with forward slashes, relative to the settings' folder.
    """
    pattern = pattern.rstrip("/").removeprefix("./")
    place = PurePath(path)
    named = [place, *place.parents]
    return any(
        fnmatchcase(one.as_posix(), pattern) or fnmatchcase(one.name, pattern) for one in named
    )


def discover(paths: Sequence[str | Path] = (), file: Path | None = None) -> Settings:
    """The settings for some paths: of `file`, or of the nearest one at or above all of them.

    Without any the defaults hold. Raises `ConfigError`.
    """
    if file is not None:
        return _read(file)
    top = _common_folder([Path(path) for path in paths if Path(path).exists()])
    for folder in (top, *top.parents):
        for candidate in (folder / FILE, folder / PYPROJECT):
            if candidate.is_file() and (settings := _if_any(candidate)) is not None:
                return settings
    return Settings()


def in_force(chosen: Iterable[str] = (), ignored: Iterable[str] = ()) -> Settings:
    """The settings of the project that is worked in, for what is watched while it runs.

    Settings that cannot be read end no run: the log says so, and the defaults hold.

    Args:
        chosen: codes, code prefixes or names; of these the settings may leave out some.
        ignored: those to leave out besides.

    Raises:
        UnknownCheckError: `chosen` or `ignored` matches no check.
    """
    try:
        own = discover()
    except ConfigError as error:
        logging.getLogger("trainguard").warning("trainguard goes on without settings: %s", error)
        own = Settings()
    wanted = {check.code for check in select(chosen)} & {check.code for check in select(own.select)}
    return replace(own, select=tuple(sorted(wanted)), ignore=(*own.ignore, *ignored))


def _common_folder(paths: Sequence[Path]) -> Path:
    if not paths:
        return Path.cwd()
    folders = [path if path.is_dir() else path.parent for path in map(Path.absolute, paths)]
    try:
        return Path(commonpath(folders))
    except ValueError:  # on different drives
        return Path.cwd()


def _if_any(file: Path) -> Settings | None:
    """The settings of a file; None of a `pyproject.toml` that has no table of ours."""
    if file.name == PYPROJECT and b"trainguard" not in _bytes(file):
        return None  # the file of another tool's project, valid or not, is no business of ours
    table = _table(file)
    return None if table is None else _settings(file, table)


def _read(file: Path) -> Settings:
    table = _table(file)
    if table is None:
        raise ConfigError(f"{file} has no [tool.trainguard]")
    return _settings(file, table)


def _bytes(file: Path) -> bytes:
    try:
        with file.open("rb") as stream:
            data = stream.read(LARGEST + 1)
    except OSError as error:
        raise ConfigError(f"{file} cannot be read: {error.strerror}") from None
    if len(data) > LARGEST:
        raise ConfigError(f"{file} has more than {LARGEST} bytes")
    return data


def _table(file: Path) -> Mapping[str, Any] | None:
    try:
        whole = tomllib.loads(_bytes(file).decode())
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{file} is no TOML: {error}") from None
    if file.name != PYPROJECT:
        return whole
    tool = whole.get("tool")
    table = tool.get("trainguard") if isinstance(tool, dict) else None
    if table is not None and not isinstance(table, dict):
        raise ConfigError(f"{file}: tool.trainguard is no table")
    return table


def _settings(file: Path, table: Mapping[str, Any]) -> Settings:
    values = {}
    for key, value in table.items():
        if key not in _READERS:
            raise ConfigError(f"{file}: there is no setting {key!r}{nearest(key, _READERS)}")
        try:
            values[key.replace("-", "_")] = _READERS[key](value)
        except (ValueError, UnknownCheckError) as error:
            raise ConfigError(f"{file}: {key}: {error}") from None
    settings = Settings(source=file, **values)
    if settings.baseline is not None:
        return replace(settings, baseline=settings.root / settings.baseline)
    return settings


def nearest(word: str, known: Iterable[str]) -> str:
    """`; did you mean X`, or what there is."""
    import difflib  # only here

    names = sorted(known)
    near = difflib.get_close_matches(word, names, n=1)
    return f"; did you mean {near[0]}" if near else f"; there are {', '.join(names)}"


def _texts(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(one, str) and one for one in value):
        raise ValueError(f"{value!r} is no list of words")
    return tuple(value)


def _words(value: Any) -> tuple[str, ...]:
    words = _texts(value)
    for word in words:
        matching(word)
    return words


def _path(value: Any) -> Path:
    if not isinstance(value, str) or not value:
        raise ValueError(f"{value!r} is no path")
    return Path(value)


def _one_of(value: Any, known: Iterable[str]) -> str:
    known = list(known)
    if value not in known:
        raise ValueError(f"{value!r} is none of {', '.join(known)}")
    return str(value)


def _fail_on(value: Any) -> Severity | None:
    word = _one_of(value, [*Severity, NEVER])
    return None if word == NEVER else Severity(word)


def _output_format(value: Any) -> str:
    return _one_of(value, FORMATS)


def _items(value: Any) -> Iterator[tuple[str, Any]]:
    if not isinstance(value, dict):
        raise ValueError(f"{value!r} is no table")
    yield from value.items()


def _severities(value: Any) -> dict[str, Severity]:
    severities = {}
    for word, severity in _items(value):
        matching(word)
        severities[word] = Severity(_one_of(severity, Severity))
    return severities


def _per_path_ignores(value: Any) -> dict[str, tuple[str, ...]]:
    return {pattern: _words(words) for pattern, words in _items(value)}


def _thresholds(value: Any) -> dict[str, dict[str, float]]:
    found = {}
    for word, numbers in _items(value):
        check = find(word)
        found[check.name] = dict(_threshold(check, name, n) for name, n in _items(numbers))
    return found


def _threshold(check: Check, name: str, value: Any) -> tuple[str, float]:
    key = name.replace("-", "_")
    if not check.thresholds:
        raise ValueError(f"{check.name} has no threshold")
    if key not in check.thresholds:
        raise ValueError(f"{check.name} has no threshold {name!r}{nearest(key, check.thresholds)}")
    is_count = isinstance(check.thresholds[key], int)
    is_right = isinstance(value, int if is_count else int | float) and not isinstance(value, bool)
    if not is_right or not 0 < value < math.inf:
        wanted = "a positive integer" if is_count else "a positive number"
        raise ValueError(f"{check.name}.{name} is {value!r}; it is {wanted}")
    return key, value


_READERS: dict[str, Callable[[Any], Any]] = {
    "select": _words,
    "ignore": _words,
    "exclude": _texts,
    "fail-on": _fail_on,
    "output-format": _output_format,
    "baseline": _path,
    "severity": _severities,
    "per-path-ignores": _per_path_ignores,
    "checks": _thresholds,
}
