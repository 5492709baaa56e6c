"""Is a benchmark's score the model's? An audit around the user's own evaluation."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import TracebackType
from typing import Any, Literal, Self

from trainguard.engine import judge
from trainguard.findings import NotChecked, Report, Severity
from trainguard.gather.evaluation import Observer
from trainguard.gather.evaluation_control import FEWEST_ROWS, Options
from trainguard.integrations.guard import TrainGuardError
from trainguard.registry import select
from trainguard.report import text

FAMILY = "TG6"

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
        references=references,
        method=method,
        rows=rows,
        model=model,
        ask=ask,
        correct=correct,
        score=score,
    )
    return EvaluationAudit(Observer(llm, options), raises=on_finding == "raise")


class EvaluationAudit:
    """An evaluation under audit, as `audit_evaluation` returns it: a context manager."""

    def __init__(self, observer: Observer, *, raises: bool) -> None:
        self.report = Report()
        """Empty until the block has ended."""
        self._observer = observer
        self._raises = raises

    def __enter__(self) -> Self:
        self._observer.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        evidence = self._observer.finish(error)
        try:
            self.report = judge([evidence], select([FAMILY]))
        except Exception as failure:  # a plugin that cannot be imported, for one
            reason = f"the checks could not be loaded: {type(failure).__name__}: {failure}"
            self.report = Report(not_checked=(NotChecked(reason),))
        self._announce(raising=error is None)

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
