"""Parsers and comparisons, tried on texts and answers whose worth is known."""

from __future__ import annotations

import itertools
import math
import random
import re
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from trainguard.facts.evaluation_probes import GraderFacts, ParserFacts
from trainguard.gather.evaluation_grading import Correct, identity, is_empty, number
from trainguard.gather.evaluation_provenance import home

#: Texts that state no answer: nothing, blanks, a refusal, unfinished and empty tags, symbols.
JUNK = (
    *("", "   \n", "I do not know.", "no", "???", "<answer></answer>", "<answer>", "%%% ~~ %%%"),
    *("lorem ipsum dolor sit amet", "the the the the the"),
)
#: What is no answer to anything, under the name that messages give it.
NO_ANSWERS: dict[str, Any] = {
    "None": None,
    "NaN": math.nan,
    "infinity": math.inf,
    "an empty text": "",
    '"I do not know."': "I do not know.",
}
#: Pairs of a question and another question's answer that a comparison is asked about.
MOST_PAIRS = 1000

_WORD = re.compile(r"\w+")

Parse = Callable[[str], Any]


def parser_facts(parse: Parse) -> ParserFacts:
    """What a parser makes of texts without an answer; one that raises has found none."""
    answers = [_parsed(parse, text) for text in JUNK]
    made_up = [
        answer
        for text, answer in zip(JUNK, answers, strict=True)
        if not is_empty(answer) and not _words(answer) <= _words(text)
    ]
    distinct = Counter(map(identity, made_up))
    name, path, line = home(parse)
    return ParserFacts(
        name=name,
        path=path,
        line=line,
        junk=len(JUNK),
        answered=len(made_up),
        constant=next(iter(distinct)) if len(distinct) == 1 else None,
    )


def _words(thing: Any) -> set[str]:
    return set(_WORD.findall(str(thing).casefold()))


def _parsed(parse: Parse, text: str) -> Any:
    try:
        answer = parse(text)
    except Exception:  # no answer was found, in its own way of saying so
        return None
    if isinstance(answer, list | tuple | dict | set):  # a collection of nothing is nothing
        return answer or None
    return answer


def grader_facts(expected: Sequence[Any], correct: Correct) -> GraderFacts:
    """What a comparison says to right answers, other questions' answers and no answers.

    Args:
        expected: the expected answers.
        correct: whether an answer is right; one that raises says no.
    """
    accepted = sum(_says(correct, one, one) for one in expected)
    pairs = _pairs(expected)
    numbers = [one for one in expected if (number(one) or 0) not in (0, math.inf, -math.inf)]
    name, path, line = home(correct)
    return GraderFacts(
        name=name,
        path=path,
        line=line,
        references=len(expected),
        accepted=accepted,
        pairs=len(pairs),
        wrong_accepted=sum(_says(correct, *pair) for pair in pairs),
        junk_accepted=tuple(
            said for said, answer in NO_ANSWERS.items() if _is_accepted(correct, answer, expected)
        ),
        scaled=len(numbers),
        scaled_accepted=sum(_is_blind_to_size(correct, one) for one in numbers),
    )


def _says(correct: Correct, answer: Any, expected: Any) -> bool:
    try:
        return bool(correct(answer, expected))
    except Exception:  # the user's comparison meets answers that it was not written for
        return False


def _pairs(expected: Sequence[Any]) -> list[tuple[Any, Any]]:
    """Distinct expected answers that stand for each other, in both roles."""
    distinct = list({identity(one): one for one in expected}.values())
    pairs = list(itertools.permutations(distinct[:MOST_PAIRS], 2))
    return random.Random(0).sample(pairs, min(MOST_PAIRS, len(pairs)))


def _is_accepted(correct: Correct, answer: Any, expected: Sequence[Any]) -> bool:
    """Whether it passes where it is not itself the expected answer."""
    return any(
        _says(correct, answer, one)
        for one in expected
        if not is_empty(one) and identity(one) != identity(answer)
    )


def _is_blind_to_size(correct: Correct, expected: Any) -> bool:
    value = number(expected)
    if value is None:
        return False
    kind = type(expected) if isinstance(expected, int | float) else float
    wrong = (10 * value, -value)
    changed = [str(one) if isinstance(expected, str) else kind(one) for one in wrong]
    return any(_says(correct, one, expected) for one in changed)
