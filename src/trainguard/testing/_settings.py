"""Which checks run in a pytest session or test, and what fails it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import pytest

from trainguard.config import ConfigError, Settings, discover
from trainguard.diagnosis import explain
from trainguard.findings import Report, Severity
from trainguard.registry import UnknownCheckError

_NEVER = "never"
_ARGUMENTS = ("select", "ignore", "fail_on")


def session_settings(config: pytest.Config) -> Settings:
    """What the project has set, as the options change it.

    Raises UsageError on a word that names no check, and on settings that cannot be read.
    """
    try:
        own = discover([config.rootpath])
    except ConfigError as error:
        raise pytest.UsageError(f"trainguard: {error}") from None
    fail_on = config.getoption("trainguard_fail_on")
    settings = replace(
        own,
        select=_words(config.getoption("trainguard_select")) or own.select,
        ignore=(*own.ignore, *_words(config.getoption("trainguard_ignore"))),
        fail_on=own.fail_on if fail_on is None else _severity(fail_on),
    )
    return _known(settings, "--trainguard-select or -ignore")


def applied(settings: Settings, report: Report) -> Report:
    """A report of all checks as if only those of the settings had run."""
    checks = {one.code: one for one in settings.selected}
    counts = [
        one for one in report.findings if one.code in checks and settings.excused(one) is None
    ]
    return replace(
        report,
        findings=explain(counts, {code: one.explains for code, one in checks.items()}),
        checked=tuple(code for code in report.checked if code in checks),
        not_checked=tuple(one for one in report.not_checked if one.code in checks),
        fail_on=settings.fail_on,
    )


def test_settings(node: pytest.Item) -> Settings:
    """What the options and the markers of a test say: the nearest `select` and `fail_on`, and
    every `ignore`.
    """
    settings = session_settings(node.config)
    for mark in reversed(list(node.iter_markers("trainguard"))):
        _demand_known(mark.args, mark.kwargs, node.nodeid)
        said = mark.kwargs
        settings = replace(
            settings,
            select=_words(said.get("select", ())) or settings.select,
            ignore=(*settings.ignore, *_words(said.get("ignore", ()))),
            fail_on=_severity(said["fail_on"]) if "fail_on" in said else settings.fail_on,
        )
    return _known(settings, f"the marker trainguard of {node.nodeid}")


test_settings.__test__ = False  # type: ignore[attr-defined]


def _known(settings: Settings, where: str) -> Settings:
    """The settings themselves, if every word in them names a check."""
    try:
        settings.selected  # noqa: B018
    except UnknownCheckError as error:
        raise pytest.UsageError(f"{where}: {error}") from None
    return settings


def _demand_known(args: tuple[Any, ...], arguments: Mapping[str, Any], nodeid: str) -> None:
    unknown = [*map(repr, args), *(name for name in arguments if name not in _ARGUMENTS)]
    if unknown:
        raise pytest.UsageError(
            f"the marker trainguard of {nodeid} has an argument {unknown[0]}; it takes "
            f"{', '.join(_ARGUMENTS)}"
        )


def _words(given: str | Iterable[str]) -> tuple[str, ...]:
    texts = [given] if isinstance(given, str) else given
    return tuple(word.strip() for text in texts for word in text.split(",") if word.strip())


def _severity(word: str | Severity) -> Severity | None:
    try:
        return None if word == _NEVER else Severity(word)
    except ValueError:
        raise pytest.UsageError(
            f"fail_on is {word!r}; use 'error', 'warning', 'info' or 'never'"
        ) from None
