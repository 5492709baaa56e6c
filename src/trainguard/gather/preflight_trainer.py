"""What a transformers Trainer is about to do, read before it trains and without disturbing it."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from trainguard.facts.labels import IGNORED_LABEL
from trainguard.facts.preflight import AccumulationFacts
from trainguard.gather.evaluation_state import preserved
from trainguard.gather.preflight import Flight
from trainguard.gather.preflight_batch import UndecidedError

if TYPE_CHECKING:
    from torch.optim import Optimizer

_ADAMW = ("adamw_torch", "adamw_torch_fused")


def is_trainer(candidate: Any) -> bool:
    """Whether an object is a Trainer rather than a model."""
    return hasattr(candidate, "get_train_dataloader") and hasattr(candidate, "training_step")


def trainer_flight(trainer: Any, batch: Mapping[str, Any] | None = None) -> Flight:
    """The model, the first batch and the plan of a trainer.

    Args:
        trainer: before its `train()`.
        batch: the batch to probe; by default the first that its data loader gives.
    """
    no_batch = ""
    if batch is None:
        try:
            batch = _first_batch(trainer)
        except Exception as error:  # the data set's own
            no_batch = f"the trainer gave no batch: {error}"
    steps = _steps(trainer)
    return Flight(
        model=trainer.model,
        batch=batch,
        no_batch=no_batch,
        optimizer=trainer.optimizer or _planned_optimizer(trainer),
        tokenizer=getattr(trainer.processing_class, "tokenizer", trainer.processing_class),
        scheduler=trainer.lr_scheduler or _planned_scheduler(trainer, steps),
        steps=steps,
        cached=False,  # the Trainer switches use_cache off
        accumulation=lambda inputs: _accumulation(trainer, inputs),
    )


def _first_batch(trainer: Any) -> Mapping[str, Any]:
    """The batch comes from the loader inside accelerate's, which keeps count of open loops."""
    if not hasattr(trainer.train_dataset, "__len__"):
        raise UndecidedError("reading from a stream would take its first rows; pass batch=...")
    with preserved([trainer.model]):
        loader = _loader(trainer)
        batch: Mapping[str, Any] = next(iter(vars(loader).get("base_dataloader", loader)))
    return batch


def _loader(trainer: Any) -> Any:
    prepared = trainer.accelerator._dataloaders
    known = list(prepared)
    loader = trainer.get_train_dataloader()
    prepared[:] = known
    return loader


def _steps(trainer: Any) -> int | None:
    """Optimizer steps of the run, as the Trainer counts them."""
    args = trainer.args
    if args.max_steps > 0:
        return int(args.max_steps)
    with suppress(TypeError, ValueError), preserved([trainer.model]):
        batches = len(_loader(trainer))
        updates = max(math.ceil(batches / args.gradient_accumulation_steps), 1)
        steps: int = math.ceil(args.num_train_epochs * updates)
        return steps
    return None


def _planned_optimizer(trainer: Any) -> Optimizer | None:
    """One with the rate of the optimizer that the trainer will build; None for other kinds."""
    import torch

    trainable = [p for p in trainer.model.parameters() if p.requires_grad]
    if str(getattr(trainer.args.optim, "value", trainer.args.optim)) not in _ADAMW or not trainable:
        return None
    return torch.optim.AdamW(trainable, lr=trainer.args.learning_rate)


def _planned_scheduler(trainer: Any, steps: int | None) -> Any:
    """The schedule that the trainer will build, over an optimizer of one unused parameter."""
    import torch
    from transformers import get_scheduler

    if steps is None:
        return None
    args = trainer.args
    unused = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=args.learning_rate)
    with suppress(TypeError, ValueError):  # options missing, of which the run itself will tell
        return get_scheduler(
            args.lr_scheduler_type,
            optimizer=unused,
            num_warmup_steps=args.get_warmup_steps(steps),
            num_training_steps=steps,
            scheduler_specific_kwargs=args.lr_scheduler_kwargs,
        )
    return None


def _accumulation(trainer: Any, inputs: Mapping[str, Any]) -> AccumulationFacts:
    """Ask for the loss with one number of tokens in the window, and with twice that number.

    Raises:
        UndecidedError: the trainer does not accumulate, or divides by the number of steps itself.
    """
    import torch

    window = trainer.args.gradient_accumulation_steps
    if window < 2:
        raise UndecidedError("the trainer does not accumulate gradients")
    scaled = getattr(trainer, "loss_is_scaled_for_ga", None)
    takes_tokens = trainer.model_accepts_loss_kwargs or trainer.compute_loss_func
    if scaled is False or not takes_tokens or "labels" not in inputs:
        raise UndecidedError("the trainer divides the loss by the accumulation steps itself")
    stand_in = copy.copy(trainer)
    for name, value in vars(trainer).items():
        if "metrics" in name and isinstance(value, dict):  # TRL notes its metrics there
            setattr(stand_in, name, copy.deepcopy(value))
    tokens = (inputs["labels"] != IGNORED_LABEL).sum()
    with torch.no_grad():
        trainer.model.train()
        losses = []
        for count in (tokens, 2 * tokens):
            with preserved([trainer.model]), stand_in.compute_loss_context_manager():
                loss = stand_in.compute_loss(trainer.model, dict(inputs), num_items_in_batch=count)
            losses.append(float(loss))
    return AccumulationFacts(steps=window, loss=losses[0], loss_of_double=losses[1])
