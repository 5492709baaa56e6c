"""trainguard in a Hugging Face `Trainer`, and in every trainer that derives from it (TRL's)."""

from __future__ import annotations

import functools
import sys
import weakref
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from trainguard import __version__
from trainguard.config import in_force
from trainguard.facts.steps import StepFacts
from trainguard.findings import Report
from trainguard.gather.clip_tap import tap
from trainguard.gather.model import (
    model_facts,
    observable_optimizer,
    optimizer_facts,
    unwrapped_model,
)
from trainguard.gather.run import log_facts
from trainguard.gather.steps import StepRecorder, drop_gradients, learning_rates
from trainguard.integrations.guard import OVERHEAD, Guard, OnFinding, checked_overhead
from trainguard.integrations.notify import Notify
from trainguard.integrations.outlets import Outlets
from trainguard.integrations.trackers import of_callbacks


class TrainGuardCallback(TrainerCallback):  # type: ignore[misc]
    """Watches a run and names the cause at the first bad step.

        trainer = Trainer(..., callbacks=[TrainGuardCallback()])
        trainer.train()
        trainer_report = callback.report

    The run itself is not changed: weights, random numbers and logs are bit-identical with and
    without the callback. It leaves `trainguard/steps.jsonl`, which `trainguard check` reads,
    `trainguard/report.json`, and `trainguard/report.html` to look at, in the output folder.

    Args:
        on_finding: what an error does. "warn" logs it once per cause. "stop" also ends training
            (with several processes it raises instead), "raise" raises TrainGuardError. A fault of
            the model's structure is found before the first step; one of a batch, a loss or a
            gradient before the update that it would spoil, for which these two wait for the
            device at each step.
        ignore: codes, code prefixes or names of checks to leave out.
        overhead: the share of a step's time that comparing weights and gradients around the
            update may take; where it takes more, it is done every few steps. The loss and the
            norm of every gradient are taken at each step.
        notify: who is told of an error while training goes on: a function that takes the Report, a
            webhook's URL, or a command as a list of its arguments, which reads the report's JSON
            from standard input. None asks the environment variable TRAINGUARD_NOTIFY, () tells
            nobody.
        trackers: where findings are shown besides: `SummaryWriter`s and runs of W&B, MLflow or
            Trackio. None takes those of `report_to`, () takes none.

    Raises:
        ValueError: on_finding or ignore is not one of the known words, overhead is not above 0,
            or notify is a text that is no URL.
        TypeError: notify or a tracker is of no kind that is known.
    """

    def __init__(
        self,
        on_finding: OnFinding = "warn",
        ignore: Iterable[str] = (),
        overhead: float = OVERHEAD,
        notify: Notify | None = None,
        trackers: Iterable[Any] | None = None,
    ) -> None:
        self._on_finding = on_finding
        self._outlets = Outlets(notify, trackers)
        self._overhead = checked_overhead(overhead)
        self._checks = in_force(ignored=ignore).selected
        self._guard = Guard(subject="run", on_finding=on_finding, selected=self._checks)
        self._trainer: weakref.ref[Any] | None = None
        self._recorder: StepRecorder | None = None
        self._optimizer: Any = None
        self._hooks: list[Any] = []
        self._end_tap: Callable[[], None] = lambda: None
        self._logged_norm_is_real = True
        self._stepped = False
        self._scaled = False
        self._printed: tuple[int, Any, float | None] | None = None
        self._rates: tuple[float, ...] | None = None

    @property
    def report(self) -> Report:
        """Everything found so far; complete once training has ended."""
        return self._guard.report

    def bind(self, trainer: Any) -> None:
        """Tell the callback its trainer; `attach` does it, otherwise it is found by itself."""
        self._trainer = weakref.ref(trainer)

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> Any:
        """Judge the model and the optimizer before the first step, and begin to watch."""
        self._detach()
        self._guard = Guard(
            subject=args.output_dir,
            folder=Path(args.output_dir) if state.is_world_process_zero else None,
            on_finding=self._reaction(args),
            selected=self._checks,
        )
        with self._shielded("attaching to the trainer"):
            self._begin(state, kwargs["model"], kwargs["optimizer"])
        with self._shielded("judging the model"):
            self._review(state)
        return self._obey(control)

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Look at the last log again, now that every callback has had it."""
        self._take_printed()

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> Any:
        """Read the learning rates of this very step, and judge it if it may end the run."""
        self._stepped = False
        if self._optimizer is None or self._recorder is None:
            return None
        with self._shielded("reading the learning rates"):
            self._rates = learning_rates(self._optimizer)
        if self._guard.on_finding != "warn" and not self._scaled and state.is_world_process_zero:
            with self._shielded("judging a step before its update"):
                self._guard.foresee(self._recorder.so_far(state.global_step + 1, self._rates))
        if self._guard.stop_requested:
            drop_gradients(self._optimizer)
        return self._obey(control)

    def on_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Compare the sampled weights with what they were."""
        if self._recorder is not None:
            with self._shielded("comparing weights"):
                self._recorder.updated()

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> Any:
        """Close the step; it is judged here, or after the log line if there is to be one."""
        if self._recorder is None:
            return None
        with self._shielded("closing a step"):
            # A step that was kept from its update says nothing about the optimizer.
            is_seen = self._optimizer is not None and not self._guard.stop_requested
            stepped = self._stepped if is_seen else None
            new = self._recorder.finish(state.global_step, self._rates, stepped)
            self._guard.steps(new)
            self._guard.layers(self._recorder.layers())
            self._guard.ranks(self._recorder.apart())
            if not control.should_log:
                self._review(state)
        return self._obey(control)

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> Any:
        """Put what the log says beside what was seen."""
        if self._recorder is None or not logs:
            return None
        with self._shielded("reading the log"):
            # Earlier callbacks may have changed `logs`; the history keeps what the Trainer said.
            said = state.log_history[-1] if state.log_history else logs
            if (log := log_facts(said, state.global_step)) is not None:
                shown = log_facts(logs, state.global_step)
                printed = shown.logged_loss if shown is not None else None
                norm = log.grad_norm if self._logged_norm_is_real else None
                self._guard.log(replace(log, printed_loss=printed, grad_norm=norm))
                self._printed = (state.global_step, logs, printed)
                self._review(state)
        return self._obey(control)

    def on_evaluate(
        self, args: Any, state: Any, control: Any, metrics: Any = None, **kwargs: Any
    ) -> None:
        """Put an evaluation's loss beside the step that it follows."""
        loss = metrics.get("eval_loss") if isinstance(metrics, Mapping) else None
        if self._recorder is None or not isinstance(loss, float):
            return
        with self._shielded("reading an evaluation"):
            self._guard.log(StepFacts(step=state.global_step, eval_loss=loss))
            self._review(state)

    def _take_printed(self) -> None:
        if self._printed is None or self._recorder is None:
            return
        (step, logs, before), self._printed = self._printed, None
        with self._shielded("reading the log again"):
            log = log_facts(logs, step)
            if log is not None and log.logged_loss != before:
                self._guard.log(StepFacts(step=step, printed_loss=log.logged_loss))

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Judge what is left and write the report."""
        self._take_printed()
        recorder = self._recorder
        self._detach()
        with self._shielded("ending the run"):
            if recorder is not None:
                self._guard.steps(recorder.drain())
                self._guard.layers(recorder.layers())
                self._guard.ranks(recorder.apart(last=True))
                self._review(state, last=True)
        with self._shielded("writing the report"):
            self._guard.close()

    def _reaction(self, args: Any) -> OnFinding:
        """One rank that leaves the loop alone leaves the others waiting for it for ever."""
        return "raise" if self._on_finding == "stop" and args.world_size > 1 else self._on_finding

    def _begin(self, state: Any, model: Any, optimizer: Any) -> None:
        trainer = self._trainer() if self._trainer is not None else _find_trainer(self)
        name = type(trainer).__name__ if trainer is not None else "unknown"
        if state.is_world_process_zero and trainer is not None:
            reporting = functools.partial(of_callbacks, trainer.callback_handler.callbacks)
            self._guard.tell(*self._outlets.of_run(reporting))
        self._guard.open(
            resumed=state.global_step > 0,
            trainguard=__version__,
            trainer=name,
            max_steps=state.max_steps,
        )
        model = unwrapped_model(model)
        self._guard.structure(model_facts(model))
        self._recorder = StepRecorder(model, self._overhead)
        self._optimizer = observable_optimizer(optimizer)
        # Layer-wise updates consume the gradients before the Trainer measures them: it logs 0.0.
        is_deepspeed = type(optimizer).__name__.startswith("DeepSpeed")
        self._logged_norm_is_real = self._optimizer is not None or is_deepspeed
        if self._optimizer is not None:
            self._guard.structure(optimizer_facts(model, self._optimizer))
            self._hooks = [
                self._optimizer.register_step_pre_hook(self._before_update),
                self._optimizer.register_step_post_hook(self._on_optimizer_ran),
            ]
        if trainer is None:
            raise LookupError("no trainer holds this callback; use trainguard.attach(trainer)")
        self._watch_training_step(trainer)
        self._end_tap = tap(self._on_clipping)
        self._scaled = _loss_scale(trainer.accelerator) is not None
        if not trainer.args.torch_compile:  # a hook would become a part of what is compiled
            self._hooks.append(model.register_forward_hook(self._on_forward))

    def _watch_training_step(self, trainer: Any) -> None:
        """Shadow the trainer's method on the instance: no event shows the batch and its loss."""
        original = trainer.training_step
        callback = weakref.ref(self)

        @functools.wraps(original)
        def training_step(model: Any, inputs: Any, *args: Any, **kwargs: Any) -> Any:
            loss = original(model, inputs, *args, **kwargs)
            if (watcher := callback()) is not None:
                watcher._on_training_step(trainer, inputs, loss)
            return loss

        training_step.trainguard = True  # type: ignore[attr-defined]
        trainer.training_step = training_step
        self._trainer = weakref.ref(trainer)

    def _on_training_step(self, trainer: Any, inputs: Any, loss: Any) -> None:
        if self._recorder is None:
            return
        with self._shielded("watching a micro-batch"):
            self._recorder.micro_batch(loss, inputs)
            if self._optimizer is not None and trainer.accelerator.sync_gradients:
                self._recorder.gradients(scale=_loss_scale(trainer.accelerator))

    def _on_forward(self, module: Any, args: Any, output: Any) -> None:
        """Keep the model's own loss: what a subclass of the Trainer returns may be another one."""
        if self._recorder is None:
            return
        with self._shielded("reading the model's loss"):
            loss = getattr(output, "loss", None)
            if getattr(loss, "requires_grad", False):
                self._recorder.model_loss(loss)

    def _on_clipping(self, tensors: Any, each: Any) -> None:
        if self._recorder is not None:
            with self._shielded("taking the norms of clipping"):
                self._recorder.clipping(tensors, each)

    def _before_update(self, *_: Any) -> None:
        if self._recorder is not None:
            with self._shielded("comparing gradients"):
                self._recorder.about_to_update(getattr(self._optimizer, "found_inf", None))

    def _on_optimizer_ran(self, *_: Any) -> None:
        self._stepped = True

    def _review(self, state: Any, *, last: bool = False) -> None:
        if state.is_world_process_zero:
            self._guard.review(last=last)

    def _shielded(self, what: str) -> AbstractContextManager[None]:
        return self._guard.shielded(what, self._detach)

    def _obey(self, control: Any) -> Any:
        if self._guard.stop_requested:
            control.should_training_stop = True
        return control

    def _detach(self) -> None:
        self._recorder = None
        self._end_tap()
        while self._hooks:
            self._hooks.pop().remove()
        trainer = self._trainer() if self._trainer is not None else None
        if trainer is not None and hasattr(vars(trainer).get("training_step"), "trainguard"):
            del trainer.training_step


def attach(trainer: Any, **options: Any) -> TrainGuardCallback:
    """Watch a trainer that already exists; returns the callback, whose `report` fills.

    Args:
        trainer: a `transformers.Trainer` or one derived from it.
        options: as for TrainGuardCallback.
    """
    callback = TrainGuardCallback(**options)
    callback.bind(trainer)
    trainer.add_callback(callback)
    return callback


def _find_trainer(callback: TrainerCallback) -> Any:
    """The trainer whose handler is calling: no event passes it, but its frame is on the stack."""
    frame = sys._getframe(1)
    while frame is not None:
        holder = frame.f_locals.get("self")
        handler = getattr(holder, "callback_handler", None)
        if handler is not None and callback in handler.callbacks:
            return holder
        frame = frame.f_back  # type: ignore[assignment]
    return None


def _loss_scale(accelerator: Any) -> Any:
    """The gradient scaler's factor as it lies on the device; `get_scale()` would wait for it."""
    scaler = getattr(accelerator, "scaler", None)
    if scaler is None or not scaler.is_enabled():
        return None
    return getattr(scaler, "_scale", None)
