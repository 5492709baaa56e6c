"""Generated tokens are not those that the model chose.

## Why is this bad?
With greedy decoding the next token is the one that the output head rates highest. If another one
comes out, something between the head and the text decides: a logits processor that spells the
reference, a stopping criterion that writes into the sequence, a `forward` whose logits were
exchanged after the head. The model runs, and its score is not its own.

With sampling any token can come out, but improbable ones only rarely. The test is an e-value:
every token multiplies it by p(token)^-k / sum(p^(1-k)), whose expectation is 1 if the token was
drawn from p. By Ville's inequality an honest sampler reaches 1/a at any time with a probability
of at most a. Cutting off improbable tokens (top-k, top-p, min-p) only makes it smaller.

A logits processor that the pipeline passes openly (a grammar, a list of allowed answers) does
the same for good reasons. It is remarked, and an error only if the answers also stay right while
the model is muted.

## Example
```evaluation
replay greedy tokens=96 differing=90   # TG604
```

```evaluation
replay sampling tokens=96 surprise=412.5   # TG604
```

A processor that knows the answers:

```evaluation
replay greedy tokens=96 differing=90 processors='["Spell (spell.py:3)"]'   # TG604
control rows=32 muted_right=32 muted_distinct=32 best_constant=1
```

## Instead
```evaluation
replay greedy tokens=96 differing=0
```

An honest sampler is rather too likely than too unlikely:

```evaluation
replay sampling tokens=96 surprise=-31.2
```

## Source
Greedy text of an honest pipeline was the head's choice at every token; text of a look-up at none,
forced text at few. Sampled look-ups reached a log e-value of 3112 in 250 rows, honest ones stayed
negative. Ville, 1939; e-values: Vovk and Wang, 2021.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from trainguard.facts.evaluation import EvaluationFacts
from trainguard.facts.evaluation_probes import ReplayFacts
from trainguard.findings import Finding, Location, Precision, Severity
from trainguard.registry import check

#: One token can differ where a pipeline edits its last token, and where equal logits meet.
FEW = 3
SHARE = 0.01
#: An honest sampler exceeds it once in a million evaluations.
LARGEST_SURPRISE = -math.log(1e-6)


@check("TG604", severity=Severity.ERROR, precision=Precision.EXACT, explains=("TG603",))
def tokens_not_from_model(
    replay: ReplayFacts, evaluation: EvaluationFacts | None
) -> Iterator[Finding]:
    """Fire where the tokens that came out are not those of the output head."""
    seen, value = _greedy(replay) if replay.decoding == "greedy" else _sampled(replay)
    if not seen:
        return
    by = f" ({', '.join(replay.processors)} stands in between)" if replay.processors else ""
    yield Finding(
        f"{seen}{by}: the score is not the model's alone",
        fix="evaluate without the logits processor, or report the score as that of both together"
        if replay.processors
        else "find what changes the logits or the tokens after the output head, remove it and "
        "evaluate again",
        location=Location(key=replay.decoding, value=value),
        evidence={
            "tokens": replay.tokens,
            "differing": replay.differing,
            "surprise": replay.surprise,
            "processors": list(replay.processors),
        },
        severity=Severity.INFO if _is_open(replay, evaluation) else Severity.ERROR,
    )


def _greedy(replay: ReplayFacts) -> tuple[str, str]:
    if replay.differing < max(FEW, SHARE * replay.tokens):
        return "", ""
    seen = (
        f"{replay.differing} of {replay.tokens} greedy tokens are not the one that the output "
        "head rates highest"
    )
    return seen, f"{replay.differing}/{replay.tokens}"


def _sampled(replay: ReplayFacts) -> tuple[str, str]:
    if replay.surprise < LARGEST_SURPRISE:
        return "", ""
    seen = (
        f"the {replay.tokens} sampled tokens are less probable under the model than its own "
        f"samples ever are (log e-value {replay.surprise:.4g}, chance reaches "
        f"{LARGEST_SURPRISE:.3g} once in a million times)"
    )
    return seen, f"{replay.surprise:.4g}"


def _is_open(replay: ReplayFacts, evaluation: EvaluationFacts | None) -> bool:
    """Whether a processor that the pipeline passes openly does it, without knowing answers."""
    control = evaluation.control if evaluation is not None else None
    return bool(replay.processors) and not (control is not None and control.proves)
