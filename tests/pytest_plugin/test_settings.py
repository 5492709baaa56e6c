"""The settings of a project hold in pytest as they do on the command line."""

from __future__ import annotations

import pytest

pytest_plugins = ["pytester"]

SOURCE = """\
from peft import PeftModel
from trl import SFTTrainer

model = PeftModel.from_pretrained(base, "adapter")
SFTTrainer(model=model).train()
"""


@pytest.fixture
def project(pytester: pytest.Pytester) -> pytest.Pytester:
    pytester.makefile(".py", train=SOURCE)
    return pytester


def run(project: pytest.Pytester, *options: str) -> pytest.RunResult:
    return project.runpytest_subprocess(
        "--trainguard", "train.py", "-p", "no:cacheprovider", *options
    )


def test_without_settings_the_fault_fails(project: pytest.Pytester) -> None:
    assert run(project).parseoutcomes()["failed"] == 1


@pytest.mark.parametrize(
    "settings",
    [
        'ignore = ["TG801"]',
        'severity = { TG801 = "warning" }',
        'per-path-ignores = { "train.py" = ["adapter-loaded-frozen"] }',
        'fail-on = "never"',
    ],
)
def test_a_setting_takes_it_out(project: pytest.Pytester, settings: str) -> None:
    project.makefile(".toml", trainguard=settings)

    assert "failed" not in run(project).parseoutcomes()


def test_an_option_goes_before_the_settings(project: pytest.Pytester) -> None:
    project.makefile(".toml", trainguard='severity = { TG801 = "warning" }')

    assert run(project, "--trainguard-fail-on", "warning").parseoutcomes()["failed"] == 1


def test_the_fixture_knows_them_too(project: pytest.Pytester) -> None:
    project.makefile(".toml", trainguard='ignore = ["TG801"]')
    project.makepyfile(
        test_it="""
        def test_source(trainguard):
            assert trainguard.check("train.py").findings == ()
        """
    )
    project.runpytest_subprocess("test_it.py").assert_outcomes(passed=1)


def test_a_mistake_in_them_is_a_usage_error(project: pytest.Pytester) -> None:
    project.makefile(".toml", trainguard="selct = []")
    result = run(project)

    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*there is no setting 'selct'; did you mean select*"])
