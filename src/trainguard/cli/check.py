"""`trainguard check`: everything of a training at or under some paths."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from trainguard.cli.output import Wishes, output_options, print_report
from trainguard.cli.selection import CheckWord, split
from trainguard.findings import Report, Severity

if TYPE_CHECKING:
    from trainguard.baseline import Baseline, Entry
    from trainguard.config import Settings
    from trainguard.facts.intent import Purpose, Target

_file = click.Path(dir_okay=False, path_type=Path)


@click.command()
@click.argument("paths", nargs=-1, metavar="[PATH]...", type=click.Path())
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
@click.option(
    "--select",
    "chosen",
    multiple=True,
    type=CheckWord(many=True),
    metavar="CODES",
    help="Checks to run, instead of those that the settings name.",
)
@click.option(
    "--ignore",
    "ignored",
    multiple=True,
    type=CheckWord(many=True),
    metavar="CODES",
    help="Checks to leave out, besides those that the settings name.",
)
@click.option(
    "--fail-on",
    type=click.Choice(["error", "warning", "info", "never"]),
    help="The mildest severity that gives exit status 1.  [default: error]",
)
@click.option(
    "--config",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Settings, instead of the nearest trainguard.toml or pyproject.toml.",
)
@click.option("--isolated", is_flag=True, help="Look for no settings and no baseline.")
@click.option(
    "--baseline",
    "file",
    type=_file,
    metavar="FILE",
    help="Findings that are accepted.  [default: trainguard-baseline.json, if there is one]",
)
@click.option("--update-baseline", is_flag=True, help="Accept what is found now, write FILE.")
@click.option("--prune-baseline", is_flag=True, help="Take out of FILE what is no longer found.")
@click.option("--statistics", is_flag=True, help="Count the findings of each check instead.")
@click.option(
    "--stdin-filename",
    metavar="NAME",
    help="What standard input is: train.py, adapter_config.json, trainer_state.json, run.log.",
)
@click.option(
    "--notify", metavar="URL|COMMAND", help="Who is told of an error: a webhook or a command."
)
@output_options
def check(
    paths: tuple[str, ...],
    purpose: Purpose | None,
    target: Target | None,
    base: Path | None,
    against: tuple[Path, ...],
    chosen: tuple[str, ...],
    ignored: tuple[str, ...],
    fail_on: str | None,
    config: Path | None,
    isolated: bool,
    file: Path | None,
    update_baseline: bool,
    prune_baseline: bool,
    statistics: bool,
    stdin_filename: str | None,
    notify: str | None,
    wishes: Wishes,
) -> None:
    """Check everything of a training at or under PATH (default: here).

    Recognised are adapters, checkpoints, models, training runs, logs, data sets (train, valid and
    test files) and Python source. PATH may be one file; - reads a log, a script or a config from
    standard input.

    CODES are codes, prefixes of codes or names, separated by commas.

    \b
    Exit status: 0 clean, 1 findings at or above --fail-on,
                 2 usage or internal error, 3 nothing was recognised to check.
    """
    from trainguard.baseline import NAME, BaselineError
    from trainguard.config import ConfigError, Settings, discover
    from trainguard.integrations.files import check as check_files
    from trainguard.registry import UnknownCheckError

    try:
        found = Settings() if isolated else discover(paths, config)
        settings = _with_options(found, split(chosen), split(ignored), fail_on)
        baseline = _Accepted(
            file or settings.baseline or settings.root / NAME,
            is_named=bool(file or settings.baseline),
            update=update_baseline,
            prune=prune_baseline,
            isolated=isolated,
        )
        report = check_files(
            *paths,
            purpose=purpose,
            target=target,
            base=base,
            against=against,
            settings=settings,
            baseline=baseline.read(),
            stdin_name=stdin_filename,
        )
    except (FileNotFoundError, UnknownCheckError, ConfigError, BaselineError) as error:
        raise click.UsageError(str(error)) from None
    report = baseline.settled(report, paths or (".",))
    if statistics:
        _print_statistics(report, wishes)
    else:
        print_report(report, wishes, settings.output_format)
    if notify is not None:
        _tell(notify, report)
    sys.exit(report.exit_code)


def _with_options(
    settings: Settings, chosen: tuple[str, ...], ignored: tuple[str, ...], fail_on: str | None
) -> Settings:
    changed = replace(
        settings, select=chosen or settings.select, ignore=(*settings.ignore, *ignored)
    )
    if fail_on is None:
        return changed
    return replace(changed, fail_on=None if fail_on == "never" else Severity(fail_on))


@dataclass
class _Accepted:
    """The baseline of one call, and what is to be done with it."""

    file: Path
    is_named: bool
    update: bool
    prune: bool
    isolated: bool
    baseline: Baseline | None = None

    def read(self) -> Baseline | None:
        """The baseline, None if there is none; raises BaselineError."""
        from trainguard.baseline import BaselineError, read

        exists = self.file.exists()
        if not exists and not self.update and (self.is_named or self.prune):
            raise BaselineError(f"{self.file} does not exist; --update-baseline writes it")
        if self.update or (exists and (self.is_named or not self.isolated)):
            self.baseline = read(self.file)
        return self.baseline

    def settled(self, report: Report, paths: Sequence[str]) -> Report:
        """Write the baseline anew if that is wanted; the report as it is with it."""
        if self.baseline is None:
            return report
        stale = self.baseline.stale(report, paths)
        if not self.update and not self.prune:
            notes = (_stale_note(self.baseline, stale),) if stale else ()
            return replace(report, notes=(*report.notes, *notes))
        left = self.baseline.without(stale)
        if self.update:
            left = left.accepting(report.findings)
            report = replace(report, findings=(), known=(*report.known, *report.findings))
        try:
            left.write()
        except OSError as error:
            raise click.UsageError(f"{self.file} cannot be written: {error.strerror}") from None
        said = f"{self.file}: {len(left.entries)} accepted, {len(stale)} that are gone taken out"
        return replace(report, notes=(*report.notes, said))


def _stale_note(baseline: Baseline, stale: Sequence[Entry]) -> str:
    codes = ", ".join(sorted({entry.code for entry in stale}))
    return (
        f"{baseline.file}: {len(stale)} accepted and no longer found ({codes}); "
        "--prune-baseline takes that out"
    )


def _print_statistics(report: Report, wishes: Wishes) -> None:
    from trainguard.report import statistics

    is_json = wishes.style == "json"
    click.echo(statistics.as_json(report) if is_json else statistics.text(report), nl=False)


def _tell(notify: str, report: Report) -> None:
    from trainguard.integrations.notify import Notifier, from_text

    try:
        notifier = Notifier(from_text(notify))
    except ValueError as error:
        raise click.UsageError(f"--notify: it is {error}") from None
    notifier.announce(report)
    notifier.end(report)
