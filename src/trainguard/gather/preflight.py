"""Probes of a model, one batch and the plan of a run, each of which may fail on its own."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from trainguard.facts.evidence import Evidence
from trainguard.facts.failure import Failure
from trainguard.facts.model import ModelFacts, OptimizerFacts
from trainguard.facts.preflight import (
    AccumulationFacts,
    BatchFacts,
    CausalFacts,
    LossFacts,
    PackingFacts,
    PaddingFacts,
    PlanFacts,
    PrecisionFacts,
    ReachFacts,
    RowFacts,
)
from trainguard.facts.steps import StepFacts
from trainguard.gather.model import (
    model_facts,
    observable_optimizer,
    optimizer_facts,
    unwrapped_model,
)
from trainguard.gather.preflight_batch import UndecidedError, batch_facts
from trainguard.gather.preflight_contrasts import ContrastProbe
from trainguard.gather.preflight_gradients import GradientProbe
from trainguard.gather.preflight_plan import plan_facts, precision_facts
from trainguard.gather.preflight_state import untouched

if TYPE_CHECKING:
    from torch.nn import Module
    from torch.optim import Optimizer

CHEAP = frozenset({"batch", "gradients", "causal", "padding", "packing", "precision", "plan"})
"""Together between one and two training steps; measured: 1.5 times a forward and backward pass."""
BY_NAME = frozenset({"rows", "accumulation"})
"""Forward passes in training mode, and calls of the trainer's own `compute_loss`."""

_KINDS: Mapping[str, tuple[type, ...]] = {
    "batch": (BatchFacts,),
    "causal": (CausalFacts,),
    "padding": (PaddingFacts,),
    "packing": (PackingFacts,),
    "rows": (RowFacts,),
    "precision": (PrecisionFacts,),
    "plan": (PlanFacts,),
    "accumulation": (AccumulationFacts,),
}


@dataclass(frozen=True, kw_only=True)
class Flight:
    """What is probed; None is what is not known before the run."""

    model: Module
    batch: Mapping[str, Any] | None = None
    no_batch: str = "no batch was given"
    """Why there is none."""
    optimizer: Any = None
    tokenizer: Any = None
    scheduler: Any = None
    steps: int | None = None
    """Optimizer steps of the run."""
    cached: bool = True
    """Whether the forward passes of the run may have `use_cache` on."""
    accumulation: Callable[[Mapping[str, Any]], AccumulationFacts] | None = None
    """Tries the loss of a trainer that accumulates gradients."""


def preflight_evidence(flight: Flight, probes: Collection[str]) -> Evidence:
    """Run the probes on a model that is afterwards as it was; none of their exceptions leaves.

    Args:
        flight: the model, the batch and the plan.
        probes: names out of `CHEAP` and `BY_NAME`.
    """
    taken = _Taken(probes)
    model = unwrapped_model(flight.model)
    optimizer = observable_optimizer(flight.optimizer) if flight.optimizer is not None else None
    taken.facts[ModelFacts] = model_facts(model)
    if optimizer is not None:
        taken.facts[OptimizerFacts] = optimizer_facts(model, optimizer)
    else:
        taken.absent[OptimizerFacts] = "no torch optimizer was given"
    try:
        with untouched(model):
            _probe(taken, model, flight, optimizer)
    except Exception as error:  # a model whose state cannot be saved or put back
        taken.facts[Failure] = (Failure("preflight", f"{type(error).__name__}: {error}"),)
    return Evidence(
        subject=type(model).__name__, kind="preflight", facts=taken.facts, absent=taken.absent
    )


class _Taken:
    """Facts as they come in, and why others did not."""

    def __init__(self, probes: Collection[str]) -> None:
        self._probes = probes
        self.facts: dict[type, Any] = {}
        self.absent: dict[type, str] = {}

    def take(self, probe: str, kinds: Iterable[type], gather: Callable[[], Any]) -> None:
        """Note a record, or a tuple of them, or the reason why there is none."""
        try:
            if probe not in self._probes:
                raise UndecidedError(f"not asked for: pass probes=({probe!r}, ...)")
            records = gather()
        except UndecidedError as undecided:
            self.absent |= dict.fromkeys(kinds, str(undecided))
        except Exception as error:  # the model's, on inputs that the user did not choose
            reason = f"the probe {probe} failed with {type(error).__name__}: {error}"
            self.absent |= dict.fromkeys(kinds, reason)
        else:
            for record in records if isinstance(records, tuple) else (records,):
                many = isinstance(record, StepFacts)
                self.facts[type(record)] = (record,) if many else record


def _probe(taken: _Taken, model: Any, flight: Flight, optimizer: Optimizer | None) -> None:
    base = model.get_base_model() if hasattr(model, "get_base_model") else model

    def batch() -> Mapping[str, Any]:
        if flight.batch is None:
            raise UndecidedError(flight.no_batch)
        return _on_device(flight.batch, model)

    def contrasts() -> ContrastProbe:
        return ContrastProbe(model, base, batch(), flight.tokenizer)

    @lru_cache(maxsize=1)
    def gradients() -> GradientProbe:
        return GradientProbe(model, batch())

    def accumulation() -> AccumulationFacts:
        if flight.accumulation is None:
            raise UndecidedError("no Trainer was given")
        return flight.accumulation(batch())

    gathered: Mapping[str, Callable[[], Any]] = {
        "batch": lambda: batch_facts(base, batch(), flight.tokenizer),
        "causal": lambda: contrasts().causal(),
        "padding": lambda: contrasts().padding(),
        "packing": lambda: contrasts().packing(cached=flight.cached and _caches(base)),
        "rows": lambda: contrasts().rows(),
        "precision": lambda: precision_facts(optimizer),
        "plan": lambda: plan_facts(flight.scheduler, flight.steps),
        "accumulation": accumulation,
    }
    for probe, gather in gathered.items():
        taken.take(probe, _KINDS[probe], gather)
    # One forward pass gives both, and either may be had without the other.
    taken.take("gradients", (LossFacts,), lambda: gradients().loss_facts(base))
    taken.take("gradients", (ReachFacts, StepFacts), lambda: gradients().gradient_facts())


def _caches(base: Any) -> bool:
    return bool(getattr(getattr(base, "config", None), "use_cache", False))


def _on_device(batch: Mapping[str, Any], model: Module) -> dict[str, Any]:
    device = next(model.parameters()).device
    return {
        name: value.to(device) if hasattr(value, "to") else value for name, value in batch.items()
    }
