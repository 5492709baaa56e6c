"""From a report to the page that draws its runs: their records are read once more."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from trainguard.facts.layers import LayerStep
from trainguard.facts.run import Run
from trainguard.facts.steps import StepFacts
from trainguard.findings import Report
from trainguard.gather.run import PAGE_FILE, STEPS_FILE, run_evidence, run_record

#: Bytes of a live record up to which a page is written of all of it when a run ends.
READ_AT_ONCE = 32 * 2**20


def runs_of(report: Report) -> list[Run]:
    """The training runs among the report's subjects, as far as their records can be read.

    Args:
        report: of files, or of a live run that left a record in its output folder.
    """
    return list(_runs(report))


def _runs(report: Report) -> Iterator[Run]:
    names = [one.name for one in report.subjects if one.kind == "training run"]
    for name in dict.fromkeys(names):
        try:
            place = Path(name)
            record = run_record(place) if place.is_dir() else place
        except (OSError, ValueError):  # it is gone by now, or never was a path
            continue
        if record is not None and record.is_file():
            yield _read(name, record)


def _read(name: str, record: Path) -> Run:
    facts = run_evidence(record, name).facts
    return Run(name=name, steps=facts.get(StepFacts, ()), layers=facts.get(LayerStep, ()))


def write_page(report: Report, folder: Path, recent: Sequence[StepFacts]) -> None:
    """Leave the page of one live run beside its record.

    Args:
        report: of the run.
        folder: where the record lies.
        recent: its last steps, which are drawn if the record is too long to be read in passing.

    Raises:
        OSError: the page cannot be written.
    """
    from trainguard.report.html import render

    record = folder / STEPS_FILE
    name = next((one.name for one in report.subjects), "")
    is_short = record.stat().st_size <= READ_AT_ONCE
    run = _read(name, record) if is_short else Run(name=name, steps=recent)
    (folder / PAGE_FILE).write_text(render(report, [run]), encoding="utf-8")
