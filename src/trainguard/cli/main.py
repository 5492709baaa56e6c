"""`trainguard check`, `diff`, `explain`, `checks`, `demo`; other commands have files."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from trainguard import __version__
from trainguard.cli.audit import audit
from trainguard.cli.new import new
from trainguard.cli.output import has_colour, print_report
from trainguard.cli.reference import benchmark, datagen, generate, train
from trainguard.findings import Severity

if TYPE_CHECKING:
    from trainguard.facts.intent import Purpose, Target


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, "-V", "--version", message="trainguard %(version)s")
def main() -> None:
    """The linter for model training.

    It tells why a run is not learning, or why a score is too good to be true.
    """


@main.command()
@click.argument("paths", nargs=-1, metavar="[PATH]...")
@click.option(
    "--for",
    "purpose",
    type=click.Choice(["train", "infer"]),
    help="What the files are about to be used for.",
)
@click.option(
    "--target",
    type=click.Choice(["peft", "transformers", "vllm", "llamacpp", "sglang"]),
    help="The program that is to load an adapter.",
)
@click.option(
    "--base",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    metavar="DIR",
    help="The base model's folder, to compare adapters with.",
)
@click.option(
    "--against",
    multiple=True,
    type=click.Path(exists=True, path_type=Path),
    metavar="FILE",
    help="A data file that is held out for evaluation, to compare data sets with.",
)
@click.option("--select", "chosen", multiple=True, metavar="CODES", help="Checks to run.")
@click.option("--ignore", "ignored", multiple=True, metavar="CODES", help="Checks to leave out.")
@click.option(
    "--fail-on",
    type=click.Choice(["error", "warning", "never"]),
    default="error",
    show_default=True,
    help="The mildest severity that gives exit status 1.",
)
@click.option(
    "--output-format",
    "style",
    type=click.Choice(["full", "concise", "json"]),
    default="full",
    show_default=True,
)
@click.option("-o", "--output", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE")
@click.option("-v", "--verbose", is_flag=True, help="Say why each check was not run.")
def check(
    paths: tuple[str, ...],
    purpose: Purpose | None,
    target: Target | None,
    base: Path | None,
    against: tuple[Path, ...],
    chosen: tuple[str, ...],
    ignored: tuple[str, ...],
    fail_on: str,
    style: str,
    output: Path | None,
    verbose: bool,
) -> None:
    """Check everything of a training at or under PATH (default: here).

    Recognised are adapters, checkpoints, models, training runs, logs, data sets (train, valid and
    test files) and Python source. PATH may be one file; - reads a log from standard input.

    CODES are codes, prefixes of codes or names, separated by commas.

    \b
    Exit status: 0 clean, 1 findings at or above --fail-on,
                 2 usage or internal error, 3 nothing was recognised to check.
    """
    from trainguard.integrations.files import check as check_files
    from trainguard.registry import UnknownCheckError

    try:
        report = check_files(
            *paths,
            purpose=purpose,
            target=target,
            base=base,
            against=against,
            chosen=_split(chosen),
            ignored=_split(ignored),
            fail_on=None if fail_on == "never" else Severity(fail_on),
        )
    except (FileNotFoundError, UnknownCheckError) as error:
        raise click.UsageError(str(error)) from None
    print_report(report, style, output, verbose=verbose)
    sys.exit(report.exit_code)


for command in (audit, datagen, train, benchmark, generate, new):
    main.add_command(command)


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
@click.argument("wanted", metavar="CODE|NAME")
def explain(wanted: str) -> None:
    """Print the documentation of one check."""
    from trainguard.registry import UnknownCheckError, find

    try:
        found = find(wanted)
    except UnknownCheckError as error:
        raise click.UsageError(str(error)) from None
    click.echo(f"# {found.code} {found.name} ({found.severity}, {found.precision})\n")
    click.echo(found.doc)
    if found.explains:
        names = ", ".join(f"{code} {find(code).name}" for code in found.explains)
        click.echo(f"\nExplains: {names}")


@main.command()
def checks() -> None:
    """List every check."""
    from trainguard.registry import all_checks

    width = max(len(known.name) for known in all_checks())
    for known in all_checks():
        click.echo(f"{known.code}  {known.name:<{width}}  {known.severity:<7}  {known.summary}")


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


def _split(words: tuple[str, ...]) -> list[str]:
    return [code.strip() for word in words for code in word.split(",") if code.strip()]
