"""The page: what stands on it and in which order, and that nothing from a file takes it over."""

from __future__ import annotations

import math
import re
from html.parser import HTMLParser

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from report.samples import CLEAN, HOSTILE_NAME, NOTHING, REPORTS, SAMPLE, TEXTS
from trainguard.facts.layers import LayerStep
from trainguard.facts.steps import StepFacts
from trainguard.findings import Finding, Location, Report, Subject
from trainguard.report.curves import thinned
from trainguard.report.html import MAX_RUNS, Run, render
from trainguard.report.html_heat import COLUMNS, Colours

VOID = {"meta", "br", "path"}
#: What may load something, run something or leave the page.
ACTIVE = {"script", "link", "img", "iframe", "object", "embed", "form", "base", "video", "audio"}


class Page(HTMLParser):
    """The elements of a page; fails on one that is not closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    def classes(self, tag: str) -> list[str]:
        return [attributes.get("class") or "" for name, attributes in self.tags if name == tag]


def demand_harmless(text: str) -> Page:
    text.encode("utf-8")
    page = Page(text)
    for tag, attributes in page.tags:
        assert tag not in ACTIVE
        assert not any(name.startswith("on") or name in ("src", "srcset") for name in attributes)
        href = attributes.get("href") or "#"
        assert href.startswith(("#", "https://")), href
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert "url(" not in text
    assert "@import" not in text
    return page


def nan_run(name: str = "runs/sft", steps: int = 30, first: int = 9) -> Run:
    return Run(
        name=name,
        steps=[
            StepFacts(
                step=step,
                loss=math.nan if step >= first else 2.0 + 1 / step,
                logged_loss=0.0 if step >= first else 2.0 + 1 / step,
                grad_norm=math.nan if step >= first else 1.0,
                learning_rates=(1e-3 / step,),
                supervised_tokens=48,
            )
            for step in range(1, steps + 1)
        ],
        layers=[
            LayerStep(
                step=step,
                names=("model.layers.0", "model.layers.1"),
                gradients=(1.0, math.nan if step >= first else 0.0),
                ratios=(1e-3, None),
            )
            for step in range(1, steps + 1)
        ],
    )


steps = st.builds(
    StepFacts,
    step=st.integers(-3, 2**70),
    loss=st.none() | st.floats(),
    logged_loss=st.none() | st.floats(),
    printed_loss=st.none() | st.floats(),
    eval_loss=st.none() | st.floats(),
    grad_norm=st.none() | st.floats(),
    learning_rates=st.none() | st.lists(st.floats(), max_size=3).map(tuple),
    supervised_tokens=st.none() | st.integers(0, 2**40),
    update_ratio=st.none() | st.floats(),
)
layers = TEXTS.flatmap(
    lambda name: st.builds(
        LayerStep,
        step=st.integers(-3, 2**70),
        names=st.just((name,)),
        gradients=st.tuples(st.floats()),
        ratios=st.tuples(st.none() | st.floats()),
    )
)
runs = st.builds(
    Run,
    name=TEXTS | st.just("runs/sft"),
    steps=st.lists(steps, max_size=6, unique_by=lambda one: one.step).map(
        lambda many: sorted(many, key=lambda one: one.step)
    ),
    layers=st.lists(layers, max_size=4, unique_by=lambda one: one.step).map(
        lambda many: sorted(many, key=lambda one: one.step)
    ),
)


@settings(max_examples=150)
@given(REPORTS, st.lists(runs, max_size=2))
def test_whatever_was_found_the_page_is_well_formed_and_harmless(
    report: Report, drawn: list[Run]
) -> None:
    demand_harmless(render(report, drawn))


@pytest.mark.parametrize("report", [SAMPLE, CLEAN, NOTHING])
def test_without_runs_it_is_still_a_page(report: Report) -> None:
    page = demand_harmless(render(report))

    assert "svg" not in {tag for tag, _ in page.tags}


def test_it_forbids_itself_to_load_anything_and_fits_a_phone() -> None:
    metas = [attributes for tag, attributes in Page(render(SAMPLE)).tags if tag == "meta"]
    policy = next(m["content"] for m in metas if m.get("http-equiv") == "Content-Security-Policy")

    assert policy.split("; ")[0] == "default-src 'none'"
    assert "script-src" not in policy
    assert any(m.get("name") == "viewport" for m in metas)
    assert "prefers-color-scheme: dark" in render(SAMPLE)


def test_the_diagnosis_comes_first_with_its_fix_place_and_symptoms() -> None:
    text = render(SAMPLE, [nan_run()])
    order = [
        "hidden-nan-loss",
        "the loss is nan, the log says 0.0",
        "<code>logging_nan_inf_filter=False</code>",
        "runs/sft/steps.jsonl, step 2",
        "Explains 3 symptoms (TG503, TG106)",
        "answer-method-replaced",
        'id="run-1"',
        "41 of 50 answers are right",
        "the collator is our own",
        "needs a model; none was given",
        "9 checks decided</summary>",
    ]
    places = [text.index(words) for words in order]

    assert places == sorted(places)
    assert '<tr class="marked"><th scope="row">2</th><td>loss nan</td></tr>' in text


def test_a_hostile_name_is_shown_and_does_nothing() -> None:
    page = demand_harmless(render(Report(subjects=(Subject(HOSTILE_NAME, "training run"),))))

    assert "<script>alert('1')</script>" in "".join(page.words)
    assert "\x1b" not in "".join(page.words)


def test_a_hidden_nan_is_a_gap_beside_what_the_log_says() -> None:
    text = render(SAMPLE, [nan_run()])

    assert "NaN at 22 of 30 steps, first at step 9. The log says 0 meanwhile." in text
    loss = text[text.index('id="run-1-loss"') :].partition("</figure>")[0]
    assert loss.count('class="lost"') == 1
    raw = re.search(r'class="curve raw" d="([^"]*)"', loss)
    logged = re.search(r'class="curve logged" d="([^"]*)"', loss)
    assert raw is not None
    assert logged is not None
    assert raw[1].count("L") == 7
    assert logged[1].count("L") == 29
    assert 'class="gap-words"' in loss


def test_findings_are_marked_at_their_step_and_lead_to_their_place() -> None:
    page = Page(render(SAMPLE, [nan_run()]))
    marks = [a for tag, a in page.tags if tag == "a" and "mark" in (a.get("class") or "")]
    ids = {a.get("id") for _, a in page.tags}

    assert {mark["aria-label"] for mark in marks} == {"TG501 at step 2"}
    assert all(mark["href"][1:] in ids for mark in marks)
    share = (2 - 0.5) / 30
    assert all(f"left:{share:.2%}" in mark["style"] for mark in marks)


def test_a_finding_of_another_run_is_not_marked_in_this_one() -> None:
    page = Page(render(SAMPLE, [nan_run("runs/other")]))

    assert not any("mark" in (a.get("class") or "") for tag, a in page.tags if tag == "a")


def test_a_healthy_run_has_no_gap_and_says_that_nothing_was_found() -> None:
    text = render(CLEAN, [nan_run("adapters/good", first=99)])

    assert "No finding" in text
    assert 'class="lost"' not in text
    assert "lost-words" not in text.partition("</style>")[2]


def test_the_heat_map_tells_zero_from_small_and_from_what_is_not_finite() -> None:
    text = render(SAMPLE, [nan_run()])
    figure = text[text.index('id="run-1-gradients"') :].partition("</figure>")[0]

    assert re.search(r'<path class="zero" d="M0 1\.5h8"/>', figure)
    assert re.search(r'<path class="bad" d="M8 1\.5h22"/>', figure)
    assert "Not finite in model.layers.1." in figure


@given(st.lists(st.floats(), max_size=20))
def test_a_larger_value_never_has_a_lower_colour(values: list[float]) -> None:
    colours = Colours.for_values(values)
    finite = sorted(value for value in values if 0 < value < math.inf)

    assert sorted(map(colours, finite)) == list(map(colours, finite))


@given(
    st.lists(st.floats(-1e9, 1e9) | st.just(math.nan), min_size=100, max_size=400),
    st.integers(1, 20),
)
def test_thinning_keeps_extremes_and_gaps(values: list[float], spans: int) -> None:
    points = list(enumerate(values, start=1))
    kept = thinned(points, spans)
    finite = [value for value in values if math.isfinite(value)]

    assert len(kept) <= 5 * spans
    assert kept == sorted(kept, key=lambda point: point[0])
    assert (kept[0][0], kept[-1][0]) == (1, len(values))
    assert len(finite) == len(values) or any(not math.isfinite(value) for _, value in kept)
    if finite:
        drawn = [value for _, value in kept if math.isfinite(value)]
        assert (min(drawn), max(drawn)) == (min(finite), max(finite))


def test_a_long_run_makes_a_small_page_that_says_how_it_is_drawn() -> None:
    run = nan_run(steps=50_000, first=49_000)
    text = render(SAMPLE, [Run(name=run.name, steps=run.steps, layers=run.layers[::25])])

    assert len(text) < 300_000
    assert "drawn in spans of 250" in text
    assert "NaN at 1001 of" in text


def test_scattered_gaps_do_not_hide_the_curve() -> None:
    scattered = [
        StepFacts(step=step, loss=math.nan if step % 3 == 0 else 2.0) for step in range(1, 100)
    ]
    text = render(CLEAN, [Run(name="r", steps=scattered)])

    assert text.count('class="lost many"') == 33
    assert text.count('class="dots raw"') + text.count('class="curve raw"') >= 33


def test_many_layers_runs_and_findings_are_bounded() -> None:
    wide = [
        LayerStep(
            step=step,
            names=tuple(f"model.layers.{number}" for number in range(128)),
            gradients=tuple(float((number * step) % 7) for number in range(128)),
            ratios=tuple(float((number * step) % 5) * 1e-4 for number in range(128)),
        )
        for step in range(1, 2 * COLUMNS)
    ]
    finding = Finding("a" * 10_000, code="TG501", name="x", location=Location(path="p" * 10_000))
    report = Report(findings=(finding,) * 3000, subjects=(Subject("r", "training run"),))
    one = len(render(CLEAN, [Run(name="r", layers=wide)]))
    page = demand_harmless(render(report, [nan_run(f"r{number}") for number in range(50)]))

    assert one < 600_000
    assert page.classes("svg") != []
    assert sum(tag == "h2" for tag, _ in page.tags) == 1 + MAX_RUNS
    assert "30 more runs not drawn" in "".join(page.words)
    assert len("".join(page.words)) < 3_000_000
