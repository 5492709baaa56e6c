"""Output formats, one small module each, and the one function that picks among them."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import Any

from trainguard.findings import Report

FORMATS = (
    "full",
    "concise",
    "json",
    "jsonl",
    "sarif",
    "junit",
    "github",
    "gitlab",
    "markdown",
    "html",
)
"""Every name that `render` knows, those for people at a terminal first."""

MACHINE_FORMATS = frozenset({"json", "jsonl", "sarif", "junit", "github", "gitlab"})
"""Formats that a program reads: nothing else may stand on the stream that they go to."""


class UnknownFormatError(ValueError):
    """A name that is no format; the message offers the nearest."""

    def __init__(self, wanted: str) -> None:
        import difflib  # only here

        near = difflib.get_close_matches(wanted, FORMATS, n=1, cutoff=0.4)
        hint = f"did you mean {near[0]}" if near else f"the formats are {', '.join(FORMATS)}"
        super().__init__(f"no output format is called {wanted!r}; {hint}")


def render(
    report: Report,
    style: str,
    *,
    colour: bool = False,
    verbose: bool = False,
    runs: Sequence[Any] = (),
) -> str:
    """The report as text that ends with a newline; no file is written.

    Only the module of the wanted format is imported.

    Args:
        report: what was found.
        style: one of `FORMATS`.
        colour: whether to use terminal colours; `full` alone has them.
        verbose: whether `full` says why each check was not run; the others always do.
        runs: what was recorded of the runs, whose curves `html` draws; nothing else needs it.

    Raises:
        UnknownFormatError: `style` is no format.
    """
    if style not in FORMATS:
        raise UnknownFormatError(style)
    if style in ("full", "concise"):
        from trainguard.report import text

        if style == "concise":
            return text.concise(report)
        return text.full(report, colour=colour, verbose=verbose)
    module = import_module(f"trainguard.report.{style}")
    rendered: str = module.render(report, runs=runs) if style == "html" else module.render(report)
    return rendered
