"""The best checkpoint is chosen by a metric in the wrong direction.

## Why is this bad?
`load_best_model_at_end` keeps the checkpoint with the greatest value of `metric_for_best_model`
if `greater_is_better` is true, and the least otherwise. Turned the wrong way round it keeps the
worst one. Left out, `greater_is_better` is taken to be true unless the metric's name ends in
`loss`: also for error rates and perplexity.

## Example
```source
from transformers import TrainingArguments

args = TrainingArguments("out", metric_for_best_model="eval_loss", greater_is_better=True)  # TG811
```

```source
from transformers import Seq2SeqTrainingArguments

args = Seq2SeqTrainingArguments("out", metric_for_best_model="wer")  # TG811
```

## Instead
```source
from transformers import TrainingArguments

args = TrainingArguments("out", metric_for_best_model="eval_loss", greater_is_better=False)
args = TrainingArguments("out", metric_for_best_model="eval_loss")
args = TrainingArguments("out", metric_for_best_model="accuracy")
args = TrainingArguments("out", metric_for_best_model="wer", greater_is_better=False)
args = TrainingArguments("out", metric_for_best_model=name, greater_is_better=up)
```

## Source
transformers: `greater_is_better = not metric_for_best_model.endswith("loss")` where it is None.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from trainguard.facts.source import SourceFacts, argument, constant, unpacks
from trainguard.findings import Finding, Precision, Severity
from trainguard.registry import check

_DOWN = re.compile(
    r"(^|_)(loss|perplexity|ppl|wer|cer|ter|mse|mae|rmse|error|error_rate|edit_distance)$"
)
_UP = re.compile(
    r"(^|_)(accuracy|acc|f1|f1_macro|f1_micro|bleu|sacrebleu|rouge[12lL]?|rougeLsum|exact_match|em|"
    r"precision|recall|auc|roc_auc|mcc|matthews_correlation|r2|spearmanr|pearson|reward|meteor)$"
)


@check("TG811", severity=Severity.ERROR, precision=Precision.HIGH)
def metric_direction(source: SourceFacts) -> Iterator[Finding]:
    """Fire where the direction contradicts what the metric's name says."""
    for call in source.calls:
        metric = constant(argument(call, "metric_for_best_model"))
        if not isinstance(metric, str) or unpacks(call):
            continue
        stated = argument(call, "greater_is_better")
        upwards = not metric.endswith("loss") if stated is None else constant(stated)
        wanted = False if _DOWN.search(metric) else True if _UP.search(metric) else None
        if wanted is None or not isinstance(upwards, bool) or upwards is wanted:
            continue
        how = "is" if stated is not None else "counts as"
        yield Finding(
            f"greater_is_better {how} {upwards} for {metric!r}, of which "
            f"{'more' if wanted else 'less'} is better: the worst checkpoint is kept as the best",
            fix=f"pass greater_is_better={wanted}",
            location=source.at(call),
        )
