"""The loss of one batch, and which parameters it reaches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from trainguard.facts.labels import IGNORED_LABEL
from trainguard.facts.preflight import LossFacts, ReachFacts
from trainguard.facts.steps import StepFacts
from trainguard.gather.model import MAX_NAMES
from trainguard.gather.preflight_batch import UndecidedError, is_causal

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module, Parameter

#: Parts of parameter names that belong to inputs other than text, and to experts that tokens are
#: routed to one by one.
_TOWERS = ("vision", "visual", "image", "audio", "speech", "video")
_EXPERTS = ".experts."


class GradientProbe:
    """One forward pass in training mode, and the gradients of its loss.

    `torch.autograd.grad` neither writes gradients nor wakes the hooks of data parallelism and of
    optimizers that step during the backward pass. Under reentrant checkpointing it says None for
    parameters that a real backward pass reaches, so whatever it misses is tried again with one.

    Args:
        model: the module inside all wrappers, in a block of `untouched`.
        inputs: the batch, on the model's device.

    Raises:
        UndecidedError: the model returns no loss.
    """

    def __init__(self, model: Module, inputs: Mapping[str, Any]) -> None:
        model.train()
        self._model = model
        self._inputs = inputs
        self._output = model(**inputs)
        self._loss = _loss(self._output)
        self._trainable = {n: p for n, p in model.named_parameters() if p.requires_grad}

    def loss_facts(self, base: Any) -> LossFacts:
        """The loss, if it is one of language modelling.

        Args:
            base: the model inside PEFT.

        Raises:
            UndecidedError: it is another loss, or one over no token.
        """
        logits = getattr(self._output, "logits", None)
        if logits is None or not is_causal(base) or "num_items_in_batch" in self._inputs:
            raise UndecidedError("the loss is no mean over tokens of a causal language model")
        if not self._supervised():
            raise UndecidedError("no label of the batch is supervised")
        return LossFacts(loss=float(self._loss.detach()), vocabulary=logits.shape[-1])

    def gradient_facts(self) -> tuple[ReachFacts, StepFacts]:
        """What a backward pass reaches, and the first step as it would be without an update.

        Raises:
            UndecidedError: nothing is trainable, or a real backward pass would have side effects.
        """
        import torch

        if not self._trainable:
            raise UndecidedError("no parameter requires a gradient")
        gradients = self._gradients()
        unreached = [n for n, g in zip(self._trainable, gradients, strict=True) if g is None]
        bypassed = [name for name in unreached if _may_bypass(name, self._inputs)]
        missed = [name for name in unreached if name not in bypassed]
        reach = ReachFacts(
            tensors=len(self._trainable),
            unreached=tuple(missed[:MAX_NAMES]),
            unreached_tensors=len(missed),
            bypassed=len(bypassed),
        )
        norms = [0.0 if g is None else float(g.float().norm()) for g in gradients]
        total = torch.tensor(norms, dtype=torch.float64)
        names = list(self._trainable)
        broken = [names[index] for index in (~total.isfinite()).nonzero().flatten().tolist()]
        step = StepFacts(
            step=1,
            loss=float(self._loss.detach()),
            supervised_tokens=self._supervised(),
            grad_norm=float(total.norm()),
            gradients=len(norms),
            zero_gradients=int((total == 0).sum()),
            nonfinite_gradients=tuple(broken[:MAX_NAMES]),
            nonfinite_tensors=len(broken),
        )
        return reach, step

    def _supervised(self) -> int | None:
        labels = self._inputs.get("labels")
        return None if labels is None else int((labels != IGNORED_LABEL).sum())

    def _gradients(self) -> Sequence[Tensor | None]:
        import torch

        parameters = list(self._trainable.values())
        if not self._loss.requires_grad:
            return [None] * len(parameters)
        try:
            found: Sequence[Tensor | None] = torch.autograd.grad(
                self._loss, parameters, allow_unused=True
            )
        except RuntimeError:  # reentrant checkpointing refuses it
            found = [None] * len(parameters)
        if any(gradient is None for gradient in found):
            return self._confirmed(parameters)
        return found

    def _confirmed(self, parameters: Sequence[Parameter]) -> Sequence[Tensor | None]:
        import torch

        hooked = any(getattr(p, "_post_accumulate_grad_hooks", None) for p in parameters)
        if hooked or (torch.distributed.is_available() and torch.distributed.is_initialized()):
            raise UndecidedError("a backward pass would step the optimizer or wait for other ranks")
        _loss(self._model(**self._inputs)).backward()
        return [parameter.grad for parameter in parameters]


def _loss(output: Any) -> Tensor:
    loss = output.get("loss") if isinstance(output, Mapping) else getattr(output, "loss", None)
    if loss is None:
        raise UndecidedError("the model returns no loss for this batch")
    found: Tensor = loss.mean()
    return found


def _may_bypass(name: str, inputs: Mapping[str, Any]) -> bool:
    other = any(tower in column for tower in ("pixel", *_TOWERS) for column in inputs)
    return _EXPERTS in name or (not other and any(tower in name for tower in _TOWERS))
