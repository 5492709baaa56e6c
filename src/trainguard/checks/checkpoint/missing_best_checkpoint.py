"""The best checkpoint that the run recorded no longer exists.

## Why is this bad?
The weights with the best metric are lost. A resumed run prints one warning, forgets which
checkpoint was the best and starts the comparison anew, so that `load_best_model_at_end` returns the
best of what is left, which can be worse than the recorded metric.

The recorded path is absolute or relative to a folder that is not known. A run that was moved or
copied in part is no fault: the check is quiet if a folder of that name lies beside the checkpoint
or if the recorded parent folder has another path.

## Example
```checkpoint
checkpoint-200 global_step=200 run=/w best_model_checkpoint=/w/checkpoint-100   # TG134
```

## Instead
Leave deleting to `save_total_limit`, which keeps the best checkpoint.

```checkpoint
checkpoint-100 global_step=100 run=/w
checkpoint-200 global_step=200 run=/w best_model_checkpoint=/w/checkpoint-100 best_exists=true
```

A run that was copied to another place without all of its checkpoints:

```checkpoint
checkpoint-200 global_step=200 run=/home/me/out best_model_checkpoint=/work/out/checkpoint-100
```

Only the latest state counts; the best of an earlier one may have been rotated out rightly:

```checkpoint
checkpoint-200 global_step=200 run=/w best_model_checkpoint=/w/checkpoint-100
checkpoint-300 global_step=300 run=/w best_model_checkpoint=/w/checkpoint-300 best_exists=true
```

## Source
`Trainer._inner_training_loop` of transformers 5.23: a missing best checkpoint is logged and
forgotten on resume.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import PurePath, PureWindowsPath

from trainguard.facts.checkpoint import CheckpointFacts, finished
from trainguard.findings import Finding, Precision, Severity
from trainguard.registry import check


@check("TG134", severity=Severity.WARNING, precision=Precision.HIGH)
def missing_best_checkpoint(checkpoints: Sequence[CheckpointFacts]) -> Iterator[Finding]:
    """Fire if the latest state names a best checkpoint of this very folder that is not there."""
    done = finished(checkpoints)
    if not done or done[-1].best_exists or not done[-1].best_model_checkpoint:
        return
    latest, best = done[-1], done[-1].best_model_checkpoint
    sure = _was_here(best, latest.run)
    if sure is None:
        return
    metric = "" if latest.best_metric is None else f" (metric {latest.best_metric:.4g})"
    yield Finding(
        f"{latest.name} names {_path(best).name} as the best checkpoint{metric}, which is not "
        "there, so a resumed run forgets it and load_best_model_at_end returns another",
        fix=f"restore {_path(best).name}, or choose the model from the checkpoints that are left",
        location=latest.location("best_model_checkpoint", best),
        evidence={"best_model_checkpoint": best, "best_metric": latest.best_metric},
        precision=Precision.HIGH if sure else Precision.MEDIUM,
    )


def _was_here(best: str, run: str) -> bool | None:
    """Whether the path lies in the run's folder; False if it may, None if the run was moved."""
    parent = _path(best).parent
    if parent.is_absolute():
        return True if parent == PurePath(run) else None
    tail = [part for part in parent.parts if part not in (".", "..")]
    return False if tail and list(PurePath(run).parts[-len(tail) :]) == tail else None


def _path(recorded: str) -> PurePath:
    return PureWindowsPath(recorded) if "\\" in recorded else PurePath(recorded)
