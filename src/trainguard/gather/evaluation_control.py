"""The questions of an evaluation asked again: plain, muted, and with a method put right."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from trainguard.facts.evaluation import ControlFacts, WitnessFacts
from trainguard.facts.evaluation_probes import PathFacts, RepeatFacts, ReplayFacts
from trainguard.facts.evaluation_score import BoundFacts
from trainguard.gather.evaluation_asking import Ask, Recorder, aligned, with_silence
from trainguard.gather.evaluation_bounds import greedy_rows
from trainguard.gather.evaluation_grading import (
    Correct,
    Grader,
    Score,
    identity,
    is_empty,
    same,
)
from trainguard.gather.evaluation_models import (
    LanguageModel,
    Mute,
    Witness,
    eager,
    end_of_sequence,
    find_engine,
    find_tokenizers,
)
from trainguard.gather.evaluation_overrides import Override
from trainguard.gather.evaluation_probes import Parse
from trainguard.gather.evaluation_provenance import home
from trainguard.gather.evaluation_replay import Replay
from trainguard.gather.evaluation_state import preserved

#: Fewer questions than this tell a lookup from luck too badly.
FEWEST_ROWS = 4
#: Rows that are asked by the other path, and how the usual one is called.
PATH_ROWS = 16
BATCHED = "parse_answer(batched_generate)"
NO_MODEL = "no torch module with embeddings was found on the object {name}; pass model=..."

Pair = tuple[Any, Any]


@dataclass(frozen=True, kw_only=True)
class Options:
    """How to ask and judge; see `audit_evaluation`."""

    pairs: Sequence[Pair]
    """Question and expected answer, each question once."""
    method: str = "answer"
    rows: int = 32
    model: Any = None
    ask: Ask | None = None
    correct: Correct | None = None
    score: Score | None = None
    parse: Parse | None = None
    also: Ask | None = None
    prompt: Callable[[Any], str] | None = None
    completion: Callable[[Any], str] | None = None
    train: Sequence[Pair] | None = None
    oracle: str = ""
    allowed: Mapping[str, str] = field(default_factory=dict)


def distinct(given: Iterable[Pair] | Mapping[Any, Any]) -> list[Pair]:
    """Pairs of question and answer, each question once; a later one wins."""
    pairs = given.items() if isinstance(given, Mapping) else given
    return list({identity(question): (question, right) for question, right in pairs}.values())


class CannotTell(Exception):  # noqa: N818 - no error: the reason why the control says nothing
    """The control cannot be run; the message is the reason."""


class Control:
    """The same questions again: with the models as they are, muted, and with methods put right."""

    def __init__(
        self, llm: Any, options: Options, recorder: Recorder, models: list[LanguageModel]
    ) -> None:
        self.models = models
        self._llm = llm
        self._explicit = options.model is not None
        self._recorder = recorder
        self._ask: Ask = options.ask or recorder.ask
        self._options = options
        self.pairs = _rows(options, recorder)
        self._grader = Grader(self.pairs, options.correct, options.score)
        self._plain: list[Any] = []
        self._plain_witness = Witness(())
        self._replay = Replay(())

    @contextmanager
    def running(self) -> Iterator[None]:
        """Everything that asking may change is put back afterwards."""
        with preserved(model.module for model in self.models), eager():
            yield

    def ask_plain(self) -> None:
        """Ask as the evaluation did, and meet the models that run.

        Raises:
            CannotTell: none does, or the answers come from another process.
        """
        questions = self._grader.questions
        with Witness(self.models, discover=True) as witness, Replay(self.models) as replay:
            self._plain = aligned(self._ask(questions), questions)
        self.models = witness.models
        self._plain_witness, self._replay = witness, replay
        if not self.models:
            raise CannotTell(NO_MODEL.format(name=type(self._llm).__name__))
        engine = "" if self._explicit or witness.positions else find_engine(self._llm)
        if engine:
            raise CannotTell(f"a {engine} on the object may answer outside this process")

    def witness(self, warm: bool) -> tuple[WitnessFacts, ...]:
        """What the plain pass needed; questions that a warm cache may answer do not count."""
        known = self._recorder.answered
        rows = zip(self._grader.questions, self._plain, strict=True)
        fresh = [
            question
            for question, answer in rows
            if not is_empty(answer) and not (warm and (not known or identity(question) in known))
        ]
        if not fresh:
            return ()
        seen = self._plain_witness
        return (
            WitnessFacts(
                during="control",
                questions=len(fresh),
                positions=seen.positions,
                generated=seen.generated,
            ),
        )

    def ask_muted(self, model_answered: bool) -> ControlFacts:
        """Ask with the models muted and compare."""
        with preserved(model.module for model in self.models), Witness(self.models) as witness:
            muted, calls = self._muted()
        facts = self._grader.control(self._plain, muted)
        repeats = 0
        if model_answered and not witness.positions:
            pairs = zip(self._plain, muted, strict=True)
            repeats = sum(identity(a) == identity(b) and not is_empty(a) for a, b in pairs)
        return replace(
            facts,
            muted_positions=witness.positions,
            head_calls=calls,
            repeated=repeats,
            silent_answer=self._silent_answer(muted),
        )

    def _silent_answer(self, muted: Sequence[Any]) -> str | None:
        """What stands for silence, if it is a number that was read out of a generated text.

        A text may show the end of the sequence itself, and the index of the likeliest choice is a
        number for which no text was generated.
        """
        said = {identity(answer) for answer in muted}
        is_number = isinstance(muted[0], int | float) and not is_empty(muted[0])
        made_up = len(said) == 1 and is_number and self._replay.heard
        return said.pop() if made_up else None

    def replayed(self) -> tuple[ReplayFacts | None, str]:
        """The tokens of the plain pass against what the head said, or why they say nothing."""
        return self._replay.facts(), self._replay.unseen

    def repeated(self) -> RepeatFacts | None:
        """The plain pass against the first answers; None without first answers or a decoding."""
        first = self._recorder.answers
        known = [row for row, pair in enumerate(self.pairs) if identity(pair[0]) in first]
        replayed = self._replay.facts()
        if replayed is None or not known or not self._grader.judges_rows:
            return None
        grader = Grader([self.pairs[row] for row in known], self._options.correct, None)
        before = [first[identity(question)] for question in grader.questions]
        again = [self._plain[row] for row in known]
        rights = list(zip(grader.rights(before), grader.rights(again), strict=True))
        return RepeatFacts(
            decoding=replayed.decoding,
            rows=len(known),
            differing=sum(not _alike(*pair) for pair in zip(before, again, strict=True)),
            body_only=sum(one and not two for one, two in rights),
            again_only=sum(two and not one for one, two in rights),
        )

    def other_path(self) -> PathFacts | None:
        """The same questions by another path; None if there is none, or rows are not judged."""
        path = self._options.also or batched_path(self._llm)
        if path is None or not self._grader.judges_rows:
            return None
        grader = Grader(self.pairs[:PATH_ROWS], self._options.correct, None)
        method = grader.rights(self._plain[:PATH_ROWS])
        other = grader.rights(aligned(path(grader.questions), grader.questions))
        rows = list(zip(method, other, strict=True))
        return PathFacts(
            path=home(path)[0] if self._options.also else BATCHED,
            rows=len(rows),
            method_only=sum(one and not two for one, two in rows),
            path_only=sum(two and not one for one, two in rows),
        )

    def bounds(self) -> BoundFacts | None:
        """Rows that the model gets right by itself; None without the form of the task."""
        prompt, completion = self._options.prompt, self._options.completion
        tokenizers = find_tokenizers(self._llm)
        if prompt is None or completion is None or not tokenizers or not self._grader.judges_rows:
            return None
        for model in self.models:
            model.module.eval()
        prompts = [prompt(question) for question in self._grader.questions]
        completions = [completion(expected) for expected in self._grader.expected]
        greedy = greedy_rows(self.models[0], tokenizers[0], prompts, completions)
        right = self._grader.rights(self._plain)
        replayed = self._replay.facts()
        return BoundFacts(
            rows=len(greedy),
            greedy=sum(greedy),
            greedy_right=sum(was and is_right for was, is_right in zip(greedy, right, strict=True)),
            decoding=replayed.decoding if replayed else None,
        )

    def right_without(self, override: Override) -> float | None:
        """Right answers, models muted, while the original method is back; None if unknown."""
        if not override.in_place:
            return None
        with override.taken_away():
            return self._grader.right(self._muted()[0])

    def _muted(self) -> tuple[list[Any], int]:
        eos = end_of_sequence(self.models, find_tokenizers(self._llm))
        with Mute(self.models, eos) as mute:
            return with_silence(self._ask, self._grader.questions), mute.calls


def _alike(one: Any, two: Any) -> bool:
    """Whether two answers are the same, no answer included."""
    return same(one, two) or (is_empty(one) and is_empty(two)) or identity(one) == identity(two)


def batched_path(llm: Any) -> Ask | None:
    """`batched_generate` and `parse_answer`, where the class of the object has both."""
    kind = type(llm)
    if not (hasattr(kind, "batched_generate") and hasattr(kind, "parse_answer")):
        return None

    def ask(questions: Sequence[Any]) -> list[Any]:
        prompts = [getattr(llm, "format_prompt", str)(question) for question in questions]
        return [llm.parse_answer(text) for text in llm.batched_generate(prompts)]

    return ask


def _rows(options: Options, recorder: Recorder) -> Sequence[Pair]:
    """Distinct questions, those that the evaluation asked if there are enough of them."""
    pairs = options.pairs
    asked = [pair for pair in pairs if identity(pair[0]) in recorder.answered]
    chosen = asked if len(asked) >= FEWEST_ROWS else pairs
    if len(chosen) < FEWEST_ROWS:
        raise CannotTell(
            f"{len(chosen)} distinct questions in references are too few; {FEWEST_ROWS} are needed"
        )
    # A generator of its own: the user's random state is not ours to use.
    return random.Random(0).sample(chosen, min(options.rows, len(chosen)))
