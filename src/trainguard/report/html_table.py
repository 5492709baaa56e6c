"""The values behind the curves, for those who read rather than look."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from trainguard.facts.steps import StepFacts
from trainguard.report.html_text import number

#: Rows; of a longer run, steps at equal distances and those of findings are shown.
MOST = 60
COLUMNS = {
    "loss": "loss",
    "logged": "logged_loss",
    "evaluation": "eval_loss",
    "gradient norm": "grad_norm",
    "learning rate": "learning_rates",
    "tokens": "supervised_tokens",
    "update": "update_ratio",
}


def table(facts: Sequence[StepFacts], marked: Collection[int], key: str) -> Iterator[str]:
    """A table that is folded away.

    Args:
        facts: the steps.
        marked: numbers of steps that belong in it.
        key: a name for the run, the only one of its kind on the page.
    """
    columns = {
        title: name
        for title, name in COLUMNS.items()
        if any(getattr(step, name) is not None for step in facts)
    }
    if not columns:
        return
    shown = _shown(facts, marked)
    which = "every step" if len(shown) == len(facts) else f"{len(shown)} of {len(facts)} steps"
    yield f"<details><summary>The values as a table ({which})</summary>"
    yield f'<div class="scroll" tabindex="0" role="group" aria-label="Values of {key}"><table>'
    titles = "".join(f'<th scope="col">{title}</th>' for title in ("step", *columns))
    yield f'<thead><tr>{titles}</tr></thead><tbody class="numbers">'
    for step in shown:
        style = ' class="marked"' if step.step in marked else ""
        cells = "".join(f"<td>{_cell(getattr(step, name))}</td>" for name in columns.values())
        yield f'<tr{style}><th scope="row">{step.step}</th>{cells}</tr>'
    yield "</tbody></table></div></details>"


def _shown(facts: Sequence[StepFacts], marked: Collection[int]) -> list[StepFacts]:
    if len(facts) <= MOST:
        return list(facts)
    at = {round(place * (len(facts) - 1) / (MOST - 1)) for place in range(MOST)}
    return [step for index, step in enumerate(facts) if index in at or step.step in marked]


def _cell(value: float | tuple[float, ...] | None) -> str:
    if value is None:
        return ""
    if isinstance(value, tuple):
        return ", ".join(dict.fromkeys(number(rate) for rate in value))
    return str(value) if isinstance(value, int) else number(value)
