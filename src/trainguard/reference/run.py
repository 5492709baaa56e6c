"""A whole run: questions, a score before, training, a score after; trainguard at every step.

What a run leaves in its folder:

    settings.json             what was asked for
    data/                     train, valid and test questions, unless others were given
    rft.samples.jsonl         everything that was sampled (train rft)
    rft.json                  what rejection has left of it: question, answer, reasoning
    adapter_model.safetensors and its configuration, checkpoints, trainer_state.json
    trainguard/               the steps as they were watched
    metrics.json              scores before and after, with intervals
    report.txt, report.json   the diagnosis
    wrong.txt                 the wrong answers
    curves.svg                loss, gradient norm and learning rate

A run that was killed is started again with the same command and goes on from there.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from trainguard import TrainGuardCallback, check, preflight
from trainguard.findings import Report
from trainguard.reference.benchmark import LLM, BenchmarkResult, benchmark
from trainguard.reference.data import (
    SPLITS,
    read_questions,
)
from trainguard.reference.faults import FAULTS, Fault
from trainguard.reference.sft import last_whole_checkpoint, save

TINY = "tiny"


class OtherRunError(ValueError):
    """A folder holds another run than the one that was asked for."""


@dataclass(frozen=True)
class Plan:
    """What a run is to do; the defaults suit the tiny model."""

    method: Literal["sft", "rft"] = "sft"
    model: str = TINY
    """A hub name, a local folder, or "tiny" for the embedded model."""
    adapter: str = ""
    """An adapter to go on with, such as that of an earlier run."""
    data: str = ""
    """A folder of questions; written into the run's own folder if left out."""
    train: int = 1000
    valid: int = 100
    test: int = 300
    steps: int = 120
    learning_rate: float = 5e-3
    batch_size: int = 16
    megabytes: float = 20.0
    """What the adapter may weigh on disk; its rank is the largest that fits, at most 8."""
    gradient_checkpointing: bool = False
    save_steps: int = 50
    samples: int = 12
    temperature: float = 0.8
    max_new_tokens: int = 64
    seed: int = 0
    fault: str = ""


@dataclass(frozen=True)
class Outcome:
    """What came of a run."""

    before: BenchmarkResult
    after: BenchmarkResult
    report: Report


def run(
    plan: Plan, folder: Path, cache: Path, say: Callable[[str], None] = lambda text: None
) -> Outcome:
    """Do what `plan` says in `folder`, or go on with it; `say` is told of each stage.

    `cache` keeps the embedded model. Raises `OtherRunError` if the folder holds another run.
    """
    _claim(folder, plan)
    fault = FAULTS[plan.fault] if plan.fault else Fault("", "")

    say("questions")
    data = Path(plan.data) if plan.data else folder / "data"
    reports = [_questions(plan, data, fault)]
    train, _, test = (read_questions(data / f"{name}.json") for name in SPLITS)

    say(f"model {plan.model}")
    model, tokenizer = load_model(plan.model, cache)
    say("score before training")
    before = benchmark(_llm(plan, model, tokenizer), test, limit=plan.test)
    say(f"  {before}")

    metrics: dict[str, Any] = {}
    if plan.method == "rft":
        say(f"{plan.samples} samples for each of {len(train)} questions")
        train = _sampled(plan, folder, train, LLM(model, tokenizer, 192, cot=True), fault, metrics)
        say(f"  {metrics['rft']}")

    say(f"training, {plan.steps} steps")
    wrapped = _adapter(plan, model, fault)
    trainer = _trainer(plan, folder, wrapped, tokenizer, train)
    fault.trainer(trainer)
    if not (folder / "trainer_state.json").exists():
        reports.append(preflight(trainer))
        guard = TrainGuardCallback()
        trainer.add_callback(guard)
        trainer.train(resume_from_checkpoint=last_whole_checkpoint(folder))
        save(trainer, folder)
        reports.append(guard.report)

    say("score after training, audited")
    llm = fault.llm(_llm(plan, _trained(folder, trainer), tokenizer), test)
    audit, after = audited(llm, test[: plan.test])
    say(f"  {after}")
    reports += [audit, check(folder)]

    report = _joined(reports)
    _write(folder, plan, before, after, report, metrics)
    return Outcome(before, after, report)
