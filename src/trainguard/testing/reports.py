"""Assertions on reports: the diagnosis is the message."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any, Literal

from trainguard.diagnosis import explain
from trainguard.findings import Report, Severity
from trainguard.registry import find, select
from trainguard.report import text


def assert_no_findings(
    report: Report,
    *,
    fail_on: Literal["error", "warning", "info"] = "error",
    ignore: Iterable[str] = (),
) -> None:
    """Assert that a report has no finding that is grave enough, and that something was checked.

        assert_no_findings(trainguard.check("outputs/adapter"), fail_on="warning")

    Args:
        report: of `check`, `preflight`, `watch`, a callback or an audit.
        fail_on: the mildest severity that fails.
        ignore: codes, code prefixes or names of checks whose findings do not count, neither as
            such nor as explanations of others.

    Raises:
        AssertionError: the message is the diagnosis.
        UnknownCheckError: `ignore` matches no check.
    """
    __tracebackhide__ = True
    kept = {check.code: check.explains for check in select(ignored=ignore)}
    findings = explain([one for one in report.findings if one.code in kept], kept)
    judged = replace(report, findings=findings, fail_on=Severity(fail_on))
    if judged.exit_code:
        raise AssertionError("\n" + text.full(judged))
    if not set(report.checked) & set(kept):
        raise AssertionError("no check could decide on anything, which is no success")


def assert_decided(report: Report, *names: str) -> None:
    """Assert that some checks looked at the evidence and found nothing.

        assert_decided(trainguard.preflight(model, batch), "causal-leak", "padding-contaminates")

    Other than `assert_no_findings`, this fails if one of the checks lacked its evidence, and on
    findings of any severity.

    Args:
        report: of `check`, `preflight`, `watch`, a callback or an audit.
        names: names or codes of checks.

    Raises:
        AssertionError: the message is the diagnosis, or why a check could not decide.
        UnknownCheckError: there is no such check.
    """
    __tracebackhide__ = True
    codes = [find(name).code for name in names]
    findings = [replace(f, explained_by=()) for f in report.findings if f.code in codes]
    if findings:
        raise AssertionError("\n" + text.full(replace(report, findings=tuple(findings), notes=())))
    for name, code in zip(names, codes, strict=True):
        if code not in report.checked:
            raise AssertionError(f"{code} {name} could not be decided: {_reason(report, code)}")


def _reason(report: Report, code: str) -> Any:
    failed = [one.message for one in report.findings if one.code == "TG000"]
    reasons = [one.reason for one in report.not_checked if one.code == code]
    return next(iter([*reasons, *failed]), "it was not selected")
