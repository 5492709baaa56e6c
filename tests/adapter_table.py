"""Print what `trainguard check` and PEFT make of every adapter, run and model of the tests.

Every type of PEFT is trained and saved here, and has to be clean; every fault is planted in such
a save, and has to be found by the check that is named. The exit status is 1 if one is not.

    python -m tests.adapter_table
"""

from __future__ import annotations

import contextlib
import shutil
import sys
import tempfile
import warnings
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

# `adapters` and `tiny` are found here, as pytest finds them.
sys.path.insert(0, str(Path(__file__).parent))

from transformers.utils import logging

from adapters import runs
from adapters.broken import BROKEN, Fault
from adapters.checked import Checked, checked
from adapters.healthy import HEALTHY, Recipe, Saves
from adapters.loading import Loading, load

Row = tuple[str, ...]


def main() -> None:
    """Print the tables."""
    warnings.simplefilter("ignore")
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    with tempfile.TemporaryDirectory() as name:
        top = Path(name)
        saves = Saves(top / "saves")
        with contextlib.redirect_stdout(sys.stderr):
            made = runs.make(top / "runs")
        verdicts = [
            *_print_healthy(saves, made),
            *_print_broken(saves, top),
            *_print_broken_runs(made, top),
        ]
    total = {verdict: verdicts.count(verdict) for verdict in sorted(set(verdicts))}
    print("\n" + ", ".join(f"{count} {verdict}" for verdict, count in total.items()))
    sys.exit(1 if {"FALSE ALARM", "WRONG"} & total.keys() else 0)


def _print_healthy(saves: Saves, made: Path) -> list[str]:
    print(f"# Healthy: PEFT {version('peft')}, trained and saved\n")
    rows = [_healthy(name, recipe, saves) for name, recipe in HEALTHY.items()]
    for name in (*runs.HEALTHY_RUNS, *runs.HEALTHY_MODELS):
        found = checked(made / name)
        rows.append((f"`{name}`, Trainer or transformers", "", _said(found), _verdict(found)))
    _table(("adapter", "trained tensors", "trainguard check", "verdict"), rows)
    return [row[-1] for row in rows]


def _healthy(name: str, recipe: Recipe, saves: Saves) -> Row:
    try:
        saved = saves(name)
    # Whatever PEFT says against making it is the row's content.
    except Exception as error:
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        return name, "", reason, "not made here"
    reports = [checked(saved.alone), checked(saved.with_base)]
    found = {check for report in reports for check in report.found}
    said = "; ".join(dict.fromkeys(map(_said, reports)))
    if not recipe.deserves:
        return name, str(saved.moved), said, "clean" if not found else "FALSE ALARM"
    reasons = "; ".join(recipe.deserves.values())
    verdict = "deserved" if found == set(recipe.deserves) else "FALSE ALARM"
    return name, str(saved.moved), f"{said} ({reasons})", verdict


def _print_broken(saves: Saves, top: Path) -> list[str]:
    print("\n# Broken: one fault planted in such a save\n")
    healthy: dict[Path, Loading] = {}
    rows = []
    for number, (name, fault) in enumerate(BROKEN.items()):
        saved = saves(fault.of)
        original = fault.original(saved)
        if original not in healthy:
            healthy[original] = load(original, fault.trained_on)
        folder = top / f"broken-{number}"
        found = checked(folder, *fault.plant(saved, folder))
        peft = fault.loaded(folder, healthy[original])
        rows.append((name, fault.of, peft, _said(found), _judged(fault, found, peft)))
    _table(("fault", "planted in", "PEFT", "trainguard check", "verdict"), rows)
    return [row[-1] for row in rows]


def _print_broken_runs(made: Path, top: Path) -> list[str]:
    print("\n# Broken runs and models\n")
    rows = []
    for number, (name, fault) in enumerate((runs.RUN_FAULTS | runs.MODEL_FAULTS).items()):
        folder = top / f"run-{number}"
        shutil.copytree(made / fault.of, folder)
        fault.damage(folder)
        found = checked(folder)
        names = [cause["name"] for cause in found.causes]
        rows.append((name, fault.of, _said(found), _outcome(fault.check, names, ())))
    _table(("fault", "planted in", "trainguard check", "verdict"), rows)
    return [row[-1] for row in rows]


def _judged(fault: Fault, found: Checked, peft: str) -> str:
    names = [cause["name"] for cause in found.causes]
    return _outcome(fault.check, names, fault.also) if peft == fault.peft else "WRONG"


def _outcome(expected: str, found: list[str], also: tuple[str, ...]) -> str:
    if not expected:
        return "miss" if not found else "WRONG"
    return "found" if expected in found and set(found) <= {expected, *also} else "WRONG"


def _verdict(found: Checked) -> str:
    return "clean" if not found.found and found.status == 0 else "FALSE ALARM"


def _said(found: Checked) -> str:
    causes = dict.fromkeys(f"{c['name']} ({c['severity']})" for c in found.causes)
    return f"{', '.join(causes) or 'nothing'}, exit {found.status}"


def _table(head: Row, rows: list[Row]) -> None:
    for line in _lines(head, rows):
        print(line)


def _lines(head: Row, rows: list[Row]) -> Iterator[str]:
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    for row in (head, tuple("-" * width for width in widths), *rows):
        yield f"| {' | '.join(c.ljust(w) for c, w in zip(row, widths, strict=True))} |"


if __name__ == "__main__":
    main()
