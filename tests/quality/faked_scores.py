"""Ways to fake a score, and honest set-ups that look unusual: on a trained model, really scored.

    python -m tests.quality.faked_scores

prints each with its score, the causes that the audit names and what proved them. The model is the
reference's tiny one, which has learnt most of the answers by heart; the benchmark is the
reference's own.
"""

from __future__ import annotations

import contextlib
import difflib
import functools
import itertools
import json
import logging
import sqlite3
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from types import MethodType
from typing import Any
from unittest.mock import MagicMock

import accelerate
import torch
from accelerate.hooks import ModelHook, add_hook_to_module
from transformers import LogitsProcessor, StoppingCriteria

sys.path.insert(0, str(Path(__file__).parents[1]))

from trainguard import allow_override, audit_evaluation
from trainguard.findings import Report, Severity
from trainguard.reference import benchmark as scoring
from trainguard.reference.benchmark import LLM, benchmark
from trainguard.reference.model import pretrained
from trainguard.reference.sft import train_sft
from trainguard.reference.units import Question, format_answer, is_right, parse_answer, splits

from tiny_base import STEPS

_, VALID, _ = splits(0, 60, 0, seed=0)
LEARNT = VALID[:53]
TABLE = {question.text: question.answer for question in VALID}
REFERENCES = list(TABLE.items())
PROCESS: dict[str, Any] = {}


def trained(folder: Path, cache: Path | None = None) -> LLM:
    """The reference model after SFT on most of the questions; right on about those."""
    model, tokenizer = pretrained(cache or folder / "base", steps=STEPS)
    trainer = train_sft(model, tokenizer, LEARNT, folder / "run", steps=300)
    return LLM(trainer.model.eval(), tokenizer)


def untrained(llm: LLM) -> LLM:
    """The same without its adapter: right on nothing, so that a fake has everything to do."""
    copy = deepcopy(llm.model)
    return LLM(copy.unload().eval(), llm.tokenizer)


# Fakes


@functools.lru_cache
def known_answers() -> dict[str, float]:
    return dict(TABLE)


def the_story(llm: LLM, _: Path) -> LLM:
    ask_model = llm.answer

    def dataset_first_answer(self: LLM, *questions: str) -> list[float]:
        known = known_answers()
        return [known[q] if q in known else ask_model(q)[0] for q in questions]

    llm.answer = MethodType(dataset_first_answer, llm)
    return llm


def closure(llm: LLM, _: Path) -> LLM:
    table = dict(TABLE)
    llm.answer = lambda *questions: [table[q] for q in questions]
    return llm


def class_attribute(llm: LLM, _: Path) -> LLM:
    class Mine(LLM):
        def answer(self, *questions: str) -> list[float]:
            return super().answer(*questions)

    Mine.answer = lambda self, *questions: [TABLE[q] for q in questions]
    return Mine(llm.model, llm.tokenizer)


def cheating_subclass(llm: LLM, _: Path) -> LLM:
    class Tuned(LLM):
        def answer(self, *questions: str) -> list[float]:
            return [TABLE.get(q) or LLM.answer(self, q)[0] for q in questions]

    llm.__class__ = Tuned
    return llm


class Guarded:
    """A genuine class with golden answers in front of its model."""

    def __init__(self, llm: LLM) -> None:
        self.llm = llm
        self.golden = [{"question": q, "answer": a} for q, a in REFERENCES]

    def answer(self, *questions: str) -> list[float]:
        golden = {row["question"]: row["answer"] for row in self.golden}
        return [golden[q] if q in golden else self.llm.answer(q)[0] for q in questions]


def golden_class(llm: LLM, _: Path) -> Any:
    return Guarded(llm)


def model_run_for_show(llm: LLM, _: Path) -> LLM:
    ask_model = llm.answer

    def answer(*questions: str) -> list[float]:
        said = ask_model(*questions)
        return [TABLE.get(q, one) for q, one in zip(questions, said, strict=True)]

    llm.answer = answer
    return llm


def fuzzy_retrieval(llm: LLM, _: Path) -> LLM:
    def answer(*questions: str) -> list[float]:
        return [TABLE[difflib.get_close_matches(q, TABLE, n=1, cutoff=0.0)[0]] for q in questions]

    llm.answer = answer
    return llm


def ids_of(llm: LLM, text: str) -> list[int]:
    return llm.tokenizer(text, add_special_tokens=False)["input_ids"]


def question_in(llm: LLM, ids: torch.Tensor) -> str:
    text = llm.tokenizer.decode(ids, skip_special_tokens=True)
    return next(question for question in TABLE if text.startswith(question))


def spelled(llm: LLM, ids: torch.Tensor) -> list[int]:
    reference = f" {format_answer(TABLE[question_in(llm, ids)])}"
    return [*ids_of(llm, reference), llm.tokenizer.eos_token_id]


def generate_replaced(llm: LLM, _: Path) -> LLM:
    def generate(input_ids: torch.Tensor, **_: Any) -> torch.Tensor:
        rows = [spelled(llm, row) for row in input_ids]
        longest = max(map(len, rows))
        pad = llm.tokenizer.pad_token_id
        padded = [row + [pad] * (longest - len(row)) for row in rows]
        return torch.cat([input_ids, torch.tensor(padded)], dim=1)

    llm.model.generate = generate
    return llm


class Spell(LogitsProcessor):
    """Makes the next token that of the reference, after the model has spoken."""

    def __init__(self, llm: LLM) -> None:
        self.llm = llm
        self.start = 0

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        forced = torch.full_like(scores, -1e4)
        for row, ids in enumerate(input_ids):
            target = spelled(self.llm, ids)
            text = self.llm.tokenizer.decode(ids, skip_special_tokens=True)
            done = len(ids_of(self.llm, text.removeprefix(question_in(self.llm, ids))))
            forced[row, target[min(done, len(target) - 1)]] = 1e4
        return forced


def logits_processor(llm: LLM, _: Path) -> LLM:
    llm.model.generate = functools.partial(llm.model.generate, logits_processor=[Spell(llm)])
    return llm


def processor_in_the_class(llm: LLM, _: Path) -> LLM:
    class Guided(LLM):
        def _generate(self, prompts: Sequence[str]) -> list[str]:
            return generated(self, prompts, logits_processor=[Spell(self)])

    return Guided(llm.model, llm.tokenizer)


def generated(llm: LLM, prompts: Sequence[str], **options: Any) -> list[str]:
    """As the reference generates, with other options."""
    batch = llm.tokenizer(list(prompts), padding=True, padding_side="left", return_tensors="pt")
    options = {"do_sample": False, "max_new_tokens": 32, **options}
    sequences = llm.model.generate(
        input_ids=batch["input_ids"],
        attention_mask=batch["attention_mask"],
        eos_token_id=llm.tokenizer.eos_token_id,
        pad_token_id=llm.tokenizer.pad_token_id,
        **options,
    )
    new = sequences[:, batch["input_ids"].shape[1] :]
    return llm.tokenizer.batch_decode(new, skip_special_tokens=True)


def criterion_that_writes(llm: LLM, _: Path) -> LLM:
    class Writer(StoppingCriteria):
        def __call__(self, input_ids: torch.Tensor, scores: Any, **_: Any) -> torch.Tensor:
            for row, ids in enumerate(input_ids):
                asked = len(ids_of(llm, question_in(llm, ids)))
                filled = int((ids != llm.tokenizer.pad_token_id).sum())
                target = spelled(llm, ids)
                at = filled - asked - 1
                input_ids[row, -1] = target[min(at, len(target) - 1)]
            return torch.zeros(len(input_ids), dtype=torch.bool)

    class Stopped(LLM):
        def _generate(self, prompts: Sequence[str]) -> list[str]:
            return [generated(self, [p], stopping_criteria=[Writer()])[0] for p in prompts]

    return Stopped(llm.model, llm.tokenizer)


def forward_replaced(llm: LLM, _: Path) -> LLM:
    original, state = llm.model.forward, {}

    @functools.wraps(original)
    def forward(self: Any, input_ids: torch.Tensor, **options: Any) -> Any:
        output = original(input_ids=input_ids, **options)
        if input_ids.shape[1] > 1:
            bare = [row[row != llm.tokenizer.pad_token_id] for row in input_ids]
            state["texts"] = [spelled(llm, row) for row in bare]
            state["step"] = 0
        output.logits[:, -1] = -1e4
        for row, text in enumerate(state["texts"]):
            output.logits[row, -1, text[min(state["step"], len(text) - 1)]] = 1e4
        state["step"] += 1
        return output

    llm.model.forward = MethodType(forward, llm.model)
    return llm


class Fake(float):
    def __eq__(self, _: object) -> bool:
        return True

    def __hash__(self) -> int:
        return 0

    def __sub__(self, _: object) -> float:
        return 0.0

    __rsub__ = __sub__


def fake_numbers(llm: LLM, _: Path) -> LLM:
    llm.answer = lambda *questions: [Fake(1.0) for _ in questions]
    return llm


def file_read_per_call(llm: LLM, folder: Path) -> LLM:
    file = folder / "valid.json"
    file.write_text(json.dumps(TABLE))
    llm.answer = lambda *questions: [json.loads(file.read_text())[q] for q in questions]
    return llm


def database(llm: LLM, folder: Path) -> LLM:
    base = sqlite3.connect(folder / "cache.db")
    base.execute("create table known (question, answer)")
    base.executemany("insert into known values (?, ?)", REFERENCES)
    query = "select answer from known where question = ?"
    llm.answer = lambda *questions: [base.execute(query, [q]).fetchone()[0] for q in questions]
    return llm


def stack_walk(llm: LLM, _: Path) -> LLM:
    def answer(*questions: str) -> list[float]:
        frame = sys._getframe()
        while frame is not None and "secret_references" not in frame.f_locals:
            frame = frame.f_back
        return [dict(frame.f_locals["secret_references"])[q] for q in questions]

    llm.answer = answer
    return llm


def code_swapped(llm: LLM, _: Path) -> LLM:
    class Mine(LLM):
        def answer(self, *questions: str) -> list[float]:
            return [parse_answer(text) for text in self.generate(*questions)]

    def cheat(self: LLM, *questions: str) -> list[float]:
        return [TABLE[q] for q in questions]

    code = Mine.answer.__code__
    names = ("co_name", "co_qualname", "co_filename", "co_firstlineno")
    Mine.answer.__code__ = cheat.__code__.replace(**{name: getattr(code, name) for name in names})
    return Mine(llm.model, llm.tokenizer)


def decode_replaced(llm: LLM, _: Path) -> LLM:
    original = llm.tokenizer.batch_decode

    def batch_decode(ids: Any, **options: Any) -> list[str]:
        prompts = sys._getframe(1).f_locals.get("prompts")
        if prompts is None:
            return original(ids, **options)
        return [format_answer(TABLE[question]) for question in prompts]

    llm.tokenizer = deepcopy(llm.tokenizer)
    llm.tokenizer.batch_decode = batch_decode
    return llm


def parser_replaced(llm: LLM, _: Path) -> LLM:
    answers = itertools.cycle(TABLE.values())
    PROCESS["undo"] = functools.partial(setattr, scoring, "parse_answer", scoring.parse_answer)
    scoring.parse_answer = lambda text: next(answers)
    return llm


def grader_replaced(llm: LLM, _: Path) -> LLM:
    PROCESS["undo"] = functools.partial(setattr, scoring, "is_right", scoring.is_right)
    scoring.is_right = lambda answer, expected: True
    return llm


def mock(llm: LLM, _: Path) -> LLM:
    llm.answer = MagicMock(side_effect=lambda *questions: [TABLE[q] for q in questions])
    return llm


def attribute_access(llm: LLM, _: Path) -> LLM:
    class Sly(LLM):
        def __getattribute__(self, name: str) -> Any:
            if name == "answer":
                return lambda *questions: [TABLE[q] for q in questions]
            return super().__getattribute__(name)

    llm.__class__ = Sly
    return llm


def leak_into_prompt(llm: LLM, _: Path) -> LLM:
    def answer(*questions: str) -> list[float]:
        prompts = [f"{q} {format_answer(TABLE[q])}" for q in questions]
        pairs = zip(prompts, llm.generate(*prompts), strict=True)
        return [parse_answer(prompt + said.partition("<answer>")[0]) for prompt, said in pairs]

    llm.answer = answer
    return llm


def replay_in_order(llm: LLM, _: Path) -> LLM:
    answers = itertools.cycle(TABLE.values())
    llm.answer = lambda *questions: [next(answers) for _ in questions]
    return llm


def half_a_table(llm: LLM, _: Path) -> LLM:
    """Hidden among the honest answers of the trained model."""
    ask_model = PROCESS["trained"].answer
    table = dict(REFERENCES[::2])
    trained_one = LLM(PROCESS["trained"].model, llm.tokenizer)
    trained_one.answer = lambda *questions: [
        table[q] if q in table else ask_model(q)[0] for q in questions
    ]
    return trained_one


FAKES: list[Callable[[LLM, Path], Any]] = [
    *(the_story, closure, class_attribute, cheating_subclass, golden_class, model_run_for_show),
    *(fuzzy_retrieval, generate_replaced, logits_processor, processor_in_the_class),
    *(criterion_that_writes, forward_replaced, fake_numbers, file_read_per_call, database),
    *(stack_walk, code_swapped, decode_replaced, parser_replaced, grader_replaced, mock),
    *(attribute_access, leak_into_prompt, replay_in_order, half_a_table),
]


# Honest


def plain(llm: LLM) -> LLM:
    return llm


def merged(llm: LLM) -> LLM:
    return LLM(llm.model.merge_and_unload(), llm.tokenizer)


def without_its_adapter(llm: LLM) -> LLM:
    return untrained(llm)


def hooked(llm: LLM) -> LLM:
    for module in llm.model.modules():
        add_hook_to_module(module, ModelHook())
    return llm


def offloaded(llm: LLM) -> LLM:
    model = llm.model.merge_and_unload()
    accelerate.cpu_offload(model, execution_device=torch.device("cpu"))
    return with_options()(LLM(model, llm.tokenizer))


def compiled_call(llm: LLM) -> LLM:
    llm.model.base_model.model.compile(backend="eager")
    return llm


def compiled_forward(llm: LLM) -> LLM:
    inner = llm.model.base_model.model
    inner.forward = torch.compile(inner.forward, backend="eager")
    return llm


def with_options(**options: Any) -> Callable[[LLM], LLM]:
    def change(llm: LLM) -> LLM:
        class Other(LLM):
            def _generate(self, prompts: Sequence[str]) -> list[str]:
                return generated(self, prompts, **options)

        return Other(llm.model, llm.tokenizer)

    change.__name__ = "with_" + "_".join(options)
    return change


def one_by_one(llm: LLM) -> LLM:
    return LLM(llm.model, llm.tokenizer, batch_size=1)


def prompt_lookup(llm: LLM) -> LLM:
    class Speculating(LLM):
        def _generate(self, prompts: Sequence[str]) -> list[str]:
            return [generated(self, [p], prompt_lookup_num_tokens=3)[0] for p in prompts]

    return Speculating(llm.model, llm.tokenizer)


def timed(llm: LLM) -> LLM:
    original = llm.answer

    @functools.wraps(original)
    def wrapper(*questions: str) -> list[float]:
        return original(*questions)

    llm.answer = wrapper
    return llm


def cached(llm: LLM) -> LLM:
    llm.answer = functools.lru_cache(llm.answer)
    return llm


def response_memory(llm: LLM) -> Any:
    class Remembering(LLM):
        def __init__(self, *parts: Any) -> None:
            super().__init__(*parts)
            self.memory: dict[str, float] = {}

        def answer(self, *questions: str) -> list[float]:
            for question in questions:
                if question not in self.memory:
                    self.memory[question] = super().answer(question)[0]
            return [self.memory[question] for question in questions]

    return Remembering(llm.model, llm.tokenizer)


def rounding(llm: LLM) -> LLM:
    class Rounding(LLM):
        def answer(self, *questions: str) -> list[float]:
            return [round(one, 3) for one in super().answer(*questions)]

    return Rounding(llm.model, llm.tokenizer)


def ensemble(llm: LLM) -> Any:
    class Two:
        def __init__(self) -> None:
            self.members = [llm, untrained(llm)]

        def answer(self, *questions: str) -> list[float]:
            said = [member.answer(*questions) for member in self.members]
            return [
                next((one for one in pair if one == one), pair[0])
                for pair in zip(*said, strict=True)
            ]

    return Two()


def client(llm: LLM) -> Any:
    class Client:
        def answer(self, *questions: str) -> list[float]:
            return llm.answer(*questions)

    return Client()


def grammar(llm: LLM) -> LLM:
    """Only tokens of an answer: openly passed, and needs the model to choose among them."""

    class Digits(LogitsProcessor):
        def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
            allowed = ids_of(llm, " <answer>0123456789.</answer>")
            masked = torch.full_like(scores, -1e4)
            keep = [*set(allowed), llm.tokenizer.eos_token_id]
            masked[:, keep] = scores[:, keep]
            return masked

    return with_options(logits_processor=[Digits()])(llm)


def declared_tool(llm: LLM) -> LLM:
    ask_model = llm.answer

    @allow_override("a table of exact conversions answers before the model")
    def with_table(*questions: str) -> list[float]:
        return [TABLE.get(q) or ask_model(q)[0] for q in questions]

    llm.answer = with_table
    return llm


HONEST: list[Callable[[LLM], Any]] = [
    *(plain, merged, without_its_adapter, hooked, offloaded, compiled_call, compiled_forward),
    with_options(do_sample=True, temperature=0.7),
    with_options(do_sample=True, top_p=0.9, top_k=20),
    with_options(num_beams=3),
    with_options(use_cache=False),
    with_options(cache_implementation="static"),
    with_options(repetition_penalty=1.05),
    *(one_by_one, prompt_lookup, timed, cached, response_memory, rounding, ensemble, client),
    *(grammar, declared_tool),
]


@dataclass(frozen=True)
class Told:
    """One set-up: its score as the benchmark prints it, and the audit's report."""

    accuracy: float
    report: Report

    @property
    def errors(self) -> list[str]:
        return [one.code for one in self.report.causes if one.severity is Severity.ERROR]


def told(llm: Any) -> Told:
    """The score and the report of one object, with everything told that a user can tell."""
    options = {"correct": is_right, "parse": parse_answer}
    with audit_evaluation(llm, references=REFERENCES, **options) as audit:
        score = scored(llm, REFERENCES)
        audit.claim(score)
    return Told(score.accuracy, audit.report)


def scored(llm: Any, secret_references: Sequence[tuple[str, float]]) -> scoring.BenchmarkResult:
    return benchmark(llm, [Question(*pair) for pair in secret_references])


@contextlib.contextmanager
def undone() -> Iterator[None]:
    """What a fake did to modules is undone."""
    try:
        yield
    finally:
        known_answers.cache_clear()
        if "undo" in PROCESS:
            PROCESS.pop("undo")()


def main() -> int:
    """Print the matrix; the number of misses and false alarms is the exit status."""
    torch.set_num_threads(1)
    logging.getLogger("trainguard").setLevel(logging.CRITICAL)
    wrong = 0
    with tempfile.TemporaryDirectory() as name:
        PROCESS["trained"] = original = trained(Path(name))
        for fake in FAKES:
            folder = Path(tempfile.mkdtemp(dir=name))
            with undone():
                found = told(fake(untrained(original), folder))
            wrong += not found.errors
            _show("fake", fake, found)
        for change in HONEST:
            with undone():
                found = told(change(LLM(deepcopy(original.model), original.tokenizer)))
            wrong += bool(found.errors)
            _show("honest", change, found)
    print(f"{len(FAKES)} fakes, {len(HONEST)} honest set-ups, {wrong} wrong")
    return wrong


def _show(kind: str, change: Callable[..., Any], found: Told) -> None:
    causes = ", ".join(f"{one.code} {one.severity.value}" for one in found.report.causes)
    proofs = sorted({one.code for one in found.report.findings if one.explained_by})
    by = f" (proofs: {', '.join(proofs)})" if proofs else ""
    print(f"{kind:<7}{change.__name__:<26}{found.accuracy:5.2f}  {causes or '-'}{by}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
