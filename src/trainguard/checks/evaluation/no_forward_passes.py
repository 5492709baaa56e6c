"""Questions were answered without a forward pass.

## Why is this bad?
A language model reads at least one token to answer one question. If fewer token positions went
through its input embeddings than distinct questions were answered, then some answers were not
computed by this model in this run, and the score says nothing about its weights. The same goes
for the positions at which the output head named a next token.

The bound holds for every decoding method: beams, speculation and missing caches only add
positions, and questions that got no answer are not counted. What it cannot see is stated as not
checked: a compiled model, an engine in another process. A response cache that an earlier run
filled does answer without the model; empty it before the audit.

## Example
```evaluation
witness body questions=100 positions=0   # TG602
```

A table that knows most of the questions:

```evaluation
witness body questions=100 positions=63   # TG602
witness control questions=32 positions=20
```

A prompt that is read and followed by nothing is no answer either:

```evaluation
witness body questions=100 positions=2300 generated=0   # TG602
```

## Instead
Every answer costs the tokens of its question and of its text:

```evaluation
witness body questions=100 positions=2300 generated=700
witness control questions=32 positions=736
```

```evaluation
witness body questions=100 positions=none
unavailable reason="no torch module with embeddings was found"
```

## Source
Counted against real generation (4 prompts of 8 tokens: 8 calls and 4 * (L + 7) positions; three
beams: three times as many; prompt lookup breaks the bound on calls, not the one on positions).
"""

from __future__ import annotations

from collections.abc import Iterator

from trainguard.facts.evaluation import EvaluationFacts, WitnessFacts
from trainguard.findings import Finding, Location, NotChecked, Precision, Severity
from trainguard.registry import check

_WHERE = {"body": "in the evaluation", "control": "when the questions were asked again"}


@check("TG602", severity=Severity.ERROR, precision=Precision.EXACT)
def no_forward_passes(evaluation: EvaluationFacts) -> Iterator[Finding | NotChecked]:
    """Fire where more questions were answered than token positions were read."""
    short = evaluation.short
    if short is None or evaluation.declared:
        if reason := _undecided(evaluation):
            yield NotChecked(reason)
        return
    yield Finding(
        f"{short.questions} distinct questions were answered {_WHERE[short.during]} while the "
        f"model {_what(short)}, so at least {short.missing} answers did not come from it",
        fix="find what answers instead of the model (a table, a file, a response cache filled by "
        "an earlier run), remove it and evaluate again",
        location=Location(key="positions", value=str(short.positions)),
        evidence={
            "during": short.during,
            "questions": short.questions,
            "positions": short.positions,
            "generated": short.generated,
        },
    )


def _what(short: WitnessFacts) -> str:
    if short.positions is not None and short.positions < short.questions:
        return f"read {short.positions} token positions"
    return f"named a next token {short.generated} times"


def _undecided(evaluation: EvaluationFacts) -> str:
    if evaluation.declared:
        return evaluation.declared
    seen = [witness for witness in evaluation.witnesses if witness.positions is not None]
    if not seen:
        return evaluation.unavailable or "no forward pass could be observed"
    if seen[0].during == "body" and not (seen[0].questions or seen[0].positions):
        return "the evaluation asked nothing through the method under audit and ran no model"
    return ""
