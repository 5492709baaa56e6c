"""Facts about the updates to come: the schedule, and whether a weight can take them."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from trainguard.facts.preflight import PlanFacts, PrecisionFacts
from trainguard.gather.preflight_batch import UndecidedError

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Parameter
    from torch.optim import Optimizer

SAMPLE = 4096
"""Elements looked at in one tensor, evenly spread."""
MOST_STEPS = 100_000
"""Steps of which the rate is computed; a longer run is looked at in equal strides."""


def plan_facts(scheduler: Any, steps: int | None) -> PlanFacts:
    """Compute the learning rate of every step without stepping anything.

    Args:
        scheduler: a `LambdaLR`, which all schedules of transformers are.
        steps: optimizer steps of the run.

    Raises:
        UndecidedError: one of them is missing, or the schedule is no function of the step.
    """
    from torch.optim.lr_scheduler import LambdaLR

    if scheduler is None or not steps:
        raise UndecidedError("the scheduler and the number of steps were not given")
    scheduler = getattr(scheduler, "scheduler", scheduler)  # accelerate's wrapper
    if not isinstance(scheduler, LambdaLR):
        raise UndecidedError(f"{type(scheduler).__name__} states no rate for a given step")
    base, factor = max(
        zip(scheduler.base_lrs, scheduler.lr_lambdas, strict=True), key=lambda group: group[0]
    )
    places = list(range(0, steps, -(-steps // MOST_STEPS)))
    rates = [float(base * factor(place)) for place in places]
    last_positive = max((place for place, r in zip(places, rates, strict=True) if r), default=-1)
    return PlanFacts(
        steps=steps,
        learning_rate=float(base),
        peak=max(rates),
        rising=sorted(rates) == rates and rates[-1] > rates[0],
        zero_from=last_positive + 2 if rates[-1] == 0 else None,
    )


def precision_facts(optimizer: Optimizer | None) -> PrecisionFacts:
    """Add and subtract the learning rate, and count the 16-bit weights that it changes.

    Raises:
        UndecidedError: the size of an update is not known, or no trainable weight has 16 bits.
    """
    import torch

    if optimizer is None:
        raise UndecidedError("no torch optimizer was given")
    if type(optimizer) not in (torch.optim.Adam, torch.optim.AdamW):
        raise UndecidedError("only the updates of torch's Adam and AdamW have a known size")
    groups = [
        (parameter, float(group.get("initial_lr", group["lr"])))
        for group in optimizer.param_groups
        for parameter in group["params"]
        if parameter.requires_grad
        and parameter.numel()
        and parameter.dtype in (torch.float16, torch.bfloat16)
    ]
    if not groups:
        raise UndecidedError("no weight that the optimizer steps has 16 bits")
    still = [(_immovable(parameter, rate), parameter.numel()) for parameter, rate in groups]
    elements = sum(numel for _, numel in still)
    sizes: Counter[str] = Counter()
    for parameter, _ in groups:
        sizes[str(parameter.dtype).removeprefix("torch.")] += parameter.numel()
    return PrecisionFacts(
        dtype=sizes.most_common(1)[0][0],
        elements=elements,
        learning_rate=max(rate for _, rate in groups),
        immovable=sum(share * numel for share, numel in still) / elements,
        stuck_tensors=sum(share == 1.0 for share, _ in still),
    )


def _immovable(parameter: Parameter, rate: float) -> float:
    """Share of the sampled elements that neither `+ rate` nor `- rate` changes."""
    values: Tensor = parameter.detach().flatten()
    values = values[:: max(1, len(values) // SAMPLE)]
    exact = values.float()
    up, down = (exact + rate).to(values.dtype), (exact - rate).to(values.dtype)
    return float(((up == values) & (down == values)).float().mean())
