"""`trainguard audit`: is a benchmark's score the model's?"""

from __future__ import annotations

import sys
from pathlib import Path

import click

from trainguard.cli.output import Wishes, output_options, print_report


@click.command()
@click.argument("factory", metavar="MODULE:FACTORY")
@click.option(
    "--data",
    required=True,
    type=click.Path(exists=True, path_type=Path),
    metavar="FILE",
    help="Questions and expected answers: json, jsonl, csv, parquet.",
)
@click.option(
    "--train",
    type=click.Path(exists=True, path_type=Path),
    metavar="FILE",
    help="The training rows, to tell seen questions from new ones.",
)
@click.option("--method", default="answer", show_default=True, help="The method that answers.")
@click.option(
    "--limit",
    type=click.IntRange(min=4),
    default=100,
    show_default=True,
    help="Questions of the evaluation, from the top of the file.",
)
@click.option(
    "--rows",
    type=click.IntRange(min=4),
    default=32,
    show_default=True,
    help="Questions that are asked again, at most.",
)
@click.option(
    "--batch",
    type=click.IntRange(min=0),
    default=0,
    help="Questions in one call of the method; 0 asks them all at once.",
)
@click.option("--correct", default="", metavar="MODULE:NAME", help="Compares two answers.")
@click.option("--parse", default="", metavar="MODULE:NAME", help="Reads an answer from a text.")
@click.option(
    "--oracle", default="", metavar="REASON", help="Why the object may know its references."
)
@output_options
def audit(
    factory: str,
    data: Path,
    train: Path | None,
    method: str,
    limit: int,
    rows: int,
    batch: int,
    correct: str,
    parse: str,
    oracle: str,
    wishes: Wishes,
) -> None:
    """Ask MODULE:FACTORY the questions of a file and tell whether the model answers them.

    MODULE:FACTORY is imported from the working directory and called without arguments; what it
    returns has a method that takes questions and returns as many answers. This runs your code.

    \b
    Exit status: 0 no error found, 1 errors, 2 usage error or no way to ask.
    """
    from trainguard.integrations.audited import AuditError, Plan
    from trainguard.integrations.audited import audit as run

    plan = Plan(
        factory=factory,
        data=data,
        train=train,
        method=method,
        limit=limit,
        rows=rows,
        batch=batch,
        correct=correct,
        parse=parse,
        oracle=oracle,
    )
    try:
        report = run(plan)
    except AuditError as error:
        raise click.UsageError(str(error)) from None
    print_report(report, wishes)
    sys.exit(report.exit_code)
