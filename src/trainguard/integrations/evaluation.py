"""Is a benchmark's score the model's? An audit around the user's own evaluation."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from types import TracebackType
from typing import Any, Literal, Self, TypeVar

from trainguard.config import in_force
from trainguard.engine import judge
from trainguard.facts.evaluation import EvaluationFacts
from trainguard.facts.evaluation_score import ClaimFacts, ScoreFacts, wilson
from trainguard.facts.evidence import Evidence
from trainguard.findings import NotChecked, Report, Severity
from trainguard.gather.evaluation import Observer
from trainguard.gather.evaluation_control import FEWEST_ROWS, Options, distinct
from trainguard.gather.evaluation_overrides import ALLOWED
from trainguard.integrations.guard import TrainGuardError
from trainguard.report import text

FAMILY = "TG6"

_Method = TypeVar("_Method", bound=Callable[..., Any])

logger = logging.getLogger("trainguard")


def audit_evaluation(
    llm: Any,
    *,
    references: Iterable[tuple[Any, Any]] | Mapping[Any, Any],
    method: str = "answer",
    rows: int = 32,
    model: Any = None,
    ask: Callable[[Sequence[Any]], Sequence[Any]] | None = None,
    correct: Callable[[Any, Any], bool] | None = None,
    score: Callable[[Sequence[Any], Sequence[Any]], float] | None = None,
    parse: Callable[[str], Any] | None = None,
    also: Callable[[Sequence[Any]], Sequence[Any]] | None = None,
    prompt: Callable[[Any], str] | None = None,
    completion: Callable[[Any], str] | None = None,
    train: Iterable[tuple[Any, Any]] | Mapping[Any, Any] | None = None,
    oracle: bool | str = False,
    allowed: Mapping[str, str] | None = None,
    on_finding: Literal["warn", "raise"] = "warn",
) -> EvaluationAudit:
    """Watch an evaluation, then ask some of its questions again with the model muted.

        with audit_evaluation(llm, references=pairs) as audit:
            score = benchmark(llm, questions)
        print(audit.report.causes)

    The object is asked up to `rows` questions twice after the block: as it is, and while the
    output head of its model says "end of sequence" whatever the input. Random states, modes,
    generation configs and hooks are then as they were when the block ended; what the object's
    own methods note about being asked (a counter, a cache) is not undone. If the block raises,
    nothing is asked.

    Args:
        llm: any object that answers questions.
        references: pairs of a question and its expected answer, or a mapping.
        method: the method to ask, called with the questions as positional arguments, or as one
            list where the evaluation did so.
        rows: how many questions are asked again, at most.
        model: the torch module that answers; found on `llm` if left out.
        ask: asks a list of questions and returns a list of answers, instead of `method`.
        correct: whether an answer matches the expected one; called up to 2 * rows**2 times.
            By default numbers match within a millionth and texts but for case and outer blanks.
        score: share from 0 to 1 that a list of answers gets against the list of expected ones,
            for a metric that does not judge answers one by one; replaces `correct`.
        parse: turns a generated text into an answer; `llm.parse_answer` if left out. It is tried
            on texts that state no answer.
        also: another way to the same answers, from a list of questions to a list of answers; found
            if the class has `batched_generate` and `parse_answer`.
        prompt: the text that training put before the answer to a question. With `completion` it
            tells which rows the model gets right by itself.
        completion: the expected answer as training wrote it.
        train: the training rows, pairs of a question and its answer, to tell rows that training
            has seen from the others.
        oracle: declares that the object may know its references, as in the self-test of a
            harness; a text says why. The report then holds it instead of an error.
        allowed: replaced methods that are legitimate, such as `{"LLM.answer": "adds a
            calculator"}`; see `allow_override`.
        on_finding: "warn" logs warnings and errors, "raise" raises TrainGuardError on an error
            once the block has ended.

    Raises:
        TypeError: `llm` has no such method and `ask` is not given.
        ValueError: `rows` is below 4, or `on_finding` is another word.
    """
    if on_finding not in ("warn", "raise"):
        raise ValueError(f"on_finding is {on_finding!r}; use 'warn' or 'raise'")
    if rows < FEWEST_ROWS:
        raise ValueError(f"rows is {rows}; at least {FEWEST_ROWS} are needed")
    if ask is None and not callable(getattr(llm, method, None)):
        raise TypeError(
            f"{type(llm).__name__} has no method {method!r}; pass method=... or ask=..."
        )
    options = Options(
        pairs=distinct(references),
        method=method,
        rows=rows,
        model=model,
        ask=ask,
        correct=correct,
        score=score,
        parse=parse,
        also=also,
        prompt=prompt,
        completion=completion,
        train=None if train is None else distinct(train),
        oracle=("oracle=True" if oracle is True else oracle) or "",
        allowed=allowed or {},
    )
    return EvaluationAudit(Observer(llm, options), raises=on_finding == "raise")


def allow_override(reason: str) -> Callable[[_Method], _Method]:
    """Declare that a function which replaces a method on the way to an answer is legitimate.

        @allow_override("asks a calculator where the model writes a formula")
        def answer(self, *questions): ...

    The audit then reports the replacement and the reason as information. Without a reason there
    is a ValueError.
    """
    if not reason.strip():
        raise ValueError("allow_override needs the reason that the report will show")

    def declare(method: _Method) -> _Method:
        setattr(method, ALLOWED, reason)
        return method

    return declare


class EvaluationAudit:
    """An evaluation under audit, as `audit_evaluation` returns it: a context manager."""

    def __init__(self, observer: Observer, *, raises: bool) -> None:
        self.report = Report()
        """Empty until the block has ended."""
        self._observer = observer
        self._raises = raises
        self._claim: ClaimFacts | None = None
        self._evidence: Evidence | None = None

    def claim(
        self,
        score: Any = None,
        *,
        accuracy: float | None = None,
        count: int | None = None,
        answer_rate: float | None = None,
        exact_match: bool = False,
        mean_nll: float | None = None,
        token_accuracy: float | None = None,
        tokens: int | None = None,
        longest: int | None = None,
    ) -> None:
        """State the score that the benchmark reports, to be compared with the answers seen.

        Args:
            score: an object with `accuracy` and perhaps `answer_rate` and `count`, or a number.
            accuracy: share of right answers, from 0 to 1.
            count: questions that the score is about.
            answer_rate: share of questions with any answer.
            exact_match: whether a row counts as right only if the greedy answer is the reference,
                token by token; the loss then bounds the score.
            mean_nll: mean over rows of the reference's summed negative log-likelihood, in nats.
            token_accuracy: share of reference tokens that the model rates highest.
            tokens: tokens of all references together.
            longest: tokens of the longest reference.

        Raises:
            ValueError: there is no accuracy.
        """
        found = getattr(score, "accuracy", score) if accuracy is None else accuracy
        if not isinstance(found, int | float):
            raise ValueError("claim needs an accuracy, from 0 to 1")
        self._claim = ClaimFacts(
            accuracy=float(found),
            count=count if count is not None else getattr(score, "count", None),
            answer_rate=answer_rate
            if answer_rate is not None
            else getattr(score, "answer_rate", None),
            exact_match=exact_match,
            mean_nll=mean_nll,
            token_accuracy=token_accuracy,
            tokens=tokens,
            longest=longest,
        )
        if self._evidence is not None:
            self._judge()

    def __enter__(self) -> Self:
        self._observer.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._evidence = self._observer.finish(error)
        self._judge()
        self._announce(raising=error is None)

    def _judge(self) -> None:
        try:
            self.report = judge([self._whole()], in_force([FAMILY]).selected)
        except Exception as failure:  # a plugin that cannot be imported, for one
            reason = f"the checks could not be loaded: {type(failure).__name__}: {failure}"
            self.report = Report(not_checked=(NotChecked(reason),))

    def _whole(self) -> Evidence:
        """What was observed, with what was claimed, and the score in words."""
        evidence = self._evidence
        assert evidence is not None  # set before the first judgement
        facts = dict(evidence.facts)
        score = facts.get(ScoreFacts)
        if self._claim is not None:
            facts[ClaimFacts] = self._observer.compared(self._claim, score)
        notes = [*score_notes(score), *declared_notes(facts[EvaluationFacts])]
        return replace(evidence, facts=facts, notes=tuple(notes))

    def _announce(self, *, raising: bool) -> None:
        """A failure of trainguard's own (TG000) is logged and never raised."""
        grave = [one for one in self.report.findings if one.severity is not Severity.INFO]
        dishonest = any(
            one.severity is Severity.ERROR and one.code.startswith(FAMILY) for one in grave
        )
        if raising and dishonest and self._raises:
            raise TrainGuardError(self.report)
        if grave:
            logger.warning("\n%s", text.full(self.report))


def score_notes(score: ScoreFacts | None) -> Iterator[str]:
    """The score with its interval, and what it compares with."""
    if score is None:
        return
    low, high = wilson(score.right, score.rows)
    yield (
        f"accuracy {score.accuracy:.4g} ({score.right:.4g} of {score.rows} questions, 95 % "
        f"interval {low:.2f} to {high:.2f}), answer rate {score.answered / score.rows:.4g}; "
        f"{score.baseline[1]} gets {score.baseline[0] / score.rows:.4g}"
    )
    if score.seen is not None:
        unseen, right = score.rows - score.seen, round(score.right) - score.seen_right
        yield (
            f"rows that training has seen: {score.seen_right} of {score.seen} right; the others: "
            f"{right} of {unseen}"
        )


def declared_notes(evaluation: EvaluationFacts) -> Iterator[str]:
    """What the user declared about the object."""
    if evaluation.oracle:
        yield f"declared an oracle: {evaluation.oracle}"
