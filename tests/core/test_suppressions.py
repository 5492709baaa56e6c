from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from trainguard.engine import judge
from trainguard.facts.evidence import Evidence
from trainguard.facts.steps import StepFacts
from trainguard.facts.suppression import Suppression
from trainguard.gather.suppressions import suppressions
from trainguard.registry import select

SOURCE = """\
import torch  # trainguard: ignore[TG801] loaded for evaluation only

# trainguard: ignore[dropped-merge, TG812] the result is not needed
# (see the design notes)

model.merge_and_unload()
# trainguard: ignore-file[log-overwritten]
"""


def test_a_comment_is_about_its_line_the_next_line_or_the_file() -> None:
    found = list(suppressions(SOURCE))

    assert [(one.names, one.line) for one in found] == [
        (("TG801",), 1),
        (("dropped-merge", "TG812"), 6),
        (("log-overwritten",), None),
    ]
    assert [one.reason for one in found] == [
        "loaded for evaluation only",
        "the result is not needed",
        "",
    ]


def test_a_suppression_covers_its_check_on_its_line() -> None:
    here, everywhere = (Suppression(names=("a-b",), reason="", line=line) for line in (3, None))

    assert here.covers("TG801", "a-b", 3)
    assert not here.covers("TG801", "a-b", 4)
    assert not here.covers("TG801", "a-c", 3)
    assert everywhere.covers("TG801", "a-b", None)


@given(st.text())
def test_any_text_is_read(text: str) -> None:
    for one in suppressions(f"{text}\n{text}  # trainguard: ignore[x] {text}"):
        assert one.names
        assert one.line is None or one.line >= 1


def test_what_a_comment_covers_is_reported_apart_and_fails_nothing() -> None:
    steps = tuple(StepFacts(step=n, loss=float("nan"), logged_loss=0.0) for n in (1, 2))
    checks = select(["TG501"])
    bare = judge([Evidence(subject="run", kind="run", facts={StepFacts: steps})], checks)
    covered = Suppression(names=("hidden-nan-loss",), reason="a test of the logger", line=None)
    facts = {StepFacts: steps, Suppression: (covered,)}

    report = judge([Evidence(subject="run", kind="run", facts=facts)], checks)

    assert bare.exit_code == 1
    assert report.exit_code == 0
    assert report.findings == ()
    assert [(one.finding.code, one.reason) for one in report.suppressed] == [
        ("TG501", "a test of the logger")
    ]
    assert report.to_dict()["suppressed"][0]["suppressed_because"] == "a test of the logger"
