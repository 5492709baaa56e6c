"""The parser finds an answer in every text.

## Why is this bad?
`return 0.0` where no answer is found makes the answer rate 1.0 for any model, also for one that
says nothing. The rate then hides what it was meant to show: a model that has not learnt the
format, a prompt that ends in the wrong place, a NaN in the weights. And where the expected answer
happens to be the default, garbage is right.

A parser that hands back the text itself, for questions with free answers, invents nothing and is
not meant.

## Example
```evaluation
parser parse_answer junk=10 answered=10 constant=0.0   # TG607
```

Where the parser cannot be reached, what the pipeline answers for a silent model tells:

```evaluation
control rows=32 muted_right=0 muted_distinct=1 best_constant=1 silent_answer=0.0   # TG607
```

## Instead
```python
def parse_answer(text):
    found = re.search(r"<answer>(.*?)</answer>", text)
    return float(found[1]) if found else float("nan")
```

```evaluation
parser parse_answer junk=10 answered=0
```

One of the texts may look like an answer to a lenient parser:

```evaluation
parser parse_answer junk=10 answered=1
```

## Source
A fine-tuning project whose parser came to return 0.0 for all of ten texts without an answer (one
of ten before that): its answer rate was 1.0 from then on, whatever the model did.
"""

from __future__ import annotations

from collections.abc import Iterator

from trainguard.facts.evaluation import EvaluationFacts
from trainguard.facts.evaluation_probes import ParserFacts
from trainguard.findings import Finding, Location, NotChecked, Precision, Severity
from trainguard.registry import check

#: Share of the texts without an answer in which one must be found.
MOST = 0.8
FIX = "return NaN or None where the text states no answer, and count such rows as unanswered"


@check("TG607", severity=Severity.ERROR, precision=Precision.EXACT)
def parser_cannot_fail(
    evaluation: EvaluationFacts, parser: ParserFacts | None
) -> Iterator[Finding | NotChecked]:
    """Fire on a parser that makes answers up, or a pipeline that does so for silence."""
    if parser is not None:
        if parser.answered >= MOST * parser.junk:
            yield _of_parser(parser)
    elif evaluation.control is None:
        yield NotChecked(evaluation.unavailable or ParserFacts.WANTED)
    elif evaluation.control.silent_answer is not None:
        yield _of_silence(evaluation.control.rows, evaluation.control.silent_answer)


def _of_parser(parser: ParserFacts) -> Finding:
    always = f", always {parser.constant}" if parser.constant is not None else ""
    return Finding(
        f"{parser.name} finds an answer in {parser.answered} of {parser.junk} texts that state "
        f"none{always}: the answer rate cannot fall, whatever the model says",
        fix=FIX,
        location=Location(
            path=parser.path, line=parser.line, key=parser.name, value=parser.constant
        ),
        evidence={"junk": parser.junk, "answered": parser.answered, "constant": parser.constant},
    )


def _of_silence(rows: int, answer: str) -> Finding:
    return Finding(
        f"each of {rows} questions is answered with {answer} while the model says nothing: the "
        "answer rate cannot fall, whatever the model says",
        fix=FIX,
        location=Location(key="silent_answer", value=answer),
        evidence={"rows": rows, "silent_answer": answer},
        severity=Severity.WARNING,
        precision=Precision.HIGH,
    )
