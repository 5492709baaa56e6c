"""False alarms and speed of the source checks over large installed libraries.

    python benchmarks/source_scan.py [PACKAGE ...]

Every file counts, tests and examples too, which `trainguard check` leaves out. Lines per second
are lines of text by CPU time of reading, parsing and judging.
"""

from __future__ import annotations

import importlib.util
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from trainguard.engine import judge
from trainguard.findings import Finding, Severity
from trainguard.gather.source import source_evidence
from trainguard.registry import select

PACKAGES = ("transformers", "peft", "trl", "accelerate", "datasets", "torch")
SHOWN = 12


def files_of(package: str) -> list[Path]:
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        return []
    return sorted(Path(spec.origin).parent.rglob("*.py"))


def findings_of(package: str, counted: Counter[str]) -> Iterator[Finding]:
    """Package by package, as one project each."""
    files = files_of(package)
    start = time.process_time()
    report = judge(source_evidence(files, Path(package)), select(["TG8"]))
    counted["seconds"] += time.process_time() - start
    lines = sum(file.read_bytes().count(b"\n") for file in files)
    counted["lines"] += lines
    counted["files"] += len(files)
    print(f"{package:<14} {len(files):6} files {lines:9} lines")
    yield from report.findings


def main(packages: list[str]) -> int:
    counted: Counter[str] = Counter()
    found = [one for package in packages for one in findings_of(package, counted)]
    rate = counted["lines"] / counted["seconds"]
    print(f"{counted['lines']} lines of {counted['files']} files: {rate:,.0f} lines a CPU second")
    for (code, severity), number in sorted(Counter((f.code, f.severity) for f in found).items()):
        print(f"  {code} {severity.value}: {number}")
    for finding in found[:SHOWN]:
        print(
            f"    {finding.location.path}:{finding.location.line} {finding.code} {finding.message}"
        )
    errors = sum(one.severity is Severity.ERROR for one in found)
    print(f"errors: {errors}")
    return 1 if errors else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:] or list(PACKAGES)))
