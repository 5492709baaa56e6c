"""Settings: what is read, what is refused, and what they change."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainguard.config import ConfigError, Settings, covers, discover, in_force
from trainguard.engine import judge
from trainguard.facts.evidence import Evidence
from trainguard.facts.steps import StepFacts
from trainguard.findings import Finding, Location, Severity
from trainguard.registry import all_checks, find

EVERYTHING = """\
select = ["TG5", "untrained-adapter"]
ignore = ["TG507"]
exclude = ["outputs/archive", "*.ipynb"]
fail-on = "warning"
output-format = "concise"
baseline = "accepted.json"

[severity]
TG5 = "warning"
loss-spike = "error"

[per-path-ignores]
"tests/*" = ["TG5"]

[checks.loss-spike]
factor = 2
outsize = 20.5

[checks.TG503]
in-a-row = 30
"""


def write(folder: Path, text: str, name: str = "trainguard.toml") -> Path:
    file = folder / name
    file.write_text(text)
    return file


def test_every_key_is_read(tmp_path: Path) -> None:
    settings = discover([tmp_path], write(tmp_path, EVERYTHING))
    checks = {check.name: check for check in settings.selected}

    assert {code[:3] for code in (check.code for check in settings.selected)} == {
        "TG0",
        "TG1",
        "TG5",
    }
    assert "diverging-loss" not in checks
    assert settings.fail_on is Severity.WARNING
    assert settings.baseline == tmp_path / "accepted.json"
    assert checks["hidden-nan-loss"].forced is Severity.WARNING
    assert checks["loss-spike"].forced is Severity.ERROR  # a name goes before a prefix
    assert checks["untrained-adapter"].forced is None
    assert checks["loss-spike"].chosen == {"factor": 2.0, "outsize": 20.5}
    assert checks["constant-loss"].chosen == {"in_a_row": 30}
    assert settings.excludes(tmp_path / "outputs" / "archive" / "run" / "a.json")
    assert settings.excludes(tmp_path / "notes" / "a.ipynb")
    assert not settings.excludes(tmp_path / "outputs" / "run")
    assert settings.ignored_at(tmp_path / "tests" / "deep" / "a.py") == ("TG5",)
    assert settings.ignored_at(tmp_path / "src" / "a.py") == ()


def test_the_nearest_file_decides_and_ours_goes_before_pyproject(tmp_path: Path) -> None:
    inner = tmp_path / "a" / "b"
    inner.mkdir(parents=True)
    write(tmp_path, '[tool.trainguard]\nignore = ["TG1"]\n', "pyproject.toml")
    write(tmp_path / "a", "[tool.other]\nx = 1\n", "pyproject.toml")  # not about us: passed over
    assert discover([inner]).ignore == ("TG1",)

    write(tmp_path / "a", 'ignore = ["TG2"]\n')
    write(tmp_path / "a", '[tool.trainguard]\nignore = ["TG3"]\n', "pyproject.toml")
    assert discover([inner]).ignore == ("TG2",)
    assert discover([inner, tmp_path]).ignore == ("TG1",)  # at or above all of them
    assert discover([inner / "missing.json", inner]).ignore == ("TG2",)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("selct = []", "there is no setting 'selct'; did you mean select"),
        ('select = ["TG999"]', "select: no check is called TG999"),
        ('ignore = ["hidden-nan-los"]', "did you mean hidden-nan-loss"),
        ('ignore = "TG1"', "'TG1' is no list of words"),
        ("select = [1]", "is no list of words"),
        ('fail-on = "fatal"', "'fatal' is none of error, warning, info, never"),
        ('output-format = "xml"', "'xml' is none of full, concise"),
        ('severity = "error"', "'error' is no table"),
        ('[severity]\nTG5 = "bad"', "'bad' is none of error, warning, info"),
        ("[checks.loss-spik]\nfactor = 1", "no check is called loss-spik; did you mean loss-spike"),
        ("[checks.loss-spike]\nfaktor = 1", "no threshold 'faktor'; did you mean factor"),
        ("[checks.loss-spike]\nfactor = -1", "loss-spike.factor is -1; it is a positive number"),
        ("[checks.loss-spike]\nfactor = nan", "loss-spike.factor is nan"),
        ("[checks.loss-spike]\nfactor = true", "loss-spike.factor is True"),
        ("[checks.constant-loss]\nin-a-row = 2.5", "is 2.5; it is a positive integer"),
        ("[checks.hidden-nan-loss]\nx = 1", "hidden-nan-loss has no threshold"),
        ("select = [", "is no TOML"),
        ("a.b.c = 1", "there is no setting 'a'"),
    ],
)
def test_what_says_nothing_is_refused_with_the_nearest_word(
    tmp_path: Path, text: str, message: str
) -> None:
    write(tmp_path, text)
    with pytest.raises(ConfigError) as refused:
        discover([tmp_path])
    assert message in str(refused.value)
    assert "trainguard.toml" in str(refused.value)


def test_a_table_that_is_none_and_a_file_without_one_are_refused(tmp_path: Path) -> None:
    file = write(tmp_path, "[tool]\ntrainguard = 1\n", "pyproject.toml")
    with pytest.raises(ConfigError, match="no table"):
        discover([tmp_path])
    file.write_text("[tool.trainguards]\n")
    assert discover([tmp_path]) == Settings()
    with pytest.raises(ConfigError, match=r"has no \[tool.trainguard\]"):
        discover([], file)


@given(st.text() | st.binary())
def test_any_file_is_settings_or_an_error(
    tmp_path_factory: pytest.TempPathFactory, content: str | bytes
) -> None:
    file = tmp_path_factory.mktemp("any") / "trainguard.toml"
    file.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8", "replace"))
    try:
        settings = discover([file.parent])
    except ConfigError as error:
        said = str(error)
    else:
        said = str(settings.source)

    assert str(file) in said


def run(losses: list[float], **numbers: float) -> list[str]:
    steps = tuple(StepFacts(step=n, loss=loss) for n, loss in enumerate(losses, 1))
    settings = Settings(select=("TG503",), checks={"constant-loss": numbers} if numbers else {})
    evidence = Evidence(subject="run", kind="run", facts={StepFacts: steps})
    return [one.code for one in judge([evidence], settings.selected).findings]


@given(st.integers(min_value=1, max_value=40), st.integers(min_value=1, max_value=40))
def test_a_threshold_moves_the_judgement(number: int, in_a_row: int) -> None:
    found = run([2.5] * number, in_a_row=in_a_row)

    assert found == (["TG503"] if number >= in_a_row else [])


@pytest.mark.parametrize("check", [c for c in all_checks() if c.thresholds], ids=lambda c: c.name)
def test_a_threshold_is_a_positive_number_that_the_documentation_explains(check) -> None:
    for name, value in check.thresholds.items():
        assert isinstance(value, int | float)
        assert value > 0
        assert name.islower()


@pytest.mark.parametrize("severity", Severity)
def test_a_severity_of_the_settings_holds_for_every_finding(severity: Severity) -> None:
    settings = Settings(select=("TG503",), severity={"constant-loss": severity})
    steps = tuple(StepFacts(step=n, loss=2.5) for n in range(1, 20))
    evidence = Evidence(subject="run", kind="run", facts={StepFacts: steps})

    assert [f.severity for f in judge([evidence], settings.selected).findings] == [severity]


def test_a_finding_is_excused_where_it_is_and_the_report_says_why() -> None:
    settings = Settings(
        source=Path("pyproject.toml").absolute(), per_path_ignores={"tests/*": ("TG8",)}
    )
    here, there = (
        Finding("m", code="TG801", name="adapter-loaded-frozen", location=Location(path=path))
        for path in ("tests/unit/a.py", "src/a.py")
    )

    assert settings.excused(here) == "ignored in tests/* by pyproject.toml"
    assert settings.excused(there) is None


@pytest.mark.parametrize(
    ("pattern", "path", "expected"),
    [
        ("tests/*", "tests/a/b.py", True),
        ("tests", "tests/a/b.py", True),
        ("./tests/", "tests/a.py", True),
        ("tests/*", "src/tests/a.py", False),
        ("tests", "src/tests/a.py", True),  # a name at any depth
        ("*.ipynb", "a/b.ipynb", True),
        ("out?", "out1/x", True),
        ("outputs", "outputs2/x", False),
        ("*", ".", True),
    ],
)
def test_a_pattern_names_a_path_its_name_or_a_folder_above(
    pattern: str, path: str, expected: bool
) -> None:
    assert covers(pattern, path) is expected


NAMES = st.text("abc._-", min_size=1, max_size=5).filter(lambda name: name.strip("."))


@given(st.lists(NAMES, min_size=1, max_size=4), st.lists(NAMES, max_size=3))
def test_a_path_covers_itself_and_what_lies_in_it(parts: list[str], below: list[str]) -> None:
    path = PurePosixPath(*parts)

    assert covers(str(path), str(path.joinpath(*below)))


def test_a_live_run_takes_the_settings_of_its_project(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path, 'select = ["TG5"]\nignore = ["TG507"]\n')
    codes = {check.code for check in in_force(["TG2", "TG5"], ["TG508"]).selected}
    assert codes == {
        check.code
        for check in all_checks()
        if check.code.startswith(("TG5", "TG000")) and check.code not in ("TG507", "TG508")
    }
    assert find("hidden-nan-loss").code in codes

    write(tmp_path, "selct = []")
    assert len(in_force().selected) == len(all_checks())
    assert "goes on without settings" in caplog.text
