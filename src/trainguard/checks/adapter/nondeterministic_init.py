"""Loading repeats an initialisation that does not give the trained model again.

## Why is this bad?
PiSSA, OLoRA, CorDA and LoftQ take a part of the base model's weights out when the adapter is
created, and PEFT does so again whenever it is loaded: `init_lora_weights` in the saved config
tells it to. The exact decompositions (`pissa`, `olora`) come out the same on the same base.
`pissa_niter_4` is randomised, so that each load subtracts something else and the model that
answers is not the one that was trained, in silence; more iterations make the difference smaller.
`corda` stops at an error unless its preprocessing is run again on the same data, and `loftq`
needs scipy, bitsandbytes and the base that LoftQ quantised.

Programs that only add `scaling * B @ A` to the base (vLLM, llama.cpp, SGLang, a merge by hand)
know nothing of this: with `pissa` and `olora` too they compute another model.

## Example
```adapter
config peft_type=LORA r=8
config init_lora_weights=pissa_niter_4   # TG112
```

```adapter
config peft_type=LORA r=8
config init_lora_weights=corda   # TG112
```

```adapter
intent target=vllm
config peft_type=LORA r=8
config init_lora_weights=pissa   # TG112
```

## Instead
Convert the adapter where it was trained, while the initial one is still at hand:

```python
model.peft_config["default"].init_lora_weights = True
model.save_pretrained("initial")  # before training
...
model.save_pretrained("converted", path_initial_model_for_weight_conversion="initial")
```

The other initialisations change the start only, and PEFT repeats an exact decomposition:

```adapter
config peft_type=LORA r=8 init_lora_weights=eva
```

```adapter
intent target=vllm
config peft_type=LORA r=8 init_lora_weights=gaussian
```

```adapter
config peft_type=LORA r=8 init_lora_weights=olora
```

## Source
PEFT 0.21.2: `LoraLayer.pissa_init`, `olora_init`, `corda_init`, `loftq_init`. Reloaded there on
the same weights, the logits of a small model moved by 0.2 to 0.3 with 4 iterations, at most by 0.1
with 16 (which is a warning), and not at all with `pissa` and `olora`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from trainguard.facts.adapter import AdapterConfig, brief
from trainguard.facts.intent import Intent
from trainguard.findings import Finding, Precision, Severity
from trainguard.registry import check

#: Programs that add the product to the base as it is.
_ADDING = frozenset({"vllm", "llamacpp", "sglang"})
_ENOUGH_ITERATIONS = 16


@dataclass(frozen=True)
class _Verdict:
    what: str
    severity: Severity = Severity.ERROR


_CORDA = _Verdict("whose preprocessing the loader does not find, so it stops with an error")
_LOFTQ = _Verdict(
    "for which the loader needs scipy, bitsandbytes and the base model that LoftQ quantised; any "
    "other base gives another model",
    Severity.WARNING,
)
_RANDOM = "which is randomised, so each load subtracts other weights from the base model"


@check("TG112", severity=Severity.ERROR, precision=Precision.HIGH)
def nondeterministic_init(config: AdapterConfig, intent: Intent) -> Iterator[Finding]:
    """Fire if the initialisation cannot be repeated by whoever is to load the adapter."""
    init = config.text("init_lora_weights")
    verdict = _verdict(init, intent) if init and config.peft_type == "LORA" else None
    if init is None or verdict is None:
        return
    yield Finding(
        f"init_lora_weights is {brief(init)}, {verdict.what}",
        fix="convert it to an ordinary LoRA adapter with save_pretrained(..., "
        "path_initial_model_for_weight_conversion=...), or merge it where it was trained",
        location=config.location("init_lora_weights"),
        evidence={"init": init, "target": intent.target},
        severity=verdict.severity,
    )


def _verdict(init: str, intent: Intent) -> _Verdict | None:
    changes_base = init.startswith(("pissa", "corda")) or init.lower() in ("olora", "loftq")
    if intent.target in _ADDING and changes_base:
        return _Verdict(
            f"which took weights out of the base model; {intent.target} adds the adapter to the "
            "whole base and computes another model"
        )
    if init.startswith("corda"):
        return _CORDA
    if init == "loftq":
        return _LOFTQ
    return _randomised(init)


def _randomised(init: str) -> _Verdict | None:
    iterations = init.removeprefix("pissa_niter_")
    if iterations == init or not iterations.isdecimal():
        return None
    few = len(iterations) < 3 and int(iterations) < _ENOUGH_ITERATIONS
    return _Verdict(_RANDOM, Severity.ERROR if few else Severity.WARNING)
