"""Every broken example names its cause first, run and read; its fixed twin is clean."""

from __future__ import annotations

import ast
import re
import runpy
from pathlib import Path

import pytest

from trainguard import check

EXAMPLES = Path(__file__).parents[2] / "examples"
ROW = re.compile(r"^\| \[([\w-]+)\]\(\1\) \|.*\| (TG\d{3}) \| (TG\d{3}|-) \|$", re.MULTILINE)
#: Fault, cause when it runs, cause in its source, as the table of the examples says.
FAULTS = ROW.findall((EXAMPLES / "README.md").read_text(encoding="utf-8"))


def run(script: Path, folder: Path, patch: pytest.MonkeyPatch) -> int:
    """The exit status of an example, run as a script of this process: importing torch takes
    longer than most of them."""
    patch.setattr("sys.argv", [str(script), str(folder)])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(script), run_name="__main__")
    assert isinstance(ended.value.code, int)
    return ended.value.code


def causes(printed: str) -> list[str]:
    return ast.literal_eval(printed.strip().splitlines()[-1])


def test_every_folder_of_twins_stands_in_the_table() -> None:
    folders = sorted(path.parent.name for path in EXAMPLES.glob("*/broken.py"))

    assert sorted(name for name, _, _ in FAULTS) == folders
    assert len(folders) >= 8


@pytest.mark.parametrize(("fault", "code"), [(fault, code) for fault, code, _ in FAULTS])
def test_the_broken_twin_names_its_cause_first(
    fault: str,
    code: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    status = run(EXAMPLES / fault / "broken.py", tmp_path, monkeypatch)

    assert causes(capsys.readouterr().out)[0] == code
    assert status == 1


@pytest.mark.parametrize("fault", [fault for fault, _, _ in FAULTS])
def test_the_fixed_twin_is_clean(
    fault: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    status = run(EXAMPLES / fault / "fixed.py", tmp_path, monkeypatch)

    assert (causes(capsys.readouterr().out), status) == ([], 0)


@pytest.mark.parametrize(("fault", "code"), [(fault, code) for fault, _, code in FAULTS])
def test_the_source_alone_tells_what_the_table_says(fault: str, code: str) -> None:
    found = [one.code for one in check(EXAMPLES / fault / "broken.py").causes]

    assert found == ([] if code == "-" else [code])


@pytest.mark.parametrize("fault", [fault for fault, _, _ in FAULTS])
def test_the_source_of_the_fixed_twin_is_clean(fault: str) -> None:
    assert check(EXAMPLES / fault / "fixed.py").causes == ()


@pytest.mark.parametrize("fault", [fault for fault, _, _ in FAULTS])
def test_twins_differ_in_few_lines(fault: str) -> None:
    """A reader can see what matters: the fixed twin adds at most three lines to the broken one."""
    broken, fixed = (
        (EXAMPLES / fault / name).read_text(encoding="utf-8").splitlines()
        for name in ("broken.py", "fixed.py")
    )

    assert len([line for line in fixed if line not in broken]) <= 3
