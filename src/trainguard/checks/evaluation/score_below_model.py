"""The pipeline gets rows wrong that the model gets right.

## Why is this bad?
Where the reference is the model's own greedy continuation of the prompt, token by token, a greedy
pipeline must say it and be right. If it is not, the fault lies around the model: the prompt of
the evaluation is not that of training (a tag too many, another template), the parser looks for
something that the model is not asked to write, or the text is cut off before the answer.
Training longer will not help.

## Example
```evaluation
bound rows=32 greedy=30 greedy_right=2 decoding=greedy   # TG613
```

## Instead
```evaluation
bound rows=32 greedy=30 greedy_right=30 decoding=greedy
```

A sampled answer may differ from the most probable one:

```evaluation
bound rows=32 greedy=30 greedy_right=22 decoding=sampling
```

## Source
A prompt that ended with the opening tag, and a parser that wanted to see that tag in the answer:
accuracy 0 with a model that knew the answers. That a text which is most probable at every token
is the greedy text held in 500 of 500 rows.
"""

from __future__ import annotations

from collections.abc import Iterator

from trainguard.facts.evaluation_score import BoundFacts
from trainguard.findings import Finding, Location, NotChecked, Precision, Severity
from trainguard.registry import check

#: A row or two can differ by the tokens at the seam of prompt and answer.
FEW = 3
SHARE = 0.1


@check("TG613", severity=Severity.ERROR, precision=Precision.HIGH)
def score_below_model(bound: BoundFacts) -> Iterator[Finding | NotChecked]:
    """Fire where greedy answers that must be right are wrong."""
    if bound.decoding != "greedy":
        yield NotChecked(f"needs greedy decoding; it was {bound.decoding or 'not seen'}")
        return
    lost = bound.greedy - bound.greedy_right
    if lost < max(FEW, SHARE * bound.rows):
        return
    yield Finding(
        f"for {bound.greedy} of {bound.rows} questions the reference is the model's own greedy "
        f"answer, and the pipeline gets {lost} of them wrong: the fault is in the prompt, the "
        "length limit or the parser, not in the weights",
        fix="print one prompt as training saw it, the prompt of the evaluation, the generated text "
        "and what the parser makes of it, side by side",
        location=Location(key="greedy_right", value=f"{bound.greedy_right}/{bound.greedy}"),
        evidence={
            "rows": bound.rows,
            "greedy": bound.greedy,
            "greedy_right": bound.greedy_right,
        },
    )
