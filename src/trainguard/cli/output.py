"""Reports as the commands print and write them."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from trainguard.report import FORMATS, render

if TYPE_CHECKING:
    from trainguard.findings import Report

_SUFFIXES = {
    ".sarif": "sarif",
    ".html": "html",
    ".md": "markdown",
    ".json": "json",
    ".jsonl": "jsonl",
    ".xml": "junit",
}
"""What a file is written as if nothing else is said."""


@dataclass(frozen=True)
class Wishes:
    """What a user says about the output."""

    style: str | None = None
    """One of `FORMATS`; None if the user has not said."""
    files: tuple[str, ...] = ()
    """`FILE`, which takes the place of the terminal, or `FORMAT:FILE`, which does not."""
    colour: bool | None = None
    """None decides by the terminal and the environment."""
    verbose: bool = False


def output_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options of a command that prints a report; they come as one argument, `wishes`."""
    import functools

    @functools.wraps(command)
    def gathered(
        *args: Any,
        style: str | None,
        files: tuple[str, ...],
        color: str,
        verbose: bool,
        **options: Any,
    ) -> Any:
        colour = {"always": True, "never": False}.get(color)
        return command(*args, wishes=Wishes(style, files, colour, verbose), **options)

    for option in (
        click.option("-v", "--verbose", is_flag=True, help="Say why each check was not run."),
        click.option(
            "--color",
            type=click.Choice(["auto", "always", "never"]),
            default="auto",
            help="Colours; auto asks NO_COLOR, FORCE_COLOR and the terminal.",
        ),
        click.option(
            "-o",
            "--output",
            "files",
            multiple=True,
            metavar="[FORMAT:]FILE",
            help="Write a file: FILE instead of the terminal, FORMAT:FILE beside it. Repeatable.",
        ),
        click.option(
            "--output-format",
            "style",
            type=click.Choice(FORMATS),
            help="Of the terminal, and of FILE if its suffix says nothing.  [default: full]",
        ),
    ):
        gathered = option(gathered)
    return gathered


def print_report(report: Report, wishes: Wishes = Wishes(), default: str = "full") -> None:
    """Print a report and write it to files.

    Args:
        report: what was found.
        wishes: what the user says.
        default: the format where the user says none.
    """
    beside, instead = [], []
    for wanted in wishes.files:
        style, _, name = wanted.partition(":")
        if style in FORMATS and name:
            beside.append((style, Path(name)))
        else:
            path = Path(wanted)
            instead.append((wishes.style or _SUFFIXES.get(path.suffix.lower(), default), path))
    for style, path in (*instead, *beside):
        _write(path, _rendered(report, style, colour=False, verbose=wishes.verbose))
    if not instead:
        colour = has_colour(sys.stdout) if wishes.colour is None else wishes.colour
        style = wishes.style or default
        text = _rendered(report, style, colour=colour, verbose=wishes.verbose)
        click.echo(text, nl=False, color=colour)


def _rendered(report: Report, style: str, *, colour: bool, verbose: bool) -> str:
    runs: Iterable[Any] = ()
    if style == "html":
        from trainguard.integrations.run_pages import runs_of

        runs = runs_of(report)
    return render(report, style, colour=colour, verbose=verbose, runs=tuple(runs))


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise click.UsageError(f"{path} cannot be written: {error.strerror}") from None


def has_colour(stream: object) -> bool:
    """Colours on a terminal only; NO_COLOR and FORCE_COLOR decide before that."""
    if os.environ.get("NO_COLOR"):
        return False
    if os.environ.get("FORCE_COLOR"):
        return True
    return bool(getattr(stream, "isatty", lambda: False)())
