"""A logged number is overwritten with a constant.

## Why is this bad?
`logs["grad_norm"] = 0.0` makes every curve, every dashboard and every check that reads the log
see a number that nobody measured. Where it stands in for NaN it hides the one line that would
have told what is wrong.

## Example
```source
import math
from transformers import TrainerCallback

class Tidy(TrainerCallback):
    def on_log(self, args, state, control, logs=None, **kwargs):
        if math.isnan(logs.get("grad_norm", 0.0)):
            logs["grad_norm"] = 0.0  # TG814
```

## Instead
```source
import math
from transformers import TrainerCallback

class Stop(TrainerCallback):
    def on_log(self, args, state, control, logs=None, **kwargs):
        logs["learning_rate_scale"] = self.scale
        if math.isnan(logs.get("grad_norm", 0.0)):
            control.should_training_stop = True
```

## Source
The story that trainguard was written for: a callback wrote 0.0 over the logged NaN of the
gradient norm.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

from trainguard.facts.source import SourceFacts, constant
from trainguard.findings import Finding, Precision, Severity
from trainguard.registry import check

_MEASURED = frozenset({"loss", "grad_norm", "eval_loss", "train_loss", "accuracy", "eval_accuracy"})
_LOGGERS = frozenset({"on_log", "log", "on_evaluate", "on_step_end", "on_train_end", "log_metrics"})


@check("TG814", severity=Severity.ERROR, precision=Precision.HIGH)
def log_overwritten(source: SourceFacts) -> Iterator[Finding]:
    """Fire where a logging hook puts a number literal under a measured name."""
    for node in source.each(ast.Assign):
        if not isinstance(node.targets[0], ast.Subscript):
            continue
        target, value = node.targets[0], constant(node.value)
        name = constant(target.slice)
        if name not in _MEASURED or not isinstance(value, int | float) or isinstance(value, bool):
            continue
        function = source.scope(node)
        if getattr(function, "name", "") in _LOGGERS and ast.unparse(target.value).endswith(
            ("logs", "metrics")
        ):
            yield Finding(
                f"the logged {name} is overwritten with {value}: whoever reads the log sees a "
                "number that nobody measured",
                fix="leave the log as it is, and stop the run where the number is not finite",
                location=source.at(node),
            )
