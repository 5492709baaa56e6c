"""What holds of every format: one function, one import, any report."""

from __future__ import annotations

import re
import subprocess
import sys
import unicodedata

import pytest
from hypothesis import given

from report.samples import CLEAN, NOTHING, REPORTS, SAMPLE
from trainguard.findings import Report
from trainguard.report import FORMATS, MACHINE_FORMATS, UnknownFormatError, json, render, text

IMPORTS = """
import sys
import trainguard.report
from trainguard.findings import Report
trainguard.report.render(Report(), sys.argv[1])
print(*(name for name in sys.modules if name.startswith("trainguard.report.")))
print(*({"torch", "numpy", "click"} & set(sys.modules)))
"""
LINE_FEED_ONLY = set(FORMATS) - {"html"}


@pytest.mark.parametrize("style", FORMATS)
@pytest.mark.parametrize("report", [SAMPLE, CLEAN, NOTHING], ids=["sample", "clean", "nothing"])
def test_every_name_is_a_format_and_the_same_report_gives_the_same_text(
    style: str, report: Report
) -> None:
    printed = render(report, style)

    assert printed.endswith("\n")
    assert not printed.endswith("\n\n")
    assert render(report, style) == printed


def test_full_and_concise_and_json_are_what_they_were() -> None:
    assert render(SAMPLE, "full") == text.full(SAMPLE)
    assert render(SAMPLE, "full", colour=True, verbose=True) == text.full(
        SAMPLE, colour=True, verbose=True
    )
    assert render(SAMPLE, "concise", colour=True) == text.concise(SAMPLE)
    assert render(SAMPLE, "json") == json.render(SAMPLE)


def test_an_unknown_format_is_told_with_the_nearest() -> None:
    with pytest.raises(ValueError, match="no output format is called 'sariff'; did you mean sarif"):
        render(SAMPLE, "sariff")
    with pytest.raises(UnknownFormatError, match="the formats are full, concise, json,"):
        render(SAMPLE, "?")


@pytest.mark.parametrize("style", sorted(MACHINE_FORMATS))
def test_a_format_is_imported_alone_and_brings_nothing_heavy(style: str) -> None:
    command = [sys.executable, "-c", IMPORTS, style]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    ours, heavy = printed.split("\n")[:2]
    imported = {name.rpartition(".")[2] for name in ours.split()}

    assert imported & {*FORMATS, "text"} == {style}
    assert not heavy


@pytest.mark.parametrize("style", sorted(LINE_FEED_ONLY))
@given(REPORTS)
def test_no_format_holds_a_raw_control_character_or_half_a_character(
    style: str, report: Report
) -> None:
    printed = render(report, style)
    kinds = {unicodedata.category(one) for one in printed if one != "\n"}

    assert "Cs" not in kinds
    if style == "json":  # JSON allows what stands above the ASCII control characters
        assert not re.search(r"[\x00-\x09\x0b-\x1f]", printed)
    else:
        assert not kinds & {"Cc", "Cf", "Zl", "Zp"}


@given(REPORTS)
def test_a_page_holds_no_half_a_character(report: Report) -> None:
    assert render(report, "html").encode()
