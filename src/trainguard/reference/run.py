"""A whole run: questions, scores before, training, a score after; trainguard at every step.

What a run leaves in its folder stands in `run_folder`. A run that was killed is started again
with the same arguments and goes on from there.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from transformers import PreTrainedModel, PreTrainedTokenizerBase, Trainer, set_seed

from trainguard import TrainGuardCallback, audit_evaluation, check, preflight
from trainguard.engine import join
from trainguard.findings import Report
from trainguard.reference.benchmark import LLM, BenchmarkResult, benchmark
from trainguard.reference.data import SPLITS, datagen, read_questions, write_questions
from trainguard.reference.faults import FAULTS, Fault
from trainguard.reference.model import load, pretrained
from trainguard.reference.plan import TINY, Plan
from trainguard.reference.prompts import completion, direct_prompt
from trainguard.reference.rft import Kept, draw, reject
from trainguard.reference.run_folder import Results, claimed, write_results
from trainguard.reference.sft import STATE_FILE, build_trainer, finish, rank_within
from trainguard.reference.units import Question, is_right

#: For the tiny model, and for any other.
LEARNING_RATES = {"sft": (5e-3, 2e-4), "rft": (5e-3, 2e-4), "grpo": (3e-4, 2e-5)}
SAMPLED_AT_ONCE = 192
Say = Callable[[str], None]


def run(plan: Plan, folder: Path, cache: Path, say: Say = lambda text: None) -> Results:
    """Do what `plan` says in `folder`, or go on with it; `say` is told of each stage.

    `cache` keeps the embedded model. Raises `OtherRunError` if the folder holds another run.
    """
    with claimed(folder, plan):
        return _Run(plan, folder, cache, say).results()


class _Run:
    def __init__(self, plan: Plan, folder: Path, cache: Path, say: Say) -> None:
        self.plan, self.folder, self.cache, self.say = plan, folder, cache, say
        self.fault = FAULTS[plan.fault] if plan.fault else Fault("", "")

    def results(self) -> Results:
        train, test = self.questions()
        before, before_cot = self.scores_before(test)
        kept = self.sampled(train) if self.plan.method == "rft" else None
        first_look = self.trained(train if kept is None else kept.questions)
        audited, after = self.score_after(train, test)
        self.say("check of everything that the run has left")
        report = join([check(self.folder), first_look, audited], scope=str(self.folder))
        results = Results(before, before_cot, after, kept, report)
        write_results(self.folder, results)
        return results

    def questions(self) -> tuple[list[Question], list[Question]]:
        plan, data = self.plan, Path(self.plan.data or self.folder / "data")
        if not plan.data:
            self.say(f"{plan.train} training questions, {plan.valid} and {plan.test} held out")
            sizes = {name: getattr(plan, name) for name in SPLITS}
            datagen(data, **sizes, seed=plan.seed, changed=self.fault.data)
        train, _, test = (read_questions(data / f"{name}.json") for name in SPLITS)
        return train, test[: plan.test]

    def scores_before(self, test: Sequence[Question]) -> tuple[BenchmarkResult, BenchmarkResult]:
        self.say(f"score of {self.plan.model} before training")
        model, tokenizer = self.model()
        plain = benchmark(self.llm(model, tokenizer), test, len(test))
        cot = benchmark(self.llm(model, tokenizer, cot=True), test, len(test))
        self.say(f"  asked plainly:     {plain}\n  chain of thought:  {cot}")
        return plain, cot

    def sampled(self, questions: Sequence[Question]) -> Kept:
        plan = self.plan
        self.say(f"{plan.samples} samples of reasoning for each of {len(questions)} questions")
        model, tokenizer = self.model(plan.sampler)
        llm = self.llm(model, tokenizer, cot=True)
        llm.batch_size = SAMPLED_AT_ONCE
        path = self.folder / "samples" / "drawn.jsonl"
        path.parent.mkdir(exist_ok=True)
        samples = draw(
            llm, questions, path, count=plan.samples, temperature=plan.temperature, seed=plan.seed
        )
        kept = self.fault.kept(reject(questions, samples))
        if not kept.questions:
            raise ValueError(
                f"none of {kept.samples} samples states a right answer, so there is nothing to "
                f"train on: draw more, or name a better model with --sampler"
            )
        write_questions(self.folder / "rft.json", kept.questions)
        self.say(f"  {kept}")
        return kept

    def trained(self, questions: Sequence[Question]) -> Report:
        """Train unless an earlier start has done so; what was found before the first step."""
        trainer = self.trainer(questions)
        first_look = preflight(trainer)
        if (self.folder / STATE_FILE).exists():
            self.say("the adapter was trained before")
            return first_look
        self.say(f"training, {self.plan.steps} steps on {len(questions)} questions")
        trainer.add_callback(TrainGuardCallback())  # its record is checked with the folder
        finish(trainer, self.folder)
        self.fault.saved(self.folder)
        return first_look

    def trainer(self, questions: Sequence[Question]) -> Trainer:
        plan = self.plan
        set_seed(plan.seed)  # the A matrices of a new adapter are random
        model, tokenizer = self.model()
        if not isinstance(model, PeftModel):
            model = self.fault.adapter(model, rank=rank_within(model, plan.megabytes, plan.rank))
        arguments = self.arguments() | dict(self.fault.arguments)
        trainer = self.builder()(model, tokenizer, questions, self.folder, **arguments)
        self.fault.trainer(trainer)
        return trainer

    def builder(self) -> Callable[..., Trainer]:
        plan = self.plan
        if plan.method != "grpo":
            return build_trainer
        from trainguard.reference.grpo import build_grpo_trainer  # nothing else needs TRL

        return partial(
            build_grpo_trainer,
            samples=plan.samples,
            temperature=plan.temperature,
            max_new_tokens=plan.max_new_tokens,
        )

    def arguments(self) -> dict[str, Any]:
        plan = self.plan
        tiny, other = LEARNING_RATES[plan.method]
        usual = tiny if plan.model == TINY else other
        return {
            "steps": plan.steps,
            "learning_rate": plan.learning_rate or usual,
            "seed": plan.seed,
            "per_device_train_batch_size": plan.batch_size,
            "gradient_checkpointing": plan.gradient_checkpointing,
            "save_strategy": "steps",
            "save_steps": plan.save_steps,
            "save_total_limit": 2,
            "logging_steps": max(1, plan.steps // 20),
            "report_to": "tensorboard" if find_spec("tensorboard") else "none",
        }

    def score_after(
        self, train: Sequence[Question], test: Sequence[Question]
    ) -> tuple[Report, BenchmarkResult]:
        """The score of what lies on the disk."""
        self.say("score after training, audited")
        base, tokenizer = self.model(adapter="")
        model = PeftModel.from_pretrained(base, self.folder)
        references = {question.text: question.answer for question in test}
        llm = self.fault.llm(self.llm(model, tokenizer), references)
        # Trained on bare answers, the model itself can be asked how likely it finds them.
        known = {
            "prompt": partial(direct_prompt, tokenizer=tokenizer),
            "completion": lambda answer: completion(Question("", answer), tokenizer),
        }
        report, score = audited_score(
            llm, test, train=train, **(known if self.plan.method == "sft" else {})
        )
        self.say(f"  {score}")
        return report, score

    def model(
        self, name: str = "", adapter: str | None = None
    ) -> tuple[Any, PreTrainedTokenizerBase]:
        gc.collect()  # the model before this one
        adapter = self.plan.adapter if adapter is None else adapter
        return load_model(name or self.plan.model, self.cache, "" if name else adapter)

    def llm(self, model: Any, tokenizer: PreTrainedTokenizerBase, cot: bool = False) -> LLM:
        return LLM(model, tokenizer, max_new_tokens=self.plan.max_new_tokens, cot=cot)


def load_model(
    name: str, cache: Path, adapter: str = ""
) -> tuple[PreTrainedModel | PeftModel, PreTrainedTokenizerBase]:
    """The model, with an adapter that can be trained further if one is named, and its tokenizer."""
    model, tokenizer = pretrained(cache) if name == TINY else load(name)
    model = model.to("cuda" if torch.cuda.is_available() else "cpu")
    if adapter:
        model = PeftModel.from_pretrained(model, adapter, is_trainable=True)
    return model, tokenizer


def audited_score(
    llm: LLM, questions: Sequence[Question], train: Sequence[Question] = (), **known: Any
) -> tuple[Report, BenchmarkResult]:
    """The score, and whether it is the model's; `known` goes to `audit_evaluation`."""
    with audit_evaluation(
        llm,
        references=[(question.text, question.answer) for question in questions],
        train=[(question.text, question.answer) for question in train],
        correct=is_right,
        **known,
    ) as audit:
        score = benchmark(llm, questions, limit=len(questions))
        audit.claim(score)
    return audit.report, score
