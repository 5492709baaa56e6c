"""The command line: each command has a file."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from trainguard import __version__
from trainguard.cli.about import checks, completion, config, explain
from trainguard.cli.audit import audit
from trainguard.cli.check import check
from trainguard.cli.new import new
from trainguard.cli.output import has_colour
from trainguard.cli.reference import benchmark, datagen, generate, train


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, "-V", "--version", message="trainguard %(version)s")
def main() -> None:
    """The linter for model training.

    It tells why a run is not learning, or why a score is too good to be true.
    """


@main.command()
@click.argument("a", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument("b", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option(
    "--output-format",
    "style",
    type=click.Choice(["full", "json"]),
    default="full",
    show_default=True,
)
def diff(a: Path, b: Path, style: str) -> None:
    """Compare two adapters or checkpoints: configs, tensors and their values.

    The distance of two tensors is the norm of their difference by the larger of their norms.

    \b
    Exit status: 0 identical, 1 different, 2 usage error or unreadable files.
    """
    from trainguard.gather.diff import UNREADABLE, compare
    from trainguard.report.diff import as_json, as_text

    try:
        found = compare(a, b)
    except UNREADABLE as error:
        raise click.UsageError(str(error)) from None
    click.echo(as_json(found) if style == "json" else as_text(found), nl=False)
    sys.exit(0 if found.identical else 1)


@main.command()
@click.option(
    "--folder",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("demo"),
    show_default=True,
    help="Where the runs and adapters are left.",
)
def demo(folder: Path) -> None:
    """Train a tiny model four ways, three of them sabotaged, and diagnose each."""
    try:
        from trainguard.reference.demo import run_demo
    except ImportError as error:
        raise click.ClickException(
            f"the demo trains a model and needs {error.name}: pip install 'trainguard[train]'"
        ) from None
    sys.exit(run_demo(folder, colour=has_colour(sys.stdout)))


for command in (check, diff, audit, explain, checks, config, completion, new):
    main.add_command(command)
for command in (datagen, train, benchmark, generate, demo):
    main.add_command(command)
