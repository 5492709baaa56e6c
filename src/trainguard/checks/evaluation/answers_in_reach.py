"""Code on the way to an answer can read the expected answers.

## Why is this bad?
A table that maps the questions of the evaluation to their answers has no place behind `answer`,
`generate` or the parser. It is where a look-up gets its score from: a dict in a closure, a module
global, a list in the cache of a loader. Found are tables in memory, after the questions were
asked, by following what the code names; a file, a database or the caller's stack leave none.

Reach is not use. It is an error with the proof that answers stay right without the model, a
warning where that could not be tried, and no finding where the questions asked again needed the
model: few-shot examples and response caches hold answers too.

## Example
```evaluation
table LLM.answer place="load_table, its cache" size=1000 known=32 rows=32   # TG606
control rows=32 muted_right=32 muted_distinct=32 best_constant=1
```

```evaluation
table LLM.answer place="TABLE" size=1000 known=32 rows=32   # TG606
unavailable reason="no torch module with embeddings was found"
```

## Instead
Keep the expected answers with the code that compares, out of reach of the code that answers.

```evaluation
table LLM.answer place="self.memory" size=32 known=30 rows=32
control rows=32 muted_right=0 muted_distinct=1 best_constant=1
```

A declared oracle may know its answers:

```evaluation
table LLM.answer place="TABLE" size=1000 known=32 rows=32
control rows=32 muted_right=32 muted_distinct=32 best_constant=1
oracle reason="self-test of the harness"
```

So may a method that its author declares with `allow_override("answers of an earlier run")`:

```evaluation
table Cached.answer place="kept" size=1000 known=32 rows=32
control rows=32 muted_right=32 muted_distinct=32 best_constant=1
declared method=Cached.answer reason="answers of an earlier run"
```

## Source
Eleven of 18 ways to fake a score keep such a table in memory; among 1,172 objects behind an
honest model there was none.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from trainguard.facts.evaluation import EvaluationFacts
from trainguard.facts.evaluation_probes import TableFacts
from trainguard.findings import Finding, Location, Precision, Severity
from trainguard.registry import check


@check(
    "TG606",
    severity=Severity.ERROR,
    precision=Precision.HIGH,
    explains=("TG602", "TG603", "TG605", "TG611", "TG612", "TG614"),
)
def answers_in_reach(
    tables: Sequence[TableFacts], evaluation: EvaluationFacts
) -> Iterator[Finding]:
    """Fire on a table of the expected answers, unless the model was shown to be needed."""
    if evaluation.honest or evaluation.declared or _is_cache(evaluation):
        return
    proven = evaluation.control is not None and evaluation.control.proves
    for table in tables:
        yield Finding(
            f"{table.key} reaches a table of {table.size} entries ({table.place}) that holds "
            f"{table.known} of {table.rows} questions with their expected answers: "
            + ("the score is that of the table" if proven else "nothing shows that it is not used"),
            fix=f"take the expected answers out of reach of {table.key} and evaluate again",
            location=Location(key=table.key, value=table.place),
            evidence={"size": table.size, "known": table.known, "rows": table.rows},
            severity=Severity.ERROR if proven else Severity.WARNING,
        )


def _is_cache(evaluation: EvaluationFacts) -> bool:
    """Whether the answers were seen to come from a response cache that the model has filled."""
    return evaluation.control is not None and evaluation.control.repeated > 0
