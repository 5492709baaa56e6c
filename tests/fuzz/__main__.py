"""The fuzz run: `python -m tests.fuzz --inputs 100000 --seconds 1500 --seed 0`.

Each input is a valid one with some damage, made from the seed and the input's number alone. The
run ends with a summary, and with exit status 1 if trainguard crashed, hung, executed something,
opened what it should not, took too much memory or was wrong.
"""

from __future__ import annotations

import argparse
import codecs
import importlib
import os
import pkgutil
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import trainguard.gather
import trainguard.report
from trainguard.findings import Report
from trainguard.integrations.files import check

from .inputs import Input, Inputs
from .oracle import Verdict, judged
from .watch import Watch

LARGEST_MEMORY = 512
"""MiB."""
LONGEST = 10.0
"""Seconds after which an input counts as a hang."""

_MOST_KEPT = 20
_MOST_SLOW = 3
_CODECS = ("cp437", "raw-unicode-escape", "utf-8-sig")
_WIDE_CODECS = [f"utf-{bits}{order}" for bits in (16, 32) for order in ("", "-le", "-be")]
_LAZY = ("difflib",)
"""Modules of the standard library that only a finding needs."""


@dataclass
class Tally:
    """What came of the inputs so far."""

    done: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    codes: Counter[str] = field(default_factory=Counter)
    slowest: list[tuple[float, int]] = field(default_factory=list)
    faults: Counter[str] = field(default_factory=Counter)
    """The first line of each fault's description, or the last of its traceback."""
    kept: list[str] = field(default_factory=list)

    def add(self, number: int, verdict: Verdict) -> None:
        """Count one input."""
        self.done += 1
        self.outcomes[_outcome(verdict.report)] += 1
        if verdict.report:
            self.codes.update({finding.code for finding in verdict.report.findings})
        self.slowest = sorted([*self.slowest, (verdict.seconds, number)])[-_MOST_SLOW:]


def _outcome(report: Report | None) -> str:
    if report is None:
        return "crashed"
    if not report.subjects:
        return "nothing recognised"
    if report.findings:
        return "findings"
    return "not checked" if any(entry.subject for entry in report.not_checked) else "clean"


def main() -> int:
    """Run, print the summary and return the exit status."""
    options = _options()
    work = Path(tempfile.mkdtemp(prefix="trainguard-fuzz-"))
    valid = options.valid.resolve() if options.valid else _valid_inputs(work)
    # Payloads leave their file in the current folder.
    os.chdir(work)
    _import_everything()
    _demand_health(valid)
    began = time.monotonic()
    tally = _run(Inputs(valid, options.seed), _numbers(options), began + options.seconds)
    _print_summary(tally, time.monotonic() - began)
    if tally.faults:
        print(f"the failing inputs are in {work}")
    else:
        shutil.rmtree(work)
    return 1 if tally.faults or _peak_memory() > LARGEST_MEMORY else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--inputs", type=int, default=100_000, help="how many")
    parser.add_argument("--seconds", type=float, default=1500, help="after which it ends anyway")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", type=int, metavar="N", help="the number of the one input to run")
    parser.add_argument(
        "--valid", type=Path, metavar="FOLDER", help="valid inputs that were saved before"
    )
    return parser.parse_args()


def _numbers(options: argparse.Namespace) -> range:
    if options.only is not None:
        return range(options.only, options.only + 1)
    return range(options.inputs)


def _valid_inputs(work: Path) -> Path:
    """Saved in a process of its own: this one's memory is measured."""
    tests = Path(__file__).resolve().parents[1]
    # The files are the same each time: relative names, and sets in the same order.
    environment = {**os.environ, "PYTHONPATH": str(tests), "PYTHONHASHSEED": "0"}
    command = [sys.executable, "-m", "fuzz.saved", "valid"]
    subprocess.run(command, cwd=work, env=environment, check=True, stderr=subprocess.DEVNULL)
    return work / "valid"


def _import_everything() -> None:
    """An import while an input is judged would count as one that the input caused."""
    for package in (trainguard.gather, trainguard.report):
        for module in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
            importlib.import_module(module.name)
    for name in _LAZY:
        importlib.import_module(name)
    for name in (*_CODECS, *_WIDE_CODECS):
        codecs.lookup(name)


def _demand_health(valid: Path) -> None:
    """Damage to an input that has findings anyway would prove little."""
    for folder in sorted(valid.iterdir()):
        report = check(folder)
        if report.exit_code:
            raise SystemExit(f"the valid input {folder.name} has findings: {report.causes}")


def _run(inputs: Inputs, numbers: range, end: float) -> Tally:
    watch = Watch(LONGEST)
    tally = Tally()
    for number in numbers:
        if time.monotonic() > end:
            break
        damaged = inputs.make(number, Path("input"))
        verdict = judged(damaged.folder, damaged.options, damaged.expected, watch)
        tally.add(number, verdict)
        if verdict.faults:
            _note_faults(tally, number, damaged, verdict, inputs.seed)
        if damaged.folder.exists():
            shutil.rmtree(damaged.folder)
    return tally


def _note_faults(tally: Tally, number: int, damaged: Input, verdict: Verdict, seed: int) -> None:
    """Print and keep the input, if it is the first with such a fault."""
    kinds = {_kind(fault) for fault in verdict.faults}
    new = kinds - tally.faults.keys()
    tally.faults.update(kinds)
    if not new or len(tally.faults) > _MOST_KEPT:
        return
    kept = damaged.folder.rename(f"failed-{number}")
    print(f"input {number}, {damaged.name}, kept as {kept}; again: --seed {seed} --only {number}")
    for change in damaged.changes:
        print(f"  {change.what} {change.where}")
    print(f"  checked with {dict(damaged.options)}")
    print("\n".join(verdict.faults), flush=True)


def _kind(fault: str) -> str:
    """Faults that differ in a number only are of one kind."""
    return re.sub(r"[0-9]+", "", fault.strip().splitlines()[-1])[:60]


def _print_summary(tally: Tally, seconds: float) -> None:
    print(f"inputs        {tally.done} in {seconds:.0f} s, {tally.done / seconds:.0f} a second")
    print(f"outcomes      {_counts(tally.outcomes)}")
    print(f"codes         {_counts(tally.codes)}")
    slow = ", ".join(f"{taken:.2f} s (input {number})" for taken, number in tally.slowest[::-1])
    print(f"slowest       {slow}")
    print(f"peak memory   {_peak_memory()} MiB of {LARGEST_MEMORY}")
    print(f"crashes       {tally.outcomes['crashed']}")
    print(f"executions    {sum(n for kind, n in tally.faults.items() if 'execute' in kind)}")
    print(f"faults        {sum(tally.faults.values())} of {len(tally.faults)} kinds")


def _counts(counter: Counter[str]) -> str:
    return ", ".join(f"{name} {number}" for name, number in sorted(counter.items()))


def _peak_memory() -> int:
    """MiB that this process has held at most."""
    status = Path("/proc/self/status")
    if status.exists():
        # Unlike ru_maxrss this does not begin with what the parent process held.
        line = next(x for x in status.read_text().splitlines() if x.startswith("VmHWM"))
        return int(line.split()[1]) // 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 2**10


if __name__ == "__main__":
    sys.exit(main())
