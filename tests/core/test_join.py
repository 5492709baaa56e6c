"""Several looks at one run become one diagnosis."""

from __future__ import annotations

from trainguard.engine import join
from trainguard.findings import Finding, NotChecked, Report, Severity, Subject


def found(code: str, **fields: object) -> Finding:
    return Finding("message", code=code, subject="x", **fields)


def test_a_cause_of_one_look_explains_the_symptom_of_another() -> None:
    files = Report((found("TG703", scope="data"),), ("TG703",), subjects=(Subject("d", "data"),))
    score = Report((found("TG612", severity=Severity.WARNING),), ("TG612",))

    report = join([files, score], scope="run")

    assert [cause.code for cause in report.causes] == ["TG703"]
    assert [one.code for one in report.symptoms_of(report.causes[0])] == ["TG612"]
    assert report.checked == ("TG612", "TG703")
    assert report.exit_code == 1


def test_what_two_looks_name_is_told_once_and_what_one_decided_is_checked() -> None:
    first = Report((found("TG301", fix="first"), found("TG105"), found("TG105")), ("TG301",))
    second = Report(
        (found("TG301", fix="second"),),
        ("TG105",),
        not_checked=(NotChecked("no", code="TG301"), NotChecked("no", code="TG901")),
        notes=("a note",),
    )

    report = join([first, second], scope="run")

    assert [one.fix for one in report.findings if one.code == "TG301"] == ["first"]
    assert sum(one.code == "TG105" for one in report.findings) == 2
    assert [entry.code for entry in report.not_checked] == ["TG901"]
    assert report.notes == ("a note",)
