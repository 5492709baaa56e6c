"""Answers stay right when the model cannot say anything.

## Why is this bad?
While the model is muted its output head says "end of sequence" at every position, so that every
honest answer is the same: empty. Whatever differs from question to question then, and is right,
was not computed by the model: it was looked up, read from a file, leaked into the prompt, or
worked out by a fallback. The score counts it as the model's.

The bar is the best constant answer: among the references and the answers themselves, the one
that is right for most of the rows when given to all. A muted pipeline that ignores its questions
cannot get more. Below that bar it still counts if every answer that differs from the usual one is
right and there are at least eight (a guesser of yes-or-no questions manages that once in 256).

If the right answers are few and all stand in their own questions, the parser may have read
them off the prompt: a warning.

## Example
```evaluation
control rows=32 muted_right=32 muted_distinct=32 best_constant=1   # TG603
```

A table that knows nine of the yes-or-no questions:

```evaluation
control rows=32 best_constant=9 muted_right=9 muted_distinct=3 muted_varied=9 varied_right=9 # TG603
```

## Instead
```evaluation
control rows=32 muted_right=0 muted_distinct=1 best_constant=1
```

A parser that turns silence into one answer is not a lookup, even where that answer is often right:

```evaluation
control rows=32 muted_right=17 muted_distinct=1 best_constant=17
```

Nothing is concluded where the model was asked first and a response cache then repeats it:

```evaluation
control rows=32 muted_right=30 muted_distinct=32 best_constant=1 repeated=32
```

What the user declares, an oracle or a tool, is recorded and not accused:

```evaluation
control rows=32 muted_right=32 muted_distinct=32 best_constant=1   # TG603
oracle reason="self-test of the harness"
```

## Source
The control was right on all of 18 ways to fake a score and silent on the honest pipeline. It
cannot tell a tool that the pipeline is meant to fall back on; a score that includes such a tool
is the pipeline's, not the model's. The idea of taking the computation away and looking whether
the result stays is also KernelGenBench's "ghost replay".
"""

from __future__ import annotations

from collections.abc import Iterator

from trainguard.facts.evaluation import ControlFacts, EvaluationFacts
from trainguard.findings import Finding, Location, NotChecked, Precision, Severity
from trainguard.registry import check


@check(
    "TG603",
    severity=Severity.ERROR,
    precision=Precision.EXACT,
    explains=("TG602", "TG605", "TG611", "TG612", "TG614"),
)
def answers_without_model(evaluation: EvaluationFacts) -> Iterator[Finding | NotChecked]:
    """Fire if the muted pipeline is right more often than it can be without knowing."""
    control = evaluation.control
    if control is None:
        yield NotChecked(evaluation.unavailable or "the questions were not asked again")
    elif control.undecided:
        yield NotChecked(control.undecided)
    elif control.proves:
        yield _finding(control, evaluation.declared)


def _finding(control: ControlFacts, declared: str) -> Finding:
    echo = (
        f", and {control.muted_echoed} of them stand in their own questions"
        if control.may_echo
        else ""
    )
    return Finding(
        f"with the model muted {control.muted_right:.4g} of {control.rows} answers stay right "
        f"(the best constant answer gets {control.best_constant:.4g}) and "
        f"{control.muted_distinct} different ones are given{echo}: the score is not the model's"
        + (f" alone ({declared})" if declared else ""),
        fix="report the score as that of the pipeline"
        if declared
        else "make the parser read the completion only, without the prompt"
        if echo
        else "find what knows the answers (a table, a file, the prompt, a fallback), take it out "
        "of the way of the model and evaluate again",
        location=Location(key="muted_right", value=f"{control.muted_right:.4g}"),
        evidence={
            "rows": control.rows,
            "muted_right": control.muted_right,
            "muted_distinct": control.muted_distinct,
            "best_constant": control.best_constant,
            "plain_right": control.plain_right,
        },
        severity=_severity(bool(echo), declared),
    )


def _severity(echo: bool, declared: str) -> Severity:
    if declared:
        return Severity.INFO
    return Severity.WARNING if echo else Severity.ERROR
