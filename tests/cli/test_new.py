"""`trainguard new` writes a check that is complete but for its words and its judge."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

import trainguard
from trainguard.cli import main
from trainguard.cli.new import OTHERS, next_free
from trainguard.cli.scaffold import FAMILIES, PLACEHOLDER, check_text
from trainguard.facts.notation import examples
from trainguard.gather.source import evidence_from_text
from trainguard.registry import all_checks, find

OWN = [one for one in all_checks() if one.judge.__module__.startswith("trainguard.")]
JUDGE = 'raise NotImplementedError("the judge of TG390 few-tokens is not written yet")'


def new(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["new", *arguments])


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """As much of a checkout as the command looks at."""
    source = Path(trainguard.__file__).parent / "checks"
    target = tmp_path / "src/trainguard/checks"
    shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "trainguard"\n')
    monkeypatch.chdir(target)
    return tmp_path


def suite_of(package: Path) -> str:
    result = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests"],
        cwd=package,
        env={"PYTHONPATH": "src"},
        capture_output=True,
        text=True,
        check=False,
    )
    return result.stdout


def test_in_a_checkout_the_file_goes_to_its_family(checkout: Path) -> None:
    result = new("tg388", "loss-on-prompt-tokens")

    file = checkout / "src/trainguard/checks/batch/loss_on_prompt_tokens.py"
    assert result.exit_code == 0, result.output
    assert '@check("TG388"' in file.read_text()
    assert "def loss_on_prompt_tokens(" in file.read_text()


def test_the_family_folders_exist() -> None:
    folder = Path(trainguard.__file__).parent / "checks"

    assert all((folder / family.folder).is_dir() for family in FAMILIES.values())


@pytest.mark.parametrize("family", FAMILIES)
def test_the_examples_of_a_new_check_state_the_facts_that_its_judge_needs(family: str) -> None:
    text = check_text(f"TG{family}90", "some-name")
    fires, quiet = examples(text)

    assert [line.marks for line in fires.lines] == [(f"TG{family}90",)]
    assert not any(line.marks for line in quiet.lines)
    for example in (fires, quiet):
        facts = evidence_from_text(example.text) if example.is_code else example.evidence()
        assert FAMILIES[family].kind in {kind.__name__ for kind in facts.facts}
    compile(text, "some_name.py", "exec")


def test_a_new_package_fails_its_tests_until_the_check_is_written(elsewhere: Path) -> None:
    assert new("TG390", "few-tokens").exit_code == 0
    package = elsewhere / "trainguard-few-tokens"
    file = package / "src/trainguard_few_tokens/checks/few_tokens.py"

    unwritten = suite_of(package)
    file.write_text(file.read_text().replace(PLACEHOLDER, "("))
    without_judge = suite_of(package)
    judge = """for step in steps:
        if step.loss == 2.3:
            yield Finding("the loss is 2.3", fix="lower it")"""
    file.write_text(file.read_text().replace(JUDGE, judge))
    written = suite_of(package)

    assert "3 failed, 1 passed" in unwritten
    assert "2 failed, 2 passed" in without_judge
    assert "4 passed" in written


def test_a_second_check_is_a_second_file(elsewhere: Path) -> None:
    new("TG390", "few-tokens", "--package", "house")
    result = new("TG391", "many-tokens", "--package", "house")

    files = sorted(file.name for file in (elsewhere / "house/src/house/checks").glob("*_tokens.py"))
    assert result.exit_code == 0, result.output
    assert files == ["few_tokens.py", "many_tokens.py"]


def test_inside_a_package_it_is_found(elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    new("TG390", "few-tokens", "--package", "house")
    monkeypatch.chdir(elsewhere / "house/tests")

    new("TG391", "many-tokens")

    assert (elsewhere / "house/src/house/checks/many_tokens.py").is_file()


@pytest.mark.parametrize(
    ("code", "name", "says"),
    [
        ("TG501", "some-name", "TG501 is hidden-nan-loss; the next free code of the family is"),
        ("TG588", "hidden-nan-loss", "hidden-nan-loss is TG501"),
        ("TG3", "some-name", "TG3 is no code"),
        ("TG012", "some-name", "TG012 is no code"),
        ("TG588", "Some_Name", "Some_Name is no name"),
        ("TG599", "some-name", "TG599 is left to packages of others"),
    ],
)
@pytest.mark.usefixtures("checkout")
def test_a_taken_or_impossible_code_or_name_is_refused(code: str, name: str, says: str) -> None:
    result = new(code, name)

    assert result.exit_code == 2
    assert says in result.output


def test_a_code_or_file_of_the_same_package_is_refused(elsewhere: Path) -> None:
    new("TG390", "few-tokens", "--package", "house")

    same_code = new("TG390", "many-tokens", "--package", "house")
    same_name = new("TG391", "few-tokens", "--package", "house")

    assert "TG390 is in few_tokens.py; the next free code is TG391" in same_code.output
    assert "few_tokens.py exists" in same_name.output
    assert {same_code.exit_code, same_name.exit_code} == {2}


def test_a_package_is_told_when_a_code_may_be_taken_later(elsewhere: Path) -> None:
    result = new("TG388", "few-tokens", "--package", "house")

    assert result.exit_code == 0
    assert "note: TG388 is left to trainguard" in result.output


def test_a_project_without_the_entry_point_is_told_what_to_add(elsewhere: Path) -> None:
    (elsewhere / "pyproject.toml").write_text('[project]\nname = "mine"\n')

    result = new("TG390", "few-tokens", "--package", ".")

    assert result.exit_code == 2
    assert '[project.entry-points."trainguard.checks"]' in result.output
    assert sorted(path.name for path in elsewhere.iterdir()) == ["pyproject.toml"]


def test_the_next_free_code_is_really_free_and_of_the_right_range() -> None:
    taken = {one.code for one in all_checks()}
    for one in OWN:
        if one.code.startswith("TG0"):
            continue
        free = next_free(one.code, taken, ours=True)
        assert free not in taken
        assert free[:3] == one.code[:3]
        assert int(free[3:]) < OTHERS <= int(next_free(one.code, taken, ours=False)[3:])
    assert next_free("TG501", {f"TG5{n:02}" for n in range(100)}, ours=True) == "none"


def test_no_check_of_trainguard_is_unfinished_or_in_the_range_of_others() -> None:
    assert [one.code for one in OWN if PLACEHOLDER in one.doc] == []
    assert [one.code for one in OWN if int(one.code[3:]) >= OTHERS] == []
    assert find("TG501").name == "hidden-nan-loss"
