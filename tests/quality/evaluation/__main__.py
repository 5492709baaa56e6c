"""The matrix as a table: `python -m tests.quality.evaluation`."""

from __future__ import annotations

import logging
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from quality.evaluation.fakes import FAKES
from quality.evaluation.honest import HONEST
from quality.evaluation.ways import asked_honestly, faked
from quality.faked_scores import Told, trained


def main() -> None:
    logging.disable(logging.WARNING)
    named = quiet = 0
    with tempfile.TemporaryDirectory() as name:
        original = trained(Path(name))
        for title, fake in sorted(FAKES.items()):
            found = faked(original, fake, Path(tempfile.mkdtemp(dir=name)))
            is_named = bool(fake.cause) and found.errors[:1] == [fake.cause]
            named += is_named
            print("named " if is_named else "MISSED", _row(title, found), flush=True)
    for title, change in sorted(HONEST.items()):
        found = asked_honestly(original, change)
        quiet += not found.errors
        print("ALARM " if found.errors else "quiet ", _row(title, found), flush=True)
    print(f"{named} of {len(FAKES)} fakes named, {quiet} of {len(HONEST)} honest set-ups quiet")


def _row(title: str, found: Told) -> str:
    causes = " ".join(f"{cause.code} {cause.severity.value}" for cause in found.report.causes)
    proofs = sorted({one.code for one in found.report.findings if one.explained_by})
    return f"{title:<30}{found.accuracy:.2f}  {causes or '-':<12}  {' '.join(proofs)}".rstrip()


if __name__ == "__main__":
    main()
