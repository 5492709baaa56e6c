"""Questions of the evaluation stand in the training data.

## Why is this bad?
What the model has seen it can repeat. Each common row lifts the score by memory, and the score
says less about new questions the more there are. Found are questions of any length that read the
same but for case, punctuation and blanks, and questions that stand whole in a longer text: a chat
template, a document. The usual windows of 13 words would miss most short questions.

A question whose number was changed, or that shares only a template, is another question.

## Example
```data
pair valid train rows=1000 distinct=1000 equal=28 same_answer=28 first=valid.json:7 # TG703
```

```data
pair test train rows=200 distinct=200 contained=5 first=test.json:7 # TG703
```

## Instead
Remove the evaluation's questions from the training data, or split before anything is derived.

```data
pair valid train rows=1000 distinct=1000
```

One shared question of many with another answer each may be a greeting:

```data
pair valid train rows=1000 distinct=1000 equal=1 same_answer=0
```

## Source
Windows of 13 words found 5.5 % of verbatim leaks in a real set of short questions; comparison of
the whole text found all, and none of the number-changed rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from trainguard.facts.data import PairFacts
from trainguard.findings import Finding, Location, Precision, Severity
from trainguard.registry import check

#: Of questions with another answer, so many may be greetings and other set phrases.
SHARE = 0.01


@check("TG703", severity=Severity.ERROR, precision=Precision.EXACT, explains=("TG612",))
def evaluation_rows_in_training(pairs: Sequence[PairFacts]) -> Iterator[Finding]:
    """Fire on held-out questions that training reads, if they are no set phrases."""
    for pair in pairs:
        found = pair.equal + pair.contained
        # Answers of texts, rows of chats: the question alone tells only if there are many.
        sure = pair.same_answer + pair.contained
        if pair.identical or not found or (not sure and found <= max(1, SHARE * pair.rows)):
            continue
        where = "are also in" if pair.other_held_out else "stand in"
        parts = [f"{pair.equal} as they are"] if pair.equal else []
        parts += [f"{pair.contained} inside longer texts"] if pair.contained else []
        yield Finding(
            f"{found} of {pair.rows} questions of {pair.held_out} {where} {pair.other} "
            f"({', '.join(parts)}; first: {pair.first}): the score counts memory as skill",
            fix=f"remove these questions from {pair.other}, and report the score on the others",
            location=Location(key=f"{pair.held_out} {pair.other}", value=pair.first or None),
            evidence={
                "rows": pair.rows,
                "equal": pair.equal,
                "same_answer": pair.same_answer,
                "contained": pair.contained,
            },
            severity=Severity.WARNING if pair.other_held_out else Severity.ERROR,
        )
