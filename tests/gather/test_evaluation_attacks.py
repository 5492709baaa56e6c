"""Ways to fake a score: each has exactly one cause."""

from __future__ import annotations

import functools
import itertools
import json
import sqlite3
import sys
from collections.abc import Callable
from pathlib import Path
from types import MethodType
from typing import Any
from unittest.mock import MagicMock, patch

import pytest
import torch
from transformers import LogitsProcessor

from trainguard import audit_evaluation
from trainguard.findings import Report, Severity

import tiny

QUESTIONS = [f"w{4 + i} w{4 + (7 * i) % 60} w{4 + (11 * i + 3) % 60}" for i in range(40)]
PROCESS_STATE: dict[str, Any] = {}


class LLM:
    """A model with random weights: its answers are worthless, but they are its own."""

    def __init__(self, model: Any, tokenizer: Any) -> None:
        self.model = model
        self.tokenizer = tokenizer

    def answer(self, *questions: str) -> list[str]:
        batch = self.tokenizer(
            list(questions), return_tensors="pt", padding=True, padding_side="left"
        )
        sequences = self.model.generate(**self.inputs(batch), max_new_tokens=3, do_sample=False)
        completions = sequences[:, batch["input_ids"].shape[1] :]
        return self.tokenizer.batch_decode(completions, skip_special_tokens=True)

    def inputs(self, batch: Any) -> dict[str, Any]:
        return {name: batch[name] for name in ("input_ids", "attention_mask")}


@pytest.fixture
def llm() -> LLM:
    model = tiny.model().eval()
    with torch.no_grad():  # sharp weights make the greedy answers differ
        for weight in model.parameters():
            weight.mul_(8 if weight.ndim > 1 else 1)
    return LLM(model, tiny.tokenizer())


@pytest.fixture
def own(llm: LLM) -> dict[str, str]:
    """References that the model answers right, every one."""
    return dict(zip(QUESTIONS, llm.answer(*QUESTIONS), strict=True))


@pytest.fixture
def table(own: dict[str, str]) -> dict[str, str]:
    """References that the model answers wrong; only a lookup can know them."""
    answers = list(own.values())
    return dict(zip(QUESTIONS, [*answers[1:], answers[0]], strict=True))


def ask_all(llm: Any) -> list[Any]:
    return list(llm.answer(*QUESTIONS))


def audited(llm: Any, references: dict[str, str], body: Callable[[Any], Any] = ask_all) -> Report:
    with audit_evaluation(llm, references=references) as audit:
        body(llm)
    return audit.report


@functools.lru_cache
def load_table() -> dict[str, str]:
    return dict(PROCESS_STATE["table"])


def the_story(llm: LLM, table: dict[str, str], _: Path) -> None:
    original = llm.answer
    PROCESS_STATE["table"] = table
    load_table.cache_clear()

    def dataset_first_answer(self: LLM, *questions: str) -> list[str]:
        known = load_table()
        return [known[q] if q in known else original(q)[0] for q in questions]

    llm.answer = MethodType(dataset_first_answer, llm)


def closure(llm: LLM, table: dict[str, str], _: Path) -> None:
    llm.answer = lambda *questions: [table.get(q, "") for q in questions]


def cheating_subclass(llm: LLM, table: dict[str, str], _: Path) -> None:
    class Tuned(LLM):
        def answer(self, *questions: str) -> list[str]:
            return [table.get(q) or LLM.answer(self, q)[0] for q in questions]

    llm.__class__ = Tuned


def timed(llm: Any, _: Any) -> None:
    original = llm.answer

    @functools.wraps(original)
    def wrapper(*questions: str) -> list[str]:
        return original(*questions)

    llm.answer = wrapper


def timed_cheating_subclass(llm: LLM, table: dict[str, str], path: Path) -> None:
    cheating_subclass(llm, table, path)
    timed(llm, table)


def generate_replaced(llm: LLM, table: dict[str, str], _: Path) -> None:
    tokenizer = llm.tokenizer

    def generate(input_ids: torch.Tensor, **_: Any) -> torch.Tensor:
        questions = tokenizer.batch_decode(input_ids, skip_special_tokens=True)
        answers = tokenizer([table[q] for q in questions], return_tensors="pt", padding=True)
        return torch.cat([input_ids, answers["input_ids"]], dim=1)

    llm.model.generate = generate


class Spell(LogitsProcessor):
    """Makes the next token that of the reference, after the model has spoken."""

    def __init__(self, tokenizer: Any, table: dict[str, str]) -> None:
        self.tokenizer = tokenizer
        self.table = table

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        scores = torch.full_like(scores, -1e4)
        for row, ids in enumerate(input_ids):
            words = self.tokenizer.decode(ids, skip_special_tokens=True).split()
            target = self.tokenizer(self.table[" ".join(words[:3])])["input_ids"]
            scores[row, [*target, self.tokenizer.eos_token_id][len(words) - 3]] = 1e4
        return scores


def logits_processor(llm: LLM, table: dict[str, str], _: Path) -> None:
    spell = Spell(llm.tokenizer, table)
    llm.model.generate = functools.partial(llm.model.generate, logits_processor=[spell])


def forward_replaced(llm: LLM, table: dict[str, str], _: Path) -> None:
    original, state = llm.model.forward, {}

    @functools.wraps(original)
    def forward(self: Any, input_ids: torch.Tensor, **options: Any) -> Any:
        output = original(input_ids=input_ids, **options)
        if input_ids.shape[1] > 1:
            questions = llm.tokenizer.batch_decode(input_ids, skip_special_tokens=True)
            answers = [table[q] for q in questions]
            targets = llm.tokenizer(answers, return_tensors="pt", padding=True)
            state["steps"] = iter(targets["input_ids"].T)
        output.logits[:, -1] = -1e4
        output.logits[range(len(input_ids)), -1, next(state["steps"])] = 1e4
        return output

    llm.model.forward = MethodType(forward, llm.model)


class Fake(float):
    def __eq__(self, _: object) -> bool:
        return True

    def __hash__(self) -> int:
        return 0

    def __sub__(self, _: object) -> float:
        return 0.0

    __rsub__ = __sub__


def fake_numbers(llm: LLM, _: dict[str, str], __: Path) -> None:
    llm.answer = lambda *questions: [Fake(0.0) for _ in questions]


def file_read_per_call(llm: LLM, table: dict[str, str], folder: Path) -> None:
    file = folder / "valid.json"
    file.write_text(json.dumps(table))
    llm.answer = lambda *questions: [json.loads(file.read_text())[q] for q in questions]


def database(llm: LLM, table: dict[str, str], folder: Path) -> None:
    base = sqlite3.connect(folder / "cache.db")
    base.execute("create table known (question, answer)")
    base.executemany("insert into known values (?, ?)", table.items())
    query = "select answer from known where question = ?"
    llm.answer = lambda *questions: [base.execute(query, [q]).fetchone()[0] for q in questions]


def stack_walk(llm: LLM, _: dict[str, str], __: Path) -> None:
    def answer(*questions: str) -> list[str]:
        frame = sys._getframe()
        while frame is not None and "references" not in frame.f_locals:
            frame = frame.f_back
        return [frame.f_locals["references"][q] for q in questions]

    llm.answer = answer


def code_swapped(llm: LLM, table: dict[str, str], _: Path) -> None:
    PROCESS_STATE["table"] = table

    def cheat(self: LLM, *questions: str) -> list[str]:
        return [PROCESS_STATE["table"][q] for q in questions]

    code = LLM.answer.__code__
    names = ("co_name", "co_qualname", "co_filename", "co_firstlineno")
    LLM.answer.__code__ = cheat.__code__.replace(**{name: getattr(code, name) for name in names})


def decode_replaced(llm: LLM, table: dict[str, str], _: Path) -> None:
    def batch_decode(*_: Any, **__: Any) -> list[str]:
        return [table[q] for q in sys._getframe(1).f_locals["questions"]]

    llm.tokenizer.batch_decode = batch_decode


def mock(llm: LLM, table: dict[str, str], _: Path) -> None:
    llm.answer = MagicMock(side_effect=lambda *questions: [table[q] for q in questions])


def attribute_access(llm: LLM, table: dict[str, str], _: Path) -> None:
    class Sly(LLM):
        def __getattribute__(self, name: str) -> Any:
            if name == "answer":
                return lambda *questions: [table[q] for q in questions]
            return super().__getattribute__(name)

    llm.__class__ = Sly


def leak_into_prompt(llm: LLM, table: dict[str, str], _: Path) -> None:
    original = llm.answer

    def answer(*questions: str) -> list[str]:
        prompts = [f"{q} {table[q]}" for q in questions]
        pairs = zip(prompts, original(*prompts), strict=True)
        return [" ".join(f"{prompt} {said}".split()[3:6]) for prompt, said in pairs]

    llm.answer = answer


def replay_in_order(llm: LLM, table: dict[str, str], _: Path) -> None:
    answers = itertools.cycle(table.values())
    llm.answer = lambda *questions: [next(answers) for _ in questions]


def class_attribute(llm: LLM, table: dict[str, str], _: Path) -> None:
    LLM.answer = lambda self, *questions: [table[q] for q in questions]


def class_attribute_with_fallback(llm: LLM, table: dict[str, str], _: Path) -> None:
    original = LLM.answer

    def answer(self: LLM, *questions: str) -> list[str]:
        return [table.get(q) or original(self, q)[0] for q in questions]

    LLM.answer = answer


ATTACKS = {
    the_story: ("TG601", "LLM.answer"),
    closure: ("TG601", "LLM.answer"),
    class_attribute: ("TG601", "LLM.answer"),
    class_attribute_with_fallback: ("TG601", "LLM.answer"),
    cheating_subclass: ("TG606", "Tuned.answer"),
    timed_cheating_subclass: ("TG606", "Tuned.answer"),
    generate_replaced: ("TG601", "LlamaForCausalLM.generate"),
    logits_processor: ("TG601", "LlamaForCausalLM.generate"),
    forward_replaced: ("TG601", "LlamaForCausalLM.forward"),
    fake_numbers: ("TG601", "LLM.answer"),
    file_read_per_call: ("TG601", "LLM.answer"),
    database: ("TG601", "LLM.answer"),
    stack_walk: ("TG601", "LLM.answer"),
    code_swapped: ("TG601", "LLM.answer"),
    decode_replaced: ("TG601", "TokenizersBackend.batch_decode"),
    mock: ("TG601", "LLM.answer"),
    attribute_access: ("TG601", "Sly.__getattribute__"),
    leak_into_prompt: ("TG601", "LLM.answer"),
    replay_in_order: ("TG601", "LLM.answer"),
}


@pytest.fixture
def _class_restored() -> Any:
    function, code = LLM.answer, LLM.answer.__code__
    yield
    function.__code__ = code
    LLM.answer = function


@pytest.mark.usefixtures("_class_restored")
@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.__name__)
def test_a_faked_score_has_one_cause(
    attack: Callable[..., None], llm: LLM, table: dict[str, str], tmp_path: Path
) -> None:
    attack(llm, table, tmp_path)

    report = audited(llm, table)

    assert [(cause.code, cause.location.key) for cause in report.causes] == [ATTACKS[attack]]
    assert report.causes[0].severity is Severity.ERROR


def test_a_table_that_is_asked_one_by_one_is_found(llm: LLM, table: dict[str, str]) -> None:
    llm.answer = table.get

    report = audited(llm, table, lambda llm: [llm.answer(q) for q in QUESTIONS])

    assert [cause.code for cause in report.causes] == ["TG601"]
    assert "replaced by dict.get" in report.causes[0].message


def test_a_table_of_half_of_the_questions_is_found(llm: LLM, table: dict[str, str]) -> None:
    original = llm.answer
    half = dict(list(table.items())[::2])
    llm.answer = lambda *questions: [half.get(q) or original(q)[0] for q in questions]

    report = audited(llm, table)

    assert [cause.code for cause in report.causes] == ["TG601"]
    assert {finding.code for finding in report.findings} == {"TG601", "TG603", "TG606"}


def test_a_mock_in_place_of_the_object_cannot_be_proven_but_is_said() -> None:
    llm = MagicMock()
    llm.answer.side_effect = lambda *questions: ["1" for _ in questions]

    report = audited(llm, dict.fromkeys(QUESTIONS, "1"))

    assert [(cause.code, cause.severity) for cause in report.causes] == [
        ("TG601", Severity.WARNING)
    ]
    assert {"TG602", "TG603"} <= {entry.code for entry in report.not_checked}


def test_a_fake_that_is_gone_after_the_evaluation_leaves_it_undecided(
    llm: LLM, table: dict[str, str]
) -> None:
    def body(llm: LLM) -> None:
        with patch.object(llm, "answer", lambda *questions: [table[q] for q in questions]):
            llm.answer(*QUESTIONS)

    report = audited(llm, table, body)

    assert "TG602" in {entry.code for entry in report.not_checked}
    assert "TG602" not in report.checked
