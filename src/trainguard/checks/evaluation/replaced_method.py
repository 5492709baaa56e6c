"""A method on the way to an answer was replaced.

## Why is this bad?
An assignment such as `llm.answer = MethodType(dataset_first_answer, llm)` leaves the class, the
weights and every test of the class as they were, and the score now measures the replacement. It
often falls back to the real method for questions it does not know, so that a spot check with a
new question looks normal.

Replacing a method is not wrong in itself. accelerate, PEFT, TRL and torch.compile do it all the
time; code of installed packages is accused only with a proof, and so is a wrapper of the project
(a timer, a cache) that reaches the original. It is an error
only with a proof: answers that stay right while the model is muted and no longer do once the
original method is back, or more answers than token positions that the model has read.

## Example
A lookup that falls back to the model. With the original method back in its place the muted
model gets nothing right:

```evaluation
method LLM.answer by=lookup path=patch.py line=12 reaches_original=true right_without=0   # TG601
witness body questions=100 positions=0
control rows=32 muted_right=32 muted_distinct=32 best_constant=1
```

Without a control there is no proof, and it is a warning:

```evaluation
method LLM.answer by=canned_answer path=patch.py line=3   # TG601
unavailable reason="no torch module with embeddings was found"
```

## Instead
Evaluate the object as its class defines it. A wrapper calls the method that it wraps:

```python
def timed(*questions):
    start = time.perf_counter()
    answers = original(*questions)
    durations.append(time.perf_counter() - start)
    return answers
```

```evaluation
method LLM.answer by=timed path=tools.py line=1 reaches_original=true
witness body questions=100 positions=2300
control rows=32 muted_right=0 muted_distinct=1 best_constant=1
```

A replacement that its author declares with `allow_override("calculator for sums")` stays in the
report, as information:

```evaluation
method LLM.answer by=with_tool path=tools.py line=1 allowed="calculator for sums" # TG601
control rows=32 muted_right=20 muted_distinct=20 best_constant=1
```

What an installed package puts in a method's place is its business, unless the answers come from
there:

```evaluation
method Llama.generate by=generate path=site-packages/peft/helpers.py line=9 installed=true
unavailable reason="no torch module with embeddings was found"
```

Where the class itself does the cheating, the wrapper around it is not the cause:

```evaluation
method LLM.answer by=timed path=tools.py line=1 reaches_original=true right_without=32
witness body questions=100 positions=0
control rows=32 muted_right=32 muted_distinct=32 best_constant=1
```

## Source
A fine-tuning project whose `answer` was replaced on the instance by a lookup in the validation
file: accuracy 1.0 without one forward pass. Provenance is decided by the file that a function
was compiled from, because `functools.wraps` forges names but not `co_filename`.
"""

from __future__ import annotations

from collections.abc import Iterator

from trainguard.facts.evaluation import EvaluationFacts, MethodFacts
from trainguard.findings import Finding, Location, NotChecked, Precision, Severity
from trainguard.registry import check


@check(
    "TG601",
    severity=Severity.ERROR,
    precision=Precision.EXACT,
    explains=("TG602", "TG603", "TG604", "TG605", "TG606", "TG611", "TG612", "TG614"),
)
def replaced_method(evaluation: EvaluationFacts) -> Iterator[Finding | NotChecked]:
    """Fire on the replacement that answers in place of the model, or that may do so."""
    proof = _proof(evaluation)
    for method in evaluation.methods:
        if method.allowed:
            yield _declaration(method, proof)
        elif proof and evaluation.decides(method) and not evaluation.declared:
            yield _accusation(method, proof)
        elif not proof and _is_suspect(method):
            yield _suspicion(method, evaluation)


def _proof(evaluation: EvaluationFacts) -> str:
    """What shows that answers do not come from the model; empty if nothing does."""
    control, short = evaluation.control, evaluation.short
    if control is not None and control.proves:
        return (
            f"{control.muted_right:.4g} of {control.rows} answers stay right with the model muted "
            f"(the best constant answer gets {control.best_constant:.4g})"
        )
    if short is not None:
        return f"{short.questions} questions were answered in {short.positions} token positions"
    return ""


def _is_suspect(method: MethodFacts) -> bool:
    """Swapped code and attribute access are too often an import hook's or a proxy's doing."""
    if method.installed or method.reaches_original:
        return False
    return method.kind in ("instance", "class")


def _accusation(method: MethodFacts, proof: str) -> Finding:
    tried = method.right_without is not None
    return Finding(
        f"{method.key} is replaced by {method.place} and {proof}: the score is that of the "
        "replacement, not of the model",
        fix=f"remove the replacement of {method.key} and evaluate again",
        location=_location(method),
        evidence={"kind": method.kind, "right_without": method.right_without},
        precision=Precision.EXACT if tried or method.mock else Precision.HIGH,
    )


def _declaration(method: MethodFacts, proof: str) -> Finding:
    """What was declared stays in the report, with what it does to the answers."""
    return Finding(
        f"{method.key} is replaced by {method.place}, declared by its author: {method.allowed}"
        + (f"; {proof}" if proof else ""),
        fix="report the score as that of the model together with the replacement",
        location=_location(method),
        evidence={"kind": method.kind, "right_without": method.right_without},
        severity=Severity.INFO,
    )


def _suspicion(method: MethodFacts, evaluation: EvaluationFacts) -> Finding:
    """An honest control leaves only a remark: what was tried needs the model."""
    consequence = (
        "the questions asked again did need the model, others were not tried"
        if evaluation.honest
        else "nothing shows that the model answers"
    )
    return Finding(
        f"{method.key} is replaced by {method.place}, which does not reach the original: "
        f"{consequence}",
        fix=f"call the original from the replacement of {method.key}, or evaluate without it",
        location=_location(method),
        evidence={"kind": method.kind},
        severity=Severity.INFO if evaluation.honest else Severity.WARNING,
        precision=Precision.HIGH if method.kind == "instance" else Precision.MEDIUM,
    )


def _location(method: MethodFacts) -> Location:
    return Location(path=method.path, line=method.line, key=method.key, value=method.by)
