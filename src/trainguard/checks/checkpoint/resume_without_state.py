"""A checkpoint cannot be resumed as it was: the optimizer's or the scheduler's state is missing.

## Why is this bad?
The Trainer restores the two only together. If either file is missing it says nothing, starts with
a fresh optimizer and a fresh schedule, and counts the steps on: the learning rate jumps back to its
peak or warms up again, and Adam's moments are gone. Without the random state it logs one line, and
dropout differs from what it would have been.

It is a warning where the latest checkpoint lacks what an earlier one has, and information where
no checkpoint has it (`save_only_model=True`, which is a choice) or only earlier ones lack it.

## Example
```checkpoint
checkpoint-100 global_step=100 optimizer.pt=15895 scheduler.pt=1465 rng_state.pth=14455
checkpoint-200 global_step=200 scheduler.pt=1465 rng_state.pth=14455   # TG132
```

`save_only_model=True`:

```checkpoint
checkpoint-100 global_step=100 adapter_model.safetensors=5120
checkpoint-200 global_step=200 adapter_model.safetensors=5120   # TG132
```

## Instead
Keep `optimizer.pt`, `scheduler.pt` and `rng_state*.pth` of the checkpoint to resume from, or start
a new run from its weights with a schedule of its own.

```checkpoint
checkpoint-100 global_step=100 optimizer.pt=15895 scheduler.pt=1465 rng_state.pth=14455
checkpoint-200 global_step=200 optimizer.pt=15895 scheduler.pt=1465 rng_state_0.pth=14455
```

DeepSpeed and FSDP keep their state in other files, and a checkpoint without `trainer_state.json`
is still being written:

```checkpoint
checkpoint-100 global_step=100 sharded_state=true
checkpoint-200 adapter_model.safetensors=5120
```

## Source
transformers#23099. Run with transformers 5.23: without either file the first resumed step has
the learning rate 0.001 instead of 0.0005, and no message is printed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from trainguard.facts.checkpoint import (
    OPTIMIZER,
    RANDOM_STATE,
    SCHEDULER,
    CheckpointFacts,
    finished,
)
from trainguard.facts.intent import Intent
from trainguard.findings import Finding, Precision, Severity
from trainguard.registry import check

_CONSEQUENCES = {
    OPTIMIZER: "a resumed run starts its optimizer and its learning rate anew without a word",
    SCHEDULER: "a resumed run starts its optimizer and its learning rate anew without a word",
    RANDOM_STATE: "a resumed run draws other random numbers",
}


@check("TG132", severity=Severity.WARNING, precision=Precision.EXACT)
def resume_without_state(
    checkpoints: Sequence[CheckpointFacts], intent: Intent | None
) -> Iterator[Finding]:
    """Fire once, at the latest checkpoint that lacks something."""
    own = [one for one in finished(checkpoints) if not one.sharded_state]
    lacking = [one for one in own if _missing(one)]
    if not lacking or (intent is not None and intent.purpose == "infer"):
        return
    latest = lacking[-1]
    missing = _missing(latest)
    yield Finding(
        f"{latest.name} has no {_listed(missing)} ({len(lacking)} of {len(own)} "
        f"checkpoints lack some state), so {_CONSEQUENCES[missing[0]]}",
        fix="keep optimizer.pt, scheduler.pt and rng_state*.pth for a checkpoint to resume from, "
        "or start a new run from its weights on purpose",
        location=latest.location(latest.name, f"without {', '.join(missing)}"),
        evidence={"missing": missing, "checkpoints": [one.name for one in lacking[:100]]},
        severity=_severity(own, latest),
    )


def _missing(one: CheckpointFacts) -> list[str]:
    present = {
        OPTIMIZER: one.has("optimizer"),
        SCHEDULER: SCHEDULER in one.files,
        RANDOM_STATE: one.has(RANDOM_STATE),
    }
    return [name for name, there in present.items() if not there]


def _listed(missing: Sequence[str]) -> str:
    names = [f"{name}*.pth" if name == RANDOM_STATE else name for name in missing]
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} or {names[-1]}"


def _severity(own: Sequence[CheckpointFacts], latest: CheckpointFacts) -> Severity:
    lost = set(_missing(latest)) - {RANDOM_STATE}
    kept_before = any(lost - set(_missing(one)) for one in own)
    return Severity.WARNING if latest is own[-1] and kept_before else Severity.INFO
