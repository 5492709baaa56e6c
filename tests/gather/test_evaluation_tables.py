"""Tables of expected answers behind a method: found through whatever leads there."""

from __future__ import annotations

import functools
from collections import namedtuple
from dataclasses import dataclass
from functools import partial
from types import MethodType, SimpleNamespace
from typing import Any

import pytest

from trainguard.gather.evaluation_tables import find_tables

PAIRS = [(f"how many gram are {i} kg", float(1000 * i)) for i in range(1, 33)]
TABLE = dict(PAIRS)
Row = namedtuple("Row", "question answer")


@dataclass
class Record:
    question: str
    answer: float


@functools.lru_cache
def load() -> dict[str, float]:
    return dict(PAIRS)


@functools.lru_cache(maxsize=4)
def load_bounded(path: str) -> list[Record]:
    return [Record(*pair) for pair in PAIRS]


class Retriever:
    def __init__(self, rows: Any) -> None:
        self.rows = rows

    def find(self, question: str) -> Any:
        return next(row for row in self.rows if question in row)


class LLM:
    memory: Any = None

    def answer(self, question: str) -> Any:
        return self.think(question)

    def think(self, question: str) -> Any:
        return self.memory

    def evaluate(self) -> Any:
        return self.held_out


def in_global(llm: LLM) -> Any:
    return lambda question: TABLE[question]


def in_closure(llm: LLM) -> Any:
    table = dict(PAIRS)
    return lambda question: table.get(question)


def in_default(llm: LLM) -> Any:
    def answer(question: str, table: dict[str, float] = dict(PAIRS)) -> Any:  # noqa: B006
        return table[question]

    return answer


def in_cache(llm: LLM) -> Any:
    load()
    return lambda question: load()[question]


def in_bounded_cache(llm: LLM) -> Any:
    load_bounded("valid.json")
    return lambda question: load_bounded("valid.json")


def in_partial(llm: LLM) -> Any:
    return partial(lambda table, question: table[question], dict(PAIRS))


def in_object(llm: LLM) -> Any:
    retriever = Retriever([list(pair) for pair in PAIRS])
    return lambda question: retriever.find(question)


def in_attribute_used_two_calls_down(llm: LLM) -> Any:
    llm.memory = [{"question": question, "answer": str(answer)} for question, answer in PAIRS]
    return llm.answer


def in_named_tuples(llm: LLM) -> Any:
    rows = tuple(Row(*pair) for pair in PAIRS)
    return MethodType(lambda self, question: rows, llm)


HIDDEN = [
    *(in_global, in_closure, in_default, in_cache, in_bounded_cache, in_partial, in_object),
    *(in_attribute_used_two_calls_down, in_named_tuples),
]


@pytest.mark.parametrize("hide", HIDDEN, ids=lambda hide: hide.__name__)
def test_a_table_in_reach_is_found(hide: Any) -> None:
    found = find_tables([("LLM.answer", hide(LLM()))], PAIRS)

    assert [(table.known, table.size, table.rows) for table in found] == [(32, 32, 32)]
    assert found[0].place


def nothing(llm: LLM) -> Any:
    return llm.answer


def held_but_not_named_by_the_code(llm: LLM) -> Any:
    llm.held_out = dict(PAIRS)
    return llm.answer


def few_shot_examples(llm: LLM) -> Any:
    shots = PAIRS[:4]
    return lambda question: f"{shots} {question}"


def other_questions(llm: LLM) -> Any:
    train = {f"how many mg are {i} gram": float(1000 * i) for i in range(1, 33)}
    return lambda question: train.get(question)


def questions_alone(llm: LLM) -> Any:
    asked = [question for question, _ in PAIRS]
    return lambda question: asked.index(question)


def wrong_answers(llm: LLM) -> Any:
    memory = {question: answer + 1 for question, answer in PAIRS}
    return lambda question: memory.get(question)


def loops(llm: LLM) -> Any:
    ring: list[Any] = []
    ring.append(ring)
    space = SimpleNamespace(ring=ring)
    space.space = space
    return lambda question: (ring, space)


INNOCENT = [
    *(nothing, held_but_not_named_by_the_code, few_shot_examples, other_questions),
    *(questions_alone, wrong_answers, loops),
]


@pytest.mark.parametrize("hold", INNOCENT, ids=lambda hold: hold.__name__)
def test_other_data_is_no_table_of_answers(hold: Any) -> None:
    assert find_tables([("LLM.answer", hold(LLM()))], PAIRS) == []


def test_looking_runs_no_code_of_what_it_meets() -> None:
    class Trap(dict[str, float]):
        def _sprung(self, *_: Any) -> Any:
            raise AssertionError("the user's code ran")

        __getitem__ = __iter__ = __contains__ = __len__ = get = items = values = _sprung  # type: ignore[assignment]

    class Sly:
        def __getattr__(self, name: str) -> Any:
            raise AssertionError("the user's code ran")

    trap, sly = Trap(PAIRS), Sly()

    found = find_tables([("LLM.answer", lambda question: (trap, sly))], PAIRS)

    assert [table.known for table in found] == [32]


def test_a_large_table_is_searched_by_key() -> None:
    table = {**dict(PAIRS), **{f"row {i}": float(i) for i in range(200_000)}}

    found = find_tables([("LLM.answer", lambda question: table)], PAIRS)

    assert [(one.known, one.size) for one in found] == [(32, 200_032)]
