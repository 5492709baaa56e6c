"""Markdown: causes first, the rest folded, and nothing of a file becomes markup."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

import pytest
from hypothesis import given
from markdown_it import MarkdownIt
from markdown_it.token import Token

from report.samples import CLEAN, HOSTILE_NAME, NAN, NOTHING, REPORTS, SAMPLE, TEXTS
from trainguard.findings import ExcerptLine, Finding, Location, NotChecked, Report, Subject
from trainguard.registry import DOCS
from trainguard.report import markdown

READER = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
OURS = re.compile(r"<details><summary>[A-Za-z0-9 ]+</summary>|</details>")
AUTOLINK = re.compile(r"@\w|#\d|\w://|www\.|GH-\d", re.IGNORECASE)
BLOCKS = {"heading", "paragraph", "bullet_list", "list_item", "link", "strong"}


def _tokens(text: str) -> Iterator[Token]:
    for block in READER.parse(text):
        yield block
        yield from block.children or ()


def _visible(text: str) -> str:
    """What a reader sees, without spaces and marks of code."""
    shown = "".join(
        one.content for one in _tokens(text) if one.type in ("text", "code_inline", "fence")
    )
    return _bare(shown)


def _bare(text: str) -> str:
    return re.sub(r"[\s`\u200b]", "", text)


@given(REPORTS)
def test_nothing_of_a_report_becomes_markup(report: Report) -> None:
    for token in _tokens(markdown.render(report)):
        if token.type in ("html_block", "html_inline"):
            assert OURS.fullmatch(token.content.strip())
        elif token.type == "link_open":
            assert str(token.attrs["href"]).startswith(f"{DOCS}checks/")
        elif token.type == "text":
            assert not AUTOLINK.search(token.content)
        elif token.nesting == 1:
            assert token.type.removesuffix("_open") in BLOCKS


@given(TEXTS)
def test_a_message_is_read_as_it_was_written(message: str) -> None:
    report = Report(findings=(Finding(message, code="X", name="y", subject="s"),))
    if message.isprintable():
        assert _bare(f"Found: {message}") in _visible(markdown.render(report))


def test_causes_lead_and_symptoms_are_folded_under_them() -> None:
    printed = markdown.render(SAMPLE)
    headings = re.findall(r"^### (\w+) \[?(\w+)", printed, flags=re.MULTILINE)

    assert headings == [(one.severity.value, one.code) for one in SAMPLE.causes]
    fold = printed.partition("<summary>Explains 3 findings</summary>")[2].partition("</details>")[0]
    assert "constant-loss" in fold
    assert "and 1 more" in fold
    assert "TG201, TG202: needs a model; none was given" in printed
    assert "the collator is our own" in printed
    assert "accepted in the baseline" in printed


def test_a_frame_is_longer_fenced_than_what_it_holds() -> None:
    place = Location(path="a.py", excerpt=(ExcerptLine(label="1", text="````", marked=True),))
    printed = markdown.render(Report(findings=(replace(NAN, location=place),)))

    assert [one.content for one in _tokens(printed) if one.type == "fence"] == ["> 1 | ````\n"]


def test_a_hostile_name_is_shown_as_text() -> None:
    assert _bare(HOSTILE_NAME.partition("\x1b")[0]) in _visible(markdown.render(SAMPLE))


@pytest.mark.parametrize("text", ["@`*_[" * 900, "`a` " * 900, "x" * 10_000, HOSTILE_NAME * 50])
def test_a_comment_is_never_longer_than_github_takes(text: str) -> None:
    rows = tuple(ExcerptLine(label=text, text=text) for _ in range(50))
    cause = Finding(
        text, fix=text, code="TG501", name=text, location=Location(path=text, excerpt=rows)
    )
    symptom = replace(cause, code="TG503", explained_by=("TG501",))
    report = Report(
        findings=(*[cause] * 40, symptom),
        not_checked=tuple(NotChecked(f"{number}{text}", code="TG201") for number in range(200)),
        notes=(text,) * 50,
        subjects=(Subject("a", "run"),),
    )
    printed = markdown.render(report)

    assert len(printed) <= 65_536
    assert "### error" in printed
    assert re.search(r"^\d+ causes more, not shown\.$", printed, flags=re.MULTILINE)


def test_clean_and_nothing_are_told_apart() -> None:
    assert "no finding" in markdown.render(CLEAN)
    assert "Nothing was recognised to check" in markdown.render(NOTHING)
