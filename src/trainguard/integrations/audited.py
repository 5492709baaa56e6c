"""An evaluation audited from the command line: the project's own object, its own data."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

    from trainguard.findings import Report


class AuditError(Exception):
    """What was named cannot be imported, called or read; the message says which."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What to audit and how; see `trainguard audit --help`."""

    factory: str
    """`module:name` of a callable without arguments that returns the object, or of the object."""
    data: Path
    train: Path | None = None
    method: str = "answer"
    limit: int = 100
    """Questions of the evaluation, from the top of the file."""
    rows: int = 32
    batch: int = 0
    """Questions in one call of the method; 0 asks them all at once."""
    correct: str = ""
    parse: str = ""
    oracle: str = ""


def audit(plan: Plan) -> Report:
    """Import the project, ask its questions and judge the score.

    This runs the project's code, as its own benchmark does.

    Raises:
        AuditError: the object, a function or the data cannot be had.
    """
    from trainguard.integrations.evaluation import audit_evaluation

    pairs = _pairs(plan.data)
    with _project_first():
        llm = _named(plan.factory)
        if isinstance(llm, type) or not hasattr(llm, plan.method):
            llm = _made(llm, plan.factory)
        options: dict[str, Any] = {
            name: _named(spec)
            for name, spec in (("correct", plan.correct), ("parse", plan.parse))
            if spec
        }
    if plan.train is not None:
        options["train"] = _pairs(plan.train)
    if not callable(getattr(llm, plan.method, None)):
        raise AuditError(f"{plan.factory} has no method {plan.method!r}; name it with --method")
    asked = pairs[: plan.limit]
    with audit_evaluation(
        llm,
        references=asked,
        method=plan.method,
        rows=plan.rows,
        oracle=plan.oracle,
        **options,
    ) as audited:
        _ask(getattr(llm, plan.method), [question for question, _ in asked], plan.batch)
    return audited.report


def _ask(method: Callable[..., Any], questions: Sequence[Any], batch: int) -> None:
    size = batch or len(questions)
    for start in range(0, len(questions), size):
        method(*questions[start : start + size])


@contextmanager
def _project_first() -> Iterator[None]:
    """Modules of the working directory can be imported, as `python -m` has it."""
    sys.path.insert(0, str(Path.cwd()))
    try:
        yield
    finally:
        sys.path.remove(str(Path.cwd()))


def _named(spec: str) -> Any:
    module, colon, name = spec.partition(":")
    if not (module and colon and name):
        raise AuditError(f"{spec!r} is not of the form module:name")
    try:
        found: Any = importlib.import_module(module)
    except ImportError as error:
        raise AuditError(f"{module} cannot be imported: {error}") from error
    for part in name.split("."):
        if not hasattr(found, part):
            raise AuditError(f"{module} has no {name}")
        found = getattr(found, part)
    return found


def _made(factory: Any, spec: str) -> Any:
    if not callable(factory):
        raise AuditError(f"{spec} is neither an object to ask nor a callable that makes one")
    return factory()


def _pairs(path: Path) -> list[tuple[Any, Any]]:
    """Question and answer of each row that has both."""
    from trainguard.gather.data_rows import NoReaderError, read_rows
    from trainguard.gather.evaluation_grading import number

    try:
        rows = [row for row in read_rows(path) if row is not None and not row.is_empty]
    except (OSError, ValueError, NoReaderError) as error:
        raise AuditError(f"{path} cannot be read: {error}") from error
    usable = [(row.question, row.answer) for row in rows if row.answer is not None]
    if not usable:
        raise AuditError(f"{path} has no row with a question and an answer")
    values = [number(answer) for _, answer in usable]
    if None in values:
        return usable
    # What a comparison of the project expects where the file holds numbers.
    return [(question, value) for (question, _), value in zip(usable, values, strict=True)]
