"""A baseline accepts what it names, as often as it names it, and nothing else."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainguard.baseline import Baseline, BaselineError, read
from trainguard.findings import ExcerptLine, Finding, Location, NotChecked, Report, Subject


def finding(code: str = "TG801", path: str = "a.py", text: str = "x", **place: object) -> Finding:
    excerpt = (ExcerptLine(label="1", text=text, marked=True),)
    location = Location(path=path, excerpt=excerpt, **place)
    return Finding(f"{code} of {text}", code=code, name="n", subject=path, location=location)


FINDINGS = st.lists(
    st.builds(
        finding,
        st.sampled_from(["TG801", "TG501"]),
        st.sampled_from(["a.py", "b/c.py"]),
        st.sampled_from(["x", "y"]),
    ),
    max_size=8,
)


@given(FINDINGS, FINDINGS)
def test_each_entry_accepts_one_finding_of_its_print(
    tmp_path_factory: pytest.TempPathFactory, old: list[Finding], new: list[Finding]
) -> None:
    file = tmp_path_factory.mktemp("b") / "baseline.json"
    Baseline(file).accepting(old).write()
    baseline = read(file)

    left = Counter(one.fingerprint for one in new if not baseline.holds(one))

    assert left == Counter(f.fingerprint for f in new) - Counter(f.fingerprint for f in old)


def test_a_fault_that_moves_or_measures_otherwise_is_the_same(tmp_path: Path) -> None:
    baseline = Baseline(tmp_path / "b.json").accepting([finding(line=3)])
    moved = finding(line=90)
    other = finding(text="another line of code", line=3)

    assert not baseline.holds(other)
    assert baseline.holds(moved)
    assert not baseline.holds(moved)  # a second one is new


def test_a_step_is_no_part_of_a_print_but_source_text_is() -> None:
    early, late = (finding("TG501", "run", text, step=n) for text, n in (("loss 1", 1), ("2", 9)))

    assert early.fingerprint == late.fingerprint
    assert finding(text="x").fingerprint != finding(text="y").fingerprint


def test_a_print_does_not_depend_on_where_one_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sub").mkdir()
    prints = set()
    for folder, path in ((".", "sub/a.py"), ("sub", "a.py"), ("sub", str(tmp_path / "sub/a.py"))):
        monkeypatch.chdir(tmp_path / folder)
        prints.add(finding(path=path).fingerprint_from(tmp_path))

    assert len(prints) == 1


def test_gone_is_only_what_was_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a.py", "b.py"):
        (tmp_path / name).write_text("x")
    file = tmp_path / "b.json"
    old = [finding(path="a.py"), finding("TG802", "b.py"), finding(path="deleted/c.py")]

    def stale(paths: list[str], checked: tuple[str, ...]) -> list[str]:
        report = Report(checked=checked, subjects=(Subject("a.py", "source file"),))
        baseline = Baseline(file).accepting(old)
        return [entry.path for entry in baseline.stale(report, paths)]

    assert stale(["."], ("TG801", "TG802")) == ["a.py", "b.py", "deleted/c.py"]
    assert stale(["a.py"], ("TG801", "TG802")) == ["a.py"]
    assert stale(["."], ("TG801",)) == ["a.py", "deleted/c.py"]
    assert stale(["deleted"], ()) == ["deleted/c.py"]


def test_an_entry_whose_check_could_not_decide_stays(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("x")
    undecided = NotChecked("it is too large", code="TG801", subject=str(tmp_path / "a.py"))
    elsewhere = NotChecked("needs source; none was given", code="TG801")
    baseline = Baseline(tmp_path / "b.json").accepting([finding(path=str(tmp_path / "a.py"))])

    assert baseline.stale(Report(not_checked=(undecided,)), [str(tmp_path)]) == ()
    assert len(baseline.stale(Report(not_checked=(elsewhere,)), [str(tmp_path)])) == 1


@given(FINDINGS, st.data())
def test_without_takes_out_as_many_as_it_is_told(old: list[Finding], data: st.DataObject) -> None:
    baseline = Baseline(Path("b.json")).accepting(old)
    gone = data.draw(st.lists(st.sampled_from(baseline.entries), max_size=3)) if old else []

    left = baseline.without(gone)

    assert Counter(left.entries) == Counter(baseline.entries) - Counter(gone)


def test_the_file_is_sorted_and_a_finding_a_line(tmp_path: Path) -> None:
    file = tmp_path / "b.json"
    Baseline(file).accepting([finding(path="z.py"), finding(path="a.py")]).write()
    lines = file.read_text().splitlines()

    assert [json.loads(line.strip(" ,"))["path"] for line in lines[1:-1]] == ["a.py", "z.py"]
    assert json.loads(file.read_text())["version"] == 1
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"version": 2, "findings": []}', '{"version": 1, "findings": [1]}']
)
def test_what_is_no_baseline_is_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "b.json"
    file.write_text(text)

    with pytest.raises(BaselineError, match=r"b\.json is no baseline"):
        read(file)
    assert read(tmp_path / "none.json").entries == ()
