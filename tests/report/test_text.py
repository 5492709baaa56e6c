"""What a person reads."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from trainguard.findings import ExcerptLine, Finding, Location, NotChecked, Report, Subject
from trainguard.report import text

CAUSE = Finding(
    "step 2: the loss is nan, the log says 0.0",
    code="TG501",
    name="hidden-nan-loss",
    scope="run",
    subject="run",
    fix="set logging_nan_inf_filter=False",
    location=Location(
        path="run/steps.jsonl",
        step=2,
        excerpt=(
            ExcerptLine(label="1", text="loss 2.1"),
            ExcerptLine(label="2", text="loss nan", marked=True),
        ),
    ),
)
SYMPTOMS = tuple(
    Finding(
        "8 elements are NaN",
        code="TG106",
        name="nonfinite-weights",
        scope="run",
        subject=f"run/checkpoint-{number}",
        explained_by=("TG501",),
    )
    for number in (2, 4)
)
REPORT = Report(
    findings=(CAUSE, *SYMPTOMS),
    checked=("TG501", "TG106"),
    not_checked=(NotChecked("needs a model", code="TG201"),),
    subjects=(Subject("run", "training run"), Subject("a", "adapter"), Subject("b", "adapter")),
)


def test_the_cause_leads_and_its_symptoms_are_folded_under_it() -> None:
    assert text.full(REPORT) == (
        "error[TG501] hidden-nan-loss: step 2: the loss is nan, the log says 0.0\n"
        "  --> run/steps.jsonl (step 2)\n"
        "   1 | loss 2.1\n"
        " > 2 | loss nan\n"
        "help: set logging_nan_inf_filter=False\n"
        "  = explains TG106 nonfinite-weights: 8 elements are NaN (run/checkpoint-2 and 1 more)\n"
        "\n"
        "Looked at 1 training run, 2 adapters: 3 errors, 1 cause; 2 checks decided.\n"
        "Not checked: 1 check without the evidence (-v tells why).\n"
    )


def test_verbose_says_why_a_check_was_not_run() -> None:
    assert "  TG201: needs a model\n" in text.full(REPORT, verbose=True)


def test_concise_is_one_line_a_finding() -> None:
    lines = text.concise(REPORT).splitlines()

    assert lines[0].startswith("run/steps.jsonl: TG501 error hidden-nan-loss: step 2")
    assert lines[1].endswith("8 elements are NaN (explained by TG501)")


def test_colour_changes_nothing_but_colour() -> None:
    import re

    coloured = text.full(REPORT, colour=True)

    assert "\x1b[1;31merror[TG501]\x1b[0m" in coloured
    assert re.sub(r"\x1b\[[0-9;]*m", "", coloured) == text.full(REPORT)


@given(st.text())
def test_a_hostile_name_never_reaches_the_terminal_as_a_control_character(name: str) -> None:
    finding = Finding(name, fix=name, location=Location(path=name, key=name, value=name))
    printed = text.full(Report(findings=(finding,), subjects=(Subject(name, "adapter"),)))

    assert not any(ord(character) < 32 for character in printed if character != "\n")
    assert "\x7f" not in printed
    assert "\x9b" not in printed
