"""The parts of a training step come in an order that undoes one of them.

## Why is this bad?
Gradients live from `backward` to `zero_grad`. Cleared before the optimizer steps, they are zero
and nothing is learnt. Clipped after the step, they were used unclipped. Clipped before
`scaler.unscale_`, they are compared in scaled units, thousands of times too large, and every step
shrinks to almost nothing. And a schedule that steps before the optimizer skips its first value.

## Example
```source
for batch in loader:
    loss = model(**batch).loss
    loss.backward()
    optimizer.zero_grad()  # TG810
    optimizer.step()
```

```source
from torch.nn.utils import clip_grad_norm_

for batch in loader:
    loss = model(**batch).loss
    loss.backward()
    optimizer.step()
    clip_grad_norm_(model.parameters(), 1.0)  # TG810
    optimizer.zero_grad()
```

```source
from torch.nn.utils import clip_grad_norm_

for batch in loader:
    scaler.scale(model(**batch).loss).backward()
    clip_grad_norm_(model.parameters(), 1.0)  # TG810
    scaler.step(optimizer)
    scaler.update()
    optimizer.zero_grad()
```

```source
for batch in loader:
    optimizer.zero_grad()
    optimizer.step()  # TG810
    model(**batch).loss.backward()
```

## Instead
```source
from torch.nn.utils import clip_grad_norm_

for index, batch in enumerate(loader):
    scaler.scale(model(**batch).loss).backward()
    if index % 4 == 3:
        scaler.unscale_(optimizer)
        clip_grad_norm_(model.parameters(), 1.0)
        scaler.step(optimizer)
        scaler.update()
        scheduler.step()
        optimizer.zero_grad()
```

The order can begin anywhere:

```source
for batch in loader:
    optimizer.zero_grad()
    loss = model(**batch).loss
    loss.backward()
    optimizer.step()
```

Two optimizers take turns:

```source
for batch in loader:
    loss_d = discriminator(batch)
    loss_d.backward()
    optimizer_d.step()
    optimizer_g.zero_grad()
    loss_g = generator(batch)
    loss_g.backward()
    optimizer_g.step()
    optimizer_d.zero_grad()
```

## Source
The PyTorch guides on gradient clipping with a scaler and on learning rate schedules.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from trainguard.facts.source import Function, SourceFacts
from trainguard.findings import Finding, Precision, Severity
from trainguard.registry import check

_CLIPS = ("clip_grad_norm_", "clip_grad_value_")


@dataclass(frozen=True)
class _Event:
    what: str
    """ "backward", "step", "zero", "clip" or "unscale"."""
    node: ast.Call


@check("TG810", severity=Severity.ERROR, precision=Precision.HIGH)
def step_order(source: SourceFacts) -> Iterator[Finding]:
    """Fire on a loop with one backward, one step and one clearing in a wrong order."""
    loops: list[ast.For | ast.While] = [*source.each(ast.For), *source.each(ast.While)]
    for loop in loops:
        if not _has_inner_training(loop):
            yield from _judged(source, list(_events(source, loop.body)))


def _judged(source: SourceFacts, events: Sequence[_Event]) -> Iterator[Finding]:
    by_kind = {what: [one for one in events if one.what == what] for what in _KINDS}
    if any(len(by_kind[what]) > 1 for what in _KINDS) or not (
        by_kind["backward"] and by_kind["step"]
    ):
        return
    order = [one.what for one in _from_backward(events)]
    if "zero" in order and order.index("zero") < order.index("step"):
        step_first = events.index(by_kind["step"][0]) < events.index(by_kind["backward"][0])
        culprit = by_kind["step" if step_first else "zero"][0]
        yield Finding(
            "the gradients are cleared between backward and step: every step sees zeros and "
            "nothing is learnt",
            fix="call zero_grad after the optimizer's step, or before backward",
            location=source.at(culprit.node),
        )
    if "clip" in order and order.index("clip") > order.index("step"):
        yield Finding(
            "the gradients are clipped after the step that used them: clipping has no effect",
            fix="clip between backward and the optimizer's step",
            location=source.at(by_kind["clip"][0].node),
        )
    elif _clips_scaled(by_kind["step"][0], order):
        yield Finding(
            "scaled gradients are clipped: their norm is as many times too large as the scale, "
            "and every step shrinks to almost nothing",
            fix="call scaler.unscale_(optimizer) before clipping",
            location=source.at(by_kind["clip"][0].node),
        )


def _clips_scaled(step: _Event, order: Sequence[str]) -> bool:
    """Whether a scaler's step comes after a clip that `unscale_` does not come before."""
    if "clip" not in order or not _scales(step.node):
        return False
    return "unscale" not in order or order.index("unscale") > order.index("clip")


_KINDS = ("backward", "step", "zero", "clip", "unscale")


def _from_backward(events: Sequence[_Event]) -> list[_Event]:
    """The loop's events in the order of time, beginning with backward."""
    start = next(index for index, one in enumerate(events) if one.what == "backward")
    return [*events[start:], *events[:start]]


def _events(source: SourceFacts, body: Sequence[ast.stmt]) -> Iterator[_Event]:
    for statement in body:
        for node in _calls(statement):
            what = _kind(source, node)
            if what:
                yield _Event(what, node)


def _calls(node: ast.AST) -> Iterator[ast.Call]:
    """Calls in the order in which they are made: arguments before the call itself."""
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, Function | ast.ClassDef):
            yield from _calls(child)
    if isinstance(node, ast.Call):
        yield node


def _kind(source: SourceFacts, call: ast.Call) -> str:
    name = source.name(call.func).rpartition(".")[2]
    method = call.func.attr if isinstance(call.func, ast.Attribute) else name
    owner = ast.unparse(call.func.value) if isinstance(call.func, ast.Attribute) else ""
    if method == "backward":
        return "backward"
    if method == "zero_grad":
        return "zero"
    if method == "unscale_":
        return "unscale"
    if method in _CLIPS:
        return "clip"
    if method == "step" and _is_optimizer(owner):
        return "step"
    return ""


def _is_optimizer(owner: str) -> bool:
    name = owner.rpartition(".")[2].lower()
    return "optim" in name or name in ("opt", "scaler", "grad_scaler")


def _scales(step: ast.Call) -> bool:
    """Whether the step is a gradient scaler's: `scaler.step(optimizer)`."""
    owner = ast.unparse(step.func.value) if isinstance(step.func, ast.Attribute) else ""
    return "scaler" in owner.lower() and bool(step.args)


def _has_inner_training(loop: ast.For | ast.While) -> bool:
    """Whether the backward pass is in a loop of its own inside this one."""
    inner = [
        one for one in ast.walk(loop) if isinstance(one, ast.For | ast.While) and one is not loop
    ]
    return any(
        isinstance(node, ast.Attribute) and node.attr == "backward"
        for one in inner
        for node in ast.walk(one)
    )
