"""Reports as the commands print them."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from trainguard.findings import Report


def print_report(report: Report, style: str, output: Path | None, *, verbose: bool) -> None:
    """Print a report, or write it to a file, in one of the formats."""
    colour = output is None and has_colour(sys.stdout)
    text = _render(report, style, colour=colour, verbose=verbose)
    if output is None:
        click.echo(text, nl=False, color=colour)
    else:
        output.write_text(text, encoding="utf-8")


def _render(report: Report, style: str, *, colour: bool, verbose: bool) -> str:
    if style == "json":
        from trainguard.report.json import render

        return render(report)
    from trainguard.report import text

    if style == "concise":
        return text.concise(report)
    return text.full(report, colour=colour, verbose=verbose)


def has_colour(stream: object) -> bool:
    """Colours on a terminal only; NO_COLOR and FORCE_COLOR decide before that."""
    if os.environ.get("NO_COLOR"):
        return False
    if os.environ.get("FORCE_COLOR"):
        return True
    return bool(getattr(stream, "isatty", lambda: False)())
