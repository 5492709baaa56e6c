"""Which checks run in a pytest session or test, and what fails it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import pytest

from trainguard.diagnosis import explain
from trainguard.findings import Report, Severity
from trainguard.registry import Check, UnknownCheckError, select

_NEVER = "never"
_ARGUMENTS = ("select", "ignore", "fail_on")


@dataclass(frozen=True, slots=True)
class Settings:
    """What options and markers say. This is the one place where checks are selected."""

    chosen: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()
    fail_on: Severity | None = Severity.ERROR

    def checks(self) -> tuple[Check, ...]:
        """The checks to run; raises UnknownCheckError."""
        return select(self.chosen, self.ignored)

    def applied(self, report: Report) -> Report:
        """A report of all checks as if only the chosen ones had run."""
        checks = {one.code: one for one in self.checks()}
        return replace(
            report,
            findings=explain(
                [one for one in report.findings if one.code in checks],
                {code: one.explains for code, one in checks.items()},
            ),
            checked=tuple(code for code in report.checked if code in checks),
            not_checked=tuple(one for one in report.not_checked if one.code in checks),
            fail_on=self.fail_on,
        )


def session_settings(config: pytest.Config) -> Settings:
    """What the options say; raises UsageError on a word that names no check."""
    settings = Settings(
        _words(config.getoption("trainguard_select")),
        _words(config.getoption("trainguard_ignore")),
        _severity(config.getoption("trainguard_fail_on")),
    )
    try:
        settings.checks()
    except UnknownCheckError as error:
        raise pytest.UsageError(f"--trainguard-select or -ignore: {error}") from None
    return settings


def test_settings(node: pytest.Item) -> Settings:
    """What the options and the markers of a test say: the nearest `select` and `fail_on`, and
    every `ignore`.
    """
    settings = session_settings(node.config)
    for mark in reversed(list(node.iter_markers("trainguard"))):
        _demand_known(mark.args, mark.kwargs, node.nodeid)
        settings = Settings(
            _words(mark.kwargs.get("select", ())) or settings.chosen,
            settings.ignored + _words(mark.kwargs.get("ignore", ())),
            _severity(mark.kwargs["fail_on"]) if "fail_on" in mark.kwargs else settings.fail_on,
        )
    try:
        settings.checks()
    except UnknownCheckError as error:
        raise pytest.UsageError(f"the marker trainguard of {node.nodeid}: {error}") from None
    return settings


test_settings.__test__ = False  # type: ignore[attr-defined]


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
