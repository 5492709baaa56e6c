"""The adapter's numbers are far smaller or larger than training leaves them.

## Why is this bad?
An update that is not zero can still be none. With Adam an entry of B moves by at most about the
learning rate in each step; a typical entry below one in a million says that the run had almost no
learning rate, or almost no steps, and the model answers like its base. At the other end lie runs
that blew up: entries of 100, a B as large as the weights themselves, or one module whose A is many
times that of all others drown out the base model.

## Example
```adapter
config peft_type=LORA r=8
tensor base_model.model.layers.0.q_proj.lora_A.weight shape=8x16 rms=0.18 largest=0.3
tensor base_model.model.layers.0.q_proj.lora_B.weight shape=16x8 rms=1e-8 largest=1e-8   # TG119
```

```adapter
config peft_type=LORA r=8
tensor base_model.model.layers.0.q_proj.lora_A.weight shape=8x16 rms=0.18 largest=0.3
tensor base_model.model.layers.0.q_proj.lora_B.weight shape=16x8 rms=1.8 largest=3   # TG119
```

```adapter
config peft_type=LORA r=8
tensor base_model.model.layers.0.q_proj.lora_A.weight shape=8x16 rms=44 largest=400   # TG119
tensor base_model.model.layers.0.q_proj.lora_B.weight shape=16x8 rms=0.04 largest=0.2
```

## Instead
Look at the learning rate, the number of steps and the `grad_norm` of the run, and take an earlier
checkpoint if it diverged.

```adapter
config peft_type=LORA r=8
tensor base_model.model.layers.0.q_proj.lora_A.weight shape=8x16 rms=0.18 largest=0.3
tensor base_model.model.layers.0.q_proj.lora_B.weight shape=16x8 rms=0.004 largest=0.01
```

A random start (`init_lora_weights=False`) has a large B, and an adapter that was never trained is
another finding:

```adapter
config peft_type=LORA r=1 init_lora_weights=false
tensor base_model.model.layers.0.q_proj.lora_A.weight shape=1x16 rms=0.12 largest=0.3
tensor base_model.model.layers.0.q_proj.lora_B.weight shape=16x1 rms=0.6 largest=1.0
```

```adapter
config peft_type=LORA r=8
tensor base_model.model.layers.0.q_proj.lora_A.weight shape=8x16 rms=0.18 largest=0.3
tensor base_model.model.layers.0.q_proj.lora_B.weight shape=16x8 rms=0 largest=0 constant=0
```

## Source
Measured on small models over 20 to 200 steps of Adam: the largest entry of B was 0.99 to 1.5
times the sum of the learning rates. Limits: a median over the modules of the root mean square of B
below 1e-6 or above 0.5; any entry above 100; one A above 50 times the median. They are rules of
thumb and were not tried on a large collection of adapters.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import inf, isfinite

from trainguard.checks._trend import median
from trainguard.facts.adapter import AdapterConfig, AdapterTensors, TensorFacts, brief
from trainguard.findings import Finding, Precision, Severity
from trainguard.registry import check

SMALLEST_B, LARGEST_B = 1e-6, 0.5
LARGEST_ENTRY = 100.0
LARGEST_RATIO = 50.0
_FEWEST = 4
"""Modules for which a median means something."""


@check("TG119", severity=Severity.WARNING, precision=Precision.MEDIUM)
def vanishing_or_exploding_update(
    config: AdapterConfig,
    tensors: AdapterTensors,
    *,
    smallest: float = SMALLEST_B,
    largest: float = LARGEST_B,
    largest_entry: float = LARGEST_ENTRY,
    largest_ratio: float = LARGEST_RATIO,
) -> Iterator[Finding]:
    """Fire once, for the plainest of the signs."""
    if config.peft_type != "LORA":
        return
    judged = [tensor for tensor in tensors.tensors if _is_judged(tensor)]
    a = [tensor for tensor in judged if tensor.part == "lora_A"]
    b = [tensor for tensor in judged if tensor.part == "lora_B"]
    # A start at random is as large as it was drawn.
    most = inf if config.values.get("init_lora_weights") is False else largest
    signs = (_entry(judged, largest_entry), _size(b, smallest, most), _outlier(a, largest_ratio))
    for found in signs:
        if found:
            tensor, message = found
            yield _finding(tensor, message, tensors)
            return


def _is_judged(tensor: TensorFacts) -> bool:
    """A factor with finite values, not all of them zero."""
    is_factor = tensor.part in ("lora_A", "lora_B") and tensor.leaf != "bias"
    return is_factor and tensor.nonfinite == 0 and bool(tensor.rms)


def _rms(tensor: TensorFacts) -> float:
    return tensor.rms or 0.0


_Sign = tuple[TensorFacts, str] | None


def _entry(judged: Sequence[TensorFacts], most: float) -> _Sign:
    large = [tensor for tensor in judged if (tensor.largest or 0.0) > most]
    if not large:
        return None
    worst = max(large, key=lambda tensor: tensor.largest or 0.0)
    return worst, (
        f"{len(large)} of {len(judged)} factors have entries above {most:g} (largest "
        f"{worst.largest:.3g} in {brief(worst.name)}), as a run leaves them that diverged"
    )


def _size(b: Sequence[TensorFacts], least: float, most: float) -> _Sign:
    if not b:
        return None
    typical = median([*map(_rms, b)])
    start = f"the median root mean square of lora_B over {len(b)} modules is {typical:.2g}"
    if typical < least:
        return b[0], f"{start}, below {least:g}, so the adapter changes next to nothing"
    if typical > most:
        return b[0], f"{start}, above {most:g}, so the adapter drowns out the base model"
    return None


def _outlier(a: Sequence[TensorFacts], most: float) -> _Sign:
    if len(a) < _FEWEST:
        return None
    typical = median([*map(_rms, a)])
    worst = max(a, key=_rms)
    ratio = _rms(worst) / typical
    if not isfinite(ratio) or ratio <= most:
        return None
    return worst, (
        f"the lora_A of {brief(worst.module)} is {ratio:.3g} times as large as the median of "
        f"{len(a)} modules, so that one module drowns out the others"
    )


def _finding(tensor: TensorFacts, message: str, tensors: AdapterTensors) -> Finding:
    return Finding(
        message,
        fix="look at the learning rate, the number of steps and the grad_norm of the run, and use "
        "an earlier checkpoint if it diverged",
        location=tensors.location(tensor),
        evidence={"rms": tensor.rms, "largest": tensor.largest},
        severity=Severity.WARNING,
    )
