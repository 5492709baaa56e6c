"""Asking an object questions, and noting what others ask it."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import BuiltinMethodType, FunctionType, MethodType
from typing import Any

from trainguard.gather.evaluation_grading import identity, is_empty

Ask = Callable[[Sequence[Any]], Sequence[Any]]
LARGEST_RECORD = 100_000
_CACHE = type(functools.lru_cache(lambda: None))
_PLAIN = (MethodType, FunctionType, BuiltinMethodType, functools.partial)


class Recorder:
    """Notes the questions that a method is asked, how it is called, and which got an answer."""

    def __init__(self, llm: Any, method: str) -> None:
        self._llm = llm
        self._method = method
        self.answered: dict[str, bool] = {}
        """Question, and whether it ever got an answer that is not empty."""
        self.answers: dict[str, Any] = {}
        """Question, and its first answer; of the first `LARGEST_RECORD` questions."""
        self.largest = 0
        """Questions in the largest call."""
        self.error: Exception | None = None
        """The first thing that went wrong here; the user's call never notices."""
        self._in_a_list = False
        self._options: dict[str, Any] = {}

    @contextmanager
    def recording(self) -> Iterator[None]:
        """Stand in for the method on the instance.

        A callable object (a mock, a cache) has attributes that its user may want and is left
        alone, and so is an object that has no instance attributes.
        """
        original = getattr(self._llm, self._method, None)
        if not isinstance(original, _PLAIN):
            yield
            return
        try:
            held = object.__getattribute__(self._llm, "__dict__")
        except AttributeError:
            yield
            return
        had, before = self._method in held, held.get(self._method)
        stand_in = self._stand_in(original)
        held[self._method] = stand_in
        try:
            yield
        finally:
            if held.get(self._method) is stand_in:
                if had:
                    held[self._method] = before
                else:
                    del held[self._method]

    def _stand_in(self, original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def recorded(*args: Any, **kwargs: Any) -> Any:
            answers = original(*args, **kwargs)
            try:
                self._note(args, kwargs, answers)
            except Exception as error:
                self.error = self.error or error
            return answers

        return recorded

    def _note(self, args: tuple[Any, ...], kwargs: dict[str, Any], answers: Any) -> None:
        self._in_a_list = len(args) == 1 and isinstance(args[0], list | tuple)
        self._options = kwargs
        questions = list(args[0] if self._in_a_list else args)
        self.largest = max(self.largest, len(questions))
        given = as_list(answers)
        for index, question in enumerate(questions):
            good = len(given) == len(questions) and not is_empty(given[index])
            key = identity(question)
            self.answered[key] = self.answered.get(key, False) or good
            if len(given) == len(questions) and len(self.answers) < LARGEST_RECORD:
                self.answers.setdefault(key, given[index])

    def ask(self, questions: Sequence[Any]) -> list[Any]:
        """Ask the way the method was asked: as many at once, in a list or not, same options."""
        method = uncached(getattr(self._llm, self._method))
        answers: list[Any] = []
        for batch in batches(questions, self.largest or len(questions)):
            arguments = (list(batch),) if self._in_a_list else batch
            answers += aligned(method(*arguments, **self._options), batch)
        return answers


def batches(questions: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    """The questions in groups of at most `size`."""
    for start in range(0, len(questions), size):
        yield questions[start : start + size]


def as_list(answers: Any) -> list[Any]:
    """The answers of one call; nothing where they cannot be counted without using them up."""
    if answers is None or isinstance(answers, str | int | float):
        return [answers]
    if isinstance(answers, list | tuple) or hasattr(answers, "__len__"):
        return list(answers)
    return []


def aligned(answers: Any, questions: Sequence[Any]) -> list[Any]:
    """One answer for each question.

    Raises:
        ValueError: there are more or fewer.
    """
    given = as_list(answers)
    if len(given) != len(questions):
        raise ValueError(f"{len(given)} answers were given to {len(questions)} questions")
    return given


def with_silence(ask: Ask, questions: Sequence[Any]) -> list[Any]:
    """Ask a pipeline whose model is muted; one that raises then gives no answer, NaN."""
    try:
        return aligned(ask(questions), questions)
    except Exception:
        if len(questions) == 1:
            return [math.nan]
    return [answer for question in questions for answer in with_silence(ask, [question])]


def is_cached(method: Any) -> bool:
    """Whether functools answers repeated calls from memory."""
    return isinstance(getattr(method, "__func__", method), _CACHE)


def uncached(method: Any) -> Any:
    """The method behind functools' caches, so that it answers again."""
    while is_cached(method):
        if isinstance(method, MethodType):
            cache: Any = method.__func__
            method = MethodType(cache.__wrapped__, method.__self__)
        else:
            method = method.__wrapped__
    return method
