"""The questions of an evaluation asked again: plain, muted, and with a method put right."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from trainguard.facts.evaluation import ControlFacts, WitnessFacts
from trainguard.gather.evaluation_asking import Ask, Recorder, aligned, with_silence
from trainguard.gather.evaluation_grading import Correct, Grader, Score, identity, is_empty
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
from trainguard.gather.evaluation_state import preserved

#: Fewer questions than this tell a lookup from luck too badly.
FEWEST_ROWS = 4
NO_MODEL = "no torch module with embeddings was found on the object {name}; pass model=..."


@dataclass(frozen=True, kw_only=True)
class Options:
    """How to ask and judge; see `audit_evaluation`."""

    references: Iterable[tuple[Any, Any]] | Mapping[Any, Any]
    method: str = "answer"
    rows: int = 32
    model: Any = None
    ask: Ask | None = None
    correct: Correct | None = None
    score: Score | None = None


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
        pairs = _rows(options, recorder)
        self._grader = Grader(pairs, options.correct, options.score)
        self._plain: list[Any] = []
        self._plain_positions = 0

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
        with Witness(self.models, discover=True) as witness:
            self._plain = aligned(self._ask(questions), questions)
        self.models = witness.models
        self._plain_positions = witness.positions
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
        positions = self._plain_positions
        return (WitnessFacts(during="control", questions=len(fresh), positions=positions),)

    def ask_muted(self, model_answered: bool) -> ControlFacts:
        """Ask with the models muted and compare."""
        with preserved(model.module for model in self.models), Witness(self.models) as witness:
            muted, calls = self._muted()
        facts = self._grader.control(self._plain, muted)
        repeats = 0
        if model_answered and not witness.positions:
            pairs = zip(self._plain, muted, strict=True)
            repeats = sum(identity(a) == identity(b) and not is_empty(a) for a, b in pairs)
        return replace(facts, muted_positions=witness.positions, head_calls=calls, repeated=repeats)

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


def _rows(options: Options, recorder: Recorder) -> Sequence[tuple[Any, Any]]:
    """Distinct questions, those that the evaluation asked if there are enough of them."""
    given = options.references
    pairs = list(given.items() if isinstance(given, Mapping) else given)
    distinct = list({identity(question): (question, right) for question, right in pairs}.values())
    asked = [pair for pair in distinct if identity(pair[0]) in recorder.answered]
    chosen = asked if len(asked) >= FEWEST_ROWS else distinct
    if len(chosen) < FEWEST_ROWS:
        raise CannotTell(
            f"{len(chosen)} distinct questions in references are too few; {FEWEST_ROWS} are needed"
        )
    # A generator of its own: the user's random state is not ours to use.
    return random.Random(0).sample(chosen, min(options.rows, len(chosen)))
