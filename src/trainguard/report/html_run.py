"""One training run on the page: what became of its loss, its gradients and its layers."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence

from trainguard.facts.run import Run
from trainguard.facts.steps import StepFacts
from trainguard.findings import Finding
from trainguard.report.curves import Point
from trainguard.report.html_findings import anchors
from trainguard.report.html_heat import heat_maps
from trainguard.report.html_plot import SPANS, Mark, Series, Steps, plot
from trainguard.report.html_table import table
from trainguard.report.html_text import escaped, number, plural

#: Steps beyond this are no steps: a picture could not tell them apart.
MAX_STEP = 2**53
#: Findings that are marked, causes first.
MAX_MARKS = 12


def run_section(run: Run, findings: Sequence[Finding], index: int) -> Iterator[str]:
    """The section of a run.

    Args:
        run: what was recorded; at least one step or one look at the layers.
        findings: all of the report; those of this run are marked at their step.
        index: of the run on the page, from 0.
    """
    facts = [step for step in run.steps if 0 < step.step <= MAX_STEP]
    layers = [step for step in run.layers if 0 < step.step <= MAX_STEP]
    key = f"run-{index + 1}"
    yield f'<section aria-labelledby="{key}">'
    yield f'<h2 id="{key}">Run <span class="name">{escaped(run.name)}</span></h2>'
    numbers = [step.step for step in facts] + [step.step for step in layers]
    if numbers:
        steps = Steps(min(numbers), max(numbers))
        marks = _marks(run, findings, steps)
        causes = [mark for mark in marks if mark.style != "symptom"]
        yield '<div class="plots">'
        yield from _loss(facts, steps, marks, key)
        for title, style, points in _others(facts):
            if points:
                words = _lost(points)
                series = [Series(title, style, points)]
                yield from plot(title, series, steps, causes, f"{key}-{style}", words)
        yield from heat_maps(layers, steps, key)
        yield "</div>"
        yield from table(facts, {mark.step for mark in marks}, key)
    yield from _remark(facts)
    yield "</section>"


def _marks(run: Run, findings: Sequence[Finding], steps: Steps) -> list[Mark]:
    places = anchors(findings)
    seen: dict[tuple[int, str], Mark] = {}
    for finding in findings:
        step = finding.location.step
        is_here = run.name in (finding.subject, finding.scope)
        if is_here and step is not None and steps.first <= step <= steps.last:
            style = finding.severity.value if not finding.explained_by else "symptom"
            mark = Mark(step, finding.code, style, places[id(finding)])
            seen.setdefault((step, finding.code), mark)
    return list(seen.values())[:MAX_MARKS]


def _points(steps: Iterable[StepFacts], name: str) -> list[Point]:
    return [
        (step.step, float(value)) for step in steps if (value := getattr(step, name)) is not None
    ]


def _loss(
    facts: Sequence[StepFacts], steps: Steps, marks: Sequence[Mark], key: str
) -> Iterator[str]:
    raw, logged = _points(facts, "loss"), _points(facts, "logged_loss")
    said = dict(logged)
    printed = [point for point in _points(facts, "printed_loss") if _differs(point, said)]
    series = [
        Series("as the trainer returned it", "raw", raw),
        Series("as logged", "logged", logged),
        Series("as printed", "printed", printed),
        Series("on the evaluation set", "eval", _points(facts, "eval_loss")),
    ]
    if any(one.points for one in series):
        words = _hidden(raw, said) or _lost(raw or logged)
        yield from plot("Loss", series, steps, marks, f"{key}-loss", words)


def _differs(point: Point, said: dict[float, float]) -> bool:
    step, value = point
    held = said.get(step)
    return held != value and not (held is not None and math.isnan(held) and math.isnan(value))


def _lost(points: Sequence[Point]) -> str:
    """How many values are not finite, and since when."""
    lost = [(step, value) for step, value in points if not math.isfinite(value)]
    if not lost:
        return ""
    step, value = lost[0]
    return (
        f"{number(value)} at {len(lost)} of {plural(len(points), 'step')}, first at step {step:g}."
    )


def _hidden(raw: Sequence[Point], said: dict[float, float]) -> str:
    """The same of a loss that the log states as a number."""
    first = next((step for step, value in raw if not math.isfinite(value)), None)
    logged = [(step, value) for step, value in said.items() if first is not None and step >= first]
    shown = [value for _, value in logged if math.isfinite(value)]
    if not shown:
        return ""
    values = list(dict.fromkeys(number(value) for value in shown))
    some = values[0] if len(values) == 1 else f"{values[0]} … {values[-1]}"
    return f"{_lost(raw)} The log says {escaped(some)} meanwhile."


def _others(facts: Sequence[StepFacts]) -> Iterator[tuple[str, str, list[Point]]]:
    yield "Gradient norm before clipping", "norm", _points(facts, "grad_norm")
    yield "Learning rate", "rate", _rates(facts, 0)
    yield "Learning rate of the second group", "rate-2", _rates(facts, 1)
    yield "Supervised tokens of a step", "tokens", _points(facts, "supervised_tokens")
    yield "Size of the update by that of the weights", "update", _points(facts, "update_ratio")


def _rates(facts: Sequence[StepFacts], group: int) -> list[Point]:
    rates = [
        (step.step, step.learning_rates[group])
        for step in facts
        if step.learning_rates is not None and len(step.learning_rates) > group
    ]
    is_first_again = group and all(
        step.learning_rates is None or len(set(step.learning_rates)) < 2 for step in facts
    )
    return [] if is_first_again else [(step, float(rate)) for step, rate in rates]


def _remark(facts: Sequence[StepFacts]) -> Iterator[str]:
    """How a long run is drawn."""
    if len(facts) > 5 * SPANS:
        size = math.ceil(len(facts) / SPANS)
        yield (
            f'<p class="muted">{plural(len(facts), "step")}, drawn in spans of {size}: of each its '
            "first and last value, its smallest and largest, and a mark if one is not finite.</p>"
        )
    if facts and any(step.step_unknown for step in facts):
        yield '<p class="muted">The log does not say its steps; its lines are counted.</p>'
