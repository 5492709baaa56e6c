"""trainguard in a plain PyTorch loop.

PyTorch offers no event between the backward pass and clipping, so `torch.autograd.backward`,
which `Tensor.backward`, accelerate and gradient scalers all call, is wrapped while the loop is
watched; the optimizer and the model are watched through their public hooks. Everything is
restored when the block ends.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from trainguard.config import in_force
from trainguard.facts.steps import StepFacts
from trainguard.findings import Report
from trainguard.gather.step_tensors import is_shard, with_flaw
from trainguard.integrations.guard import OVERHEAD, Guard, OnFinding, checked_overhead
from trainguard.integrations.notify import Notify
from trainguard.integrations.outlets import Outlets
from trainguard.integrations.trackers import of_process

if TYPE_CHECKING:
    from torch.nn import Module
    from torch.optim import Optimizer


def watch(
    model: Module,
    optimizer: Optimizer,
    *,
    output_dir: str | Path | None = None,
    on_finding: OnFinding = "warn",
    ignore: Iterable[str] = (),
    overhead: float = OVERHEAD,
    notify: Notify | None = None,
    trackers: Iterable[Any] | None = None,
) -> LoopGuard:
    """Watch a training loop and name the cause at the first bad step.

        with watch(model, optimizer) as guard:
            for batch in loader:
                loss = model(**batch).loss
                loss.backward()
                optimizer.step()
                optimizer.zero_grad()
        print(guard.report.causes)

    The loss is the model output's own `loss` where it has one, otherwise what `backward` was
    called on (then only whether it is finite and whether it varies is judged).

    Args:
        model: the module that is trained, wrapped or not.
        optimizer: the optimizer that steps it, wrapped or not.
        output_dir: where `trainguard/steps.jsonl`, `report.json` and `report.html` go; None records
            nothing.
        on_finding: what an error does: "warn" logs it once per cause, "raise" raises
            TrainGuardError from `optimizer.step()` before the weights change, "stop" drops the
            gradients of this and every later step and sets `stop_requested` for the loop to see.
            These two wait for the device at each step.
        ignore: codes, code prefixes or names of checks to leave out.
        overhead: the share of a step's time that comparing weights and gradients around the
            update may take; where it takes more, it is done every few steps.
        notify: who is told of an error while training goes on: a function that takes the Report, a
            webhook's URL, or a command as a list of its arguments, which reads the report's JSON
            from standard input. None asks the environment variable TRAINGUARD_NOTIFY, () tells
            nobody.
        trackers: where findings are shown besides: `SummaryWriter`s and runs of W&B, MLflow or
            Trackio. None takes the runs that are active in this process, () takes none.

    Raises:
        ValueError: on_finding or ignore is not one of the known words, overhead is not above 0,
            or notify is a text that is no URL.
        TypeError: the optimizer is none of torch's, or notify or a tracker of no known kind.
    """
    folder = Path(output_dir) if output_dir is not None else None
    is_first = _rank() == 0
    guard = Guard(
        subject=str(output_dir) if output_dir is not None else type(model).__name__,
        folder=folder if is_first else None,
        on_finding=on_finding,
        selected=in_force(ignored=ignore).selected,
        # Of a model in shards each process sees only its own.
        speaks=is_first or any(map(is_shard, model.parameters())),
    )
    outlets = Outlets(notify, trackers)
    if is_first:
        guard.tell(*outlets.of_run(of_process))
    return LoopGuard(model, optimizer, guard, checked_overhead(overhead))


class LoopGuard:
    """A watched loop, as `watch` returns it: a context manager with a `report`."""

    def __init__(self, model: Module, optimizer: Optimizer, guard: Guard, overhead: float) -> None:
        from trainguard.gather.model import observable_optimizer, unwrapped_model

        observable = observable_optimizer(optimizer)
        if observable is None:
            raise TypeError(f"{type(optimizer).__name__} is no torch optimizer that can be watched")
        self._model = unwrapped_model(model)
        self._optimizer = observable
        self._guard = guard
        self._overhead = overhead
        self._undo: list[Any] = []
        self._recorder: Any = None
        self._step = 0
        self._updating = False
        self._rates: tuple[float, ...] | None = None
        self._labels: Any = None
        self._output_loss: Any = None

    @property
    def report(self) -> Report:
        """Everything found so far; complete once the block has ended."""
        return self._guard.report

    @property
    def stop_requested(self) -> bool:
        """Whether `on_finding="stop"` asks the loop to end."""
        return self._guard.stop_requested

    def log(self, loss: float, **_: Any) -> None:
        """Say what the loop logs for the last step, to be compared with what was seen.

        Args:
            loss: the loss as it is logged.
        """
        self._close_if_abandoned()
        with self._shielded("reading the log"):
            self._guard.log(StepFacts(step=self._step, logged_loss=float(loss)))
            self._guard.review()

    def __enter__(self) -> Self:
        with self._shielded("attaching to the loop"):
            self._begin()
        with self._shielded("judging the model"):
            self._guard.review()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is None:
            self._close_if_abandoned()
        recorder = self._recorder
        self._end()
        if recorder is not None:
            with self._shielded("ending the run"):
                self._guard.steps(recorder.drain())
                self._guard.layers(recorder.layers())
                self._guard.ranks(recorder.apart(last=error is None))
                if error is None:
                    self._guard.review(last=True)
        with self._shielded("writing the report"):
            self._guard.close()

    def _begin(self) -> None:
        from trainguard import __version__
        from trainguard.gather.clip_tap import tap
        from trainguard.gather.model import model_facts, optimizer_facts
        from trainguard.gather.steps import StepRecorder

        self._guard.open(trainguard=__version__, trainer="loop")
        self._guard.structure(
            model_facts(self._model), optimizer_facts(self._model, self._optimizer)
        )
        self._recorder = StepRecorder(self._model, self._overhead)
        hooks = [
            self._model.register_forward_pre_hook(self._before_forward, with_kwargs=True),
            self._model.register_forward_hook(self._after_forward),
            self._optimizer.register_step_pre_hook(self._before_step),
            self._optimizer.register_step_post_hook(self._after_step),
        ]
        self._undo = [hook.remove for hook in hooks]
        self._undo += [_wrap_backward(self), tap(self._on_clipping)]

    def _end(self) -> None:
        self._recorder = None
        while self._undo:
            self._undo.pop()()

    def _before_forward(self, module: Any, args: Any, kwargs: Mapping[str, Any]) -> None:
        import torch

        if torch.is_grad_enabled():
            self._labels = kwargs.get("labels")
            self._output_loss = None
            self._close_if_abandoned()

    def _after_forward(self, module: Any, args: Any, output: Any) -> None:
        import torch

        if torch.is_grad_enabled():
            self._output_loss = getattr(output, "loss", None)

    def after_backward(self, tensors: Any) -> None:
        """Take in one backward pass: its loss, the labels of its batch, the gradients so far."""
        if self._recorder is None:
            return
        with self._shielded("watching a backward pass"):
            loss = _loss(tensors)
            if self._output_loss is not None:
                loss = with_flaw(self._output_loss, loss)
            self._recorder.micro_batch(loss, {"labels": self._labels})
            self._recorder.gradients()
            self._labels = self._output_loss = None

    def _on_clipping(self, tensors: Any, each: Any) -> None:
        if self._recorder is not None:
            with self._shielded("taking the norms of clipping"):
                self._recorder.clipping(tensors, each)

    def _before_step(self, *_: Any) -> None:
        from trainguard.gather.steps import drop_gradients, learning_rates

        self._updating = True
        if self._recorder is not None:
            with self._shielded("reading the learning rates"):
                self._rates = learning_rates(self._optimizer)
                self._recorder.about_to_update(getattr(self._optimizer, "found_inf", None))
        if self._recorder is not None and self._guard.on_finding != "warn":
            with self._shielded("judging a step before its update"):
                self._guard.foresee(self._recorder.so_far(self._step + 1, self._rates))
        if self._guard.stop_requested:
            drop_gradients(self._optimizer)

    def _after_step(self, *_: Any) -> None:
        self._updating = False
        if self._recorder is None:
            return
        with self._shielded("closing a step"):
            self._recorder.updated()
            # A step that was kept from its update is the last that is watched.
            is_over = self._guard.stop_requested
            self._close(stepped=None if is_over else True)
            if is_over:
                self._guard.steps(self._recorder.drain())
                self._recorder = None
            self._guard.review()

    def _close_if_abandoned(self) -> None:
        """A scaler that skips calls no optimizer, and no hook: only the gradients are gone.

        So they are within `optimizer.step(closure)`, which evaluates the model again and again.
        """
        if self._updating or self._recorder is None or not self._recorder.is_abandoned:
            return
        with self._shielded("closing a step without an update"):
            self._close(stepped=False)
            self._guard.review()

    def _close(self, *, stepped: bool | None) -> None:
        self._step += 1
        self._guard.steps(self._recorder.finish(self._step, self._rates, stepped))
        self._guard.layers(self._recorder.layers())
        self._guard.ranks(self._recorder.apart())

    def _shielded(self, what: str) -> AbstractContextManager[None]:
        return self._guard.shielded(what, self._end)


def _rank() -> int:
    """Of this process among those that train together; 0 for a process alone."""
    import torch.distributed as dist

    return dist.get_rank() if dist.is_available() and dist.is_initialized() else 0


def _loss(tensors: Any) -> Any:
    """What backward began at: a tensor, or the first of several; None for a graph's edge."""
    import torch

    first = tensors if isinstance(tensors, torch.Tensor) else next(iter(tensors), None)
    return first if isinstance(first, torch.Tensor) else None


def _wrap_backward(watcher: LoopGuard) -> Any:
    """Put a witness behind `torch.autograd.backward`; returns what takes it away again."""
    import torch

    original = torch.autograd.backward

    @functools.wraps(original)
    def backward(tensors: Any, *args: Any, **kwargs: Any) -> Any:
        result = original(tensors, *args, **kwargs)
        watcher.after_backward(tensors)
        return result

    torch.autograd.backward = backward

    def restore() -> None:
        if torch.autograd.backward is backward:
            torch.autograd.backward = original

    return restore
