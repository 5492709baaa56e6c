"""A split by question: every wording of a question is on one side."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from trainguard import Report, check

UNITS = [("kg", "gram", 1000), ("km", "metre", 1000), ("hour", "minute", 60), ("day", "hour", 24)]


def rows(count: int) -> list[tuple[str, str]]:
    made = []
    for number in range(2, 2 + count):
        big, small, factor = UNITS[number % len(UNITS)]
        answer = str(number * factor)
        made.append((f"How many {small} are there per {number} {big}?", answer))
        made.append((f"How many {small} are there per {number} {big}, please?", answer))
    return made


def split(folder: Path) -> Report:
    made = rows(80)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "train.json").write_text(json.dumps(made[:120]))
    (folder / "valid.json").write_text(json.dumps(made[120:]))
    return check(folder)


if __name__ == "__main__":
    report = split(Path(sys.argv[1] if len(sys.argv) > 1 else "example-output") / "data")
    print([cause.code for cause in report.causes])
    sys.exit(report.exit_code)
