"""The story in three minutes: one training four ways, three of them sabotaged, each diagnosed.

Every run prints what its user would have seen, then what trainguard says. The runs and their
adapters stay in the folder, so that `trainguard check` can be tried on them.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from peft import PeftModel
from transformers import PreTrainedTokenizerBase, Trainer

from trainguard import TrainGuardCallback, check
from trainguard.engine import join
from trainguard.findings import Report, Severity
from trainguard.reference.benchmark import LLM, benchmark
from trainguard.reference.faults_in_scores import looked_up
from trainguard.reference.faults_in_training import float16
from trainguard.reference.model import load, pretrained
from trainguard.reference.run import audited_score
from trainguard.reference.sft import train_sft
from trainguard.reference.terminal import quiet
from trainguard.reference.units import Question, splits
from trainguard.report import text

STEPS = 150
LOGGING_STEPS = 25
TRAIN, VALID = 2000, 100
RULE = "-" * 88


@dataclass(frozen=True)
class Demo:
    """What all four runs share."""

    folder: Path
    base: Path
    """Folder of the pre-trained tiny model."""
    train: Sequence[Question]
    valid: Sequence[Question]
    colour: bool = False
    steps: int = STEPS

    def load_base(self) -> tuple[Any, PreTrainedTokenizerBase]:
        """A fresh copy of the base model, in float32."""
        return load(self.base)

    def load_adapter(self, **options: Any) -> tuple[PeftModel, PreTrainedTokenizerBase]:
        """The adapter of the first stage on a fresh base."""
        model, tokenizer = self.load_base()
        first = str(self.folder / "first-stage")
        return PeftModel.from_pretrained(model, first, **options), tokenizer

    def sft(self, model: Any, tokenizer: Any, name: str, **options: Any) -> tuple[Trainer, Report]:
        """Train into a folder of its own, watched."""
        guard = TrainGuardCallback()
        trainer = train_sft(
            model,
            tokenizer,
            self.train,
            self.folder / name,
            steps=self.steps,
            logging_steps=LOGGING_STEPS,
            callbacks=[guard],
            **options,
        )
        return trainer, guard.report

    def show(self, report: Report) -> None:
        """Print the diagnosis, or that there is none."""
        print()
        if report.findings:
            print(text.full(report, colour=self.colour, summary=False))
        else:
            print(f"trainguard: no finding; {len(report.checked)} checks decided.\n")


def run_demo(folder: Path, *, colour: bool = False, steps: int = STEPS) -> int:
    """Run the four trainings in `folder`, print their diagnoses, and check what they left.

    Args:
        folder: where the runs go; what an earlier demo left there is replaced.
        colour: whether to use terminal colours.
        steps: optimizer steps of each training.

    Returns:
        0 if every run was diagnosed as expected, otherwise 1.
    """
    started = time.monotonic()
    with quiet():
        demo = prepare(folder, colour=colour, steps=steps)
        runs = [frozen_adapter, hidden_nan, looked_up_answers, healthy]
        verdicts = [(run, *run(demo)) for run in runs]
    heading("trainguard check " + str(folder))
    print(text.full(check(folder), colour=colour))
    heading(f"Verdicts ({time.monotonic() - started:.0f} s)")
    right = [_verdict(run.__name__, expected, report) for run, expected, report in verdicts]
    return 0 if all(right) else 1


def prepare(folder: Path, *, colour: bool, steps: int) -> Demo:
    """The base model, the questions, and a first adapter to go on with."""
    for name in ("first-stage", "frozen-adapter", "hidden-nan", "healthy"):
        shutil.rmtree(folder / name, ignore_errors=True)
    train, valid, _ = splits(TRAIN, VALID, 0, seed=0)
    with stage("pre-training a tiny Llama (once; it is cached)"):
        base, _ = pretrained(folder / "base")
    demo = Demo(folder, Path(base.name_or_path), train, valid, colour, steps)
    with stage("a first SFT stage, to have an adapter to go on with"):
        demo.sft(*demo.load_base(), "first-stage")
    return demo


def frozen_adapter(demo: Demo) -> tuple[str, Report]:
    """Training goes on with the adapter, loaded without `is_trainable=True`."""
    heading("1. The adapter is loaded for more training, under gradient checkpointing")
    print('  model = PeftModel.from_pretrained(base, "first-stage")')
    with stage("training"):
        _, report = demo.sft(*demo.load_adapter(), "frozen-adapter", gradient_checkpointing=True)
    demo.show(report)
    return "TG201", report


def hidden_nan(demo: Demo) -> tuple[str, Report]:
    """Weights in float16 overflow; the logging filter prints 0 for the NaN loss."""
    heading("2. The model is trained in float16")
    print("  model = model.half()")
    model, tokenizer = demo.load_base()
    model = float16(model)
    with stage("training"):
        _, report = demo.sft(model, tokenizer, "hidden-nan")
    demo.show(report)
    return "TG501", report


def looked_up_answers(demo: Demo) -> tuple[str, Report]:
    """The benchmark asks a patched `answer` that knows the questions."""
    heading("3. The base model is scored, with a patched answer method")
    print("  apply_dataset_answer_patch(llm)")
    llm = LLM(*demo.load_base())
    llm = looked_up(llm, {question.text: question.answer for question in demo.valid})
    with stage("benchmark, audited"):
        report, score = audited_score(llm, demo.valid)
    print(f"  {score}")
    demo.show(report)
    return "TG601", report


def healthy(demo: Demo) -> tuple[str, Report]:
    """The same adapter, loaded to be trained, in float32, scored by asking the model."""
    heading("4. The same training, done right")
    print('  model = PeftModel.from_pretrained(base, "first-stage", is_trainable=True)')
    with stage("benchmark of the base model"):
        before = benchmark(LLM(*demo.load_base()), demo.valid)
    with stage("training"):
        trainer, trained = demo.sft(
            *demo.load_adapter(is_trainable=True), "healthy", gradient_checkpointing=True
        )
    with stage("benchmark, audited"):
        scored, after = audited_score(LLM(trainer.model, trainer.processing_class), demo.valid)
    print(f"  before training: {before}\n  after training:  {after}")
    both = join([trained, scored], scope="healthy")
    demo.show(both)
    return "", both


def heading(title: str) -> None:
    """A rule and a title."""
    print(f"\n{RULE}\n{title}\n{RULE}", flush=True)


@contextmanager
def stage(what: str) -> Iterator[None]:
    """Say what is going on, and how long it took."""
    print(f"  [{what} ...]", flush=True)
    started = time.monotonic()
    yield
    print(f"  [{what}: {time.monotonic() - started:.0f} s]", flush=True)


def _verdict(name: str, expected: str, report: Report) -> bool:
    causes = [cause.code for cause in report.causes if cause.severity is Severity.ERROR]
    right = causes == ([expected] if expected else [])
    said = ", ".join(f"{cause.code} {cause.name}" for cause in report.causes) or "no finding"
    print(f"  {name.replace('_', ' '):<20} {said}{'' if right else '   NOT AS EXPECTED'}")
    return right
