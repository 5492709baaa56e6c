"""A report shows itself: in print, in a notebook, in IPython's terminal."""

from __future__ import annotations

import subprocess
import sys
from html.parser import HTMLParser
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from trainguard import watch
from trainguard.findings import (
    ExcerptLine,
    Finding,
    Location,
    NotChecked,
    Report,
    Severity,
    Subject,
)
from trainguard.report import notebook, text

import tiny

SUBJECTS = (Subject("out", "training run"),)
VOID = {"br", "hr", "img", "input", "link", "meta"}


class Page(HTMLParser):
    """The elements, their attributes and the text of a piece of HTML that is well formed."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""
        self.feed(source)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def report_of(*findings: Finding, **options: Any) -> Report:
    return Report(findings=findings, subjects=SUBJECTS, **options)


CAUSE = Finding(
    "step 3: the loss is nan",
    code="TG501",
    name="hidden-nan-loss",
    fix="set logging_nan_inf_filter=False",
    scope="out",
    location=Location(
        path="out/steps.jsonl",
        step=3,
        excerpt=(
            ExcerptLine(label="2", text="loss 2.1"),
            ExcerptLine(label="3", text="loss nan", marked=True),
        ),
    ),
)
SYMPTOM = Finding(
    "the gradient is nan", code="TG401", name="nan-gradient", scope="out", explained_by=("TG501",)
)
WARNING = Finding(
    "it creaks", code="TG402", name="creaking", severity=Severity.WARNING, scope="out"
)
REPORT = report_of(
    CAUSE, WARNING, SYMPTOM, not_checked=(NotChecked("needs the live loss", code="TG503"),)
)


def test_print_shows_the_text_of_the_terminal() -> None:
    assert str(REPORT) == f"{REPORT}" == text.full(REPORT)
    assert "error[TG501] hidden-nan-loss: step 3: the loss is nan" in str(REPORT)
    assert repr(REPORT).startswith("Report(findings=(")


def test_a_notebook_shows_causes_first_with_place_frame_fix_and_symptoms() -> None:
    page = Page(REPORT._repr_html_())
    order = [
        "error TG501",
        "hidden-nan-loss",
        "step 3: the loss is nan",
        "out/steps.jsonl (step 3)",
        "> 3 | loss nan",
        "help: set logging_nan_inf_filter=False",
        "explains 1 more finding",
        "TG401 nan-gradient: the gradient is nan",
        "warning TG402",
        "Looked at 1 training run: 2 errors, 1 warning, 2 causes; 0 checks decided.",
        "1 check without the evidence",
        "TG503: needs the live loss",
    ]
    at = [page.text.index(piece) for piece in order]

    assert at == sorted(at)
    assert page.tags.count("details") == 2
    assert ("class", "trainguard tex2jax_ignore mathjax_ignore") in page.attributes


def test_a_clean_report_and_an_empty_one_say_what_they_are() -> None:
    clean = Page(report_of(checked=("TG501",), notes=("accuracy 0.5",))._repr_html_())
    empty = Page(Report()._repr_html_())

    assert "no finding; 1 check decided" in clean.text
    assert "note: accuracy 0.5" in clean.text
    assert "Nothing was recognised to check" in empty.text


def test_what_is_shown_loads_nothing_and_runs_nothing() -> None:
    page = Page(REPORT._repr_html_())

    assert set(page.tags) <= {"div", "span", "b", "pre", "p", "details", "summary", "ul", "li"}
    assert {name for name, _ in page.attributes} == {"class", "style"}
    assert "url(" not in REPORT._repr_html_()


@given(st.text(max_size=60))
def test_no_name_becomes_markup(said: str) -> None:
    hostile = f"<script>{said}</script>\x1b[31m"
    place = Location(path=hostile, key=hostile, value=hostile)
    finding = Finding(hostile, code=hostile, name=hostile, fix=hostile, location=place, scope="out")
    symptom = Finding(hostile, code="TG9", name=hostile, scope="out", explained_by=(hostile,))
    missing = NotChecked(hostile, code=hostile)
    page = Page(report_of(finding, symptom, not_checked=(missing,), notes=(hostile,))._repr_html_())

    assert "script" not in page.tags
    assert page.text.count("<script>") >= 10
    assert all(one.isprintable() or one == "\n" for one in page.text)


def test_a_report_of_many_causes_stays_short() -> None:
    many = [Finding("it broke", code="TG501", name=f"n{number}") for number in range(100)]
    page = Page(report_of(*many)._repr_html_())

    assert page.text.count("error TG501") == notebook.MOST
    assert f"and {100 - notebook.MOST} more causes; print(report) shows all" in page.text


def luminance(colour: str) -> float:
    channels = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return sum(part * each for part, each in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


@pytest.mark.parametrize("severity", list(Severity))
def test_badges_are_legible_and_nothing_else_has_a_colour_of_its_own(severity: Severity) -> None:
    shown = report_of(Finding("it broke", code="TG1", severity=severity))._repr_html_()
    background = notebook._BADGES[severity.value]

    assert f"color:#fff;background:{background}" in shown
    assert 1.05 / (luminance(background) + 0.05) >= 4.5  # WCAG AA: white on the badge
    # Everything else takes the colour of the page, which may be light or dark.
    assert shown.count("color:") == 1


def test_ipython_shows_html_where_it_can_and_the_text_in_a_terminal() -> None:
    formatters = pytest.importorskip("IPython.core.formatters")
    data, _ = formatters.DisplayFormatter().format(REPORT)

    assert data["text/html"] == REPORT._repr_html_()
    plain = formatters.PlainTextFormatter()(REPORT)
    assert plain == str(REPORT)


def test_a_watched_loop_shows_its_report() -> None:
    model = tiny.model()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with watch(model, optimizer) as guard:
        pass

    assert str(guard.report) == text.full(guard.report)
    assert "Looked at 1 training run" in Page(guard.report._repr_html_()).text


def test_importing_trainguard_loads_no_format() -> None:
    script = (
        "import sys; from trainguard.findings import Report; report = Report(); "
        "print(sorted(n for n in sys.modules if n.startswith('trainguard.report.'))); print(report)"
    )
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)

    first, *shown = ended.stdout.splitlines()
    assert first == "['trainguard.report.display']"
    assert "Nothing was recognised to check" in "\n".join(shown)
