"""One look at the model, a batch and the plan of a run before the first step."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, Literal

from trainguard.config import in_force
from trainguard.engine import judge
from trainguard.findings import Report
from trainguard.gather.preflight import BY_NAME, CHEAP, Flight, preflight_evidence
from trainguard.gather.preflight_trainer import is_trainer, trainer_flight

#: The families of model and batch, and what a single step can show.
CHECKS = ("TG2", "TG3", "nonfinite-loss", "nonfinite-gradients")


def preflight(
    model: Any,
    batch: Mapping[str, Any] | None = None,
    optimizer: Any = None,
    tokenizer: Any = None,
    *,
    scheduler: Any = None,
    steps: int | None = None,
    probes: Literal["cheap", "all"] | Iterable[str] = "cheap",
    ignore: Iterable[str] = (),
) -> Report:
    """Look for faults of a run on one batch, before it is started.

        report = preflight(model, next(iter(loader)), optimizer, tokenizer)
        report = preflight(trainer)

    No weight is changed. Random numbers, modes, gradients, buffers and the order of the data are
    bit-identical afterwards, and no exception of the model or of a probe leaves: it becomes the
    reason why something was not checked. Forward hooks of the model do run; call this before
    `watch`.

    Args:
        model: the module that is to be trained, wrapped or not, or a transformers `Trainer`, which
            brings everything else along.
        batch: what the model is called with, `model(**batch)`: tensors `input_ids`,
            `attention_mask` and `labels` of shape (rows, positions), and further columns.
        optimizer: a torch optimizer over the model.
        tokenizer: states the special tokens; by default the model's config does.
        scheduler: a `LambdaLR`, such as the schedules of transformers.
        steps: optimizer steps of the whole run.
        probes: "cheap" costs one to two training steps. "all" adds "rows" (do the rows of a batch
            influence each other in training mode) and "accumulation" (of a Trainer: does its loss
            answer to `num_items_in_batch`). Or names: "batch", "gradients", "causal", "padding",
            "packing", "rows", "precision", "plan", "accumulation".
        ignore: codes, code prefixes or names of checks to leave out.

    Raises:
        ValueError: a probe or a check has none of the known names.
        TypeError: `model` is neither a module nor a Trainer, or the batch is no mapping.
    """
    chosen = _chosen(probes)
    checks = in_force(CHECKS, ignore).selected
    if batch is not None and not isinstance(batch, Mapping):
        raise TypeError(f"the batch is a {type(batch).__name__}, not a mapping of columns")
    given = {
        "optimizer": optimizer,
        "tokenizer": tokenizer,
        "scheduler": scheduler,
        "steps": steps,
    }
    given = {name: value for name, value in given.items() if value is not None}
    if is_trainer(model):
        flight = replace(trainer_flight(model, batch), **given)
    elif hasattr(model, "named_parameters"):
        flight = Flight(model=model, batch=batch, **given)
    else:
        raise TypeError(f"{type(model).__name__} is neither a module nor a Trainer")
    return judge([preflight_evidence(flight, chosen)], checks)


def _chosen(probes: Literal["cheap", "all"] | Iterable[str]) -> frozenset[str]:
    if isinstance(probes, str):
        named = {"cheap": CHEAP, "all": CHEAP | BY_NAME}.get(probes, frozenset({probes}))
    else:
        named = frozenset(probes)
    if unknown := sorted(named - CHEAP - BY_NAME):
        known = ", ".join(sorted(CHEAP | BY_NAME))
        raise ValueError(f"no probe is called {unknown[0]!r}; there are {known}")
    return named
