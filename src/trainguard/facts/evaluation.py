"""What was observed while an evaluation ran, and when its questions were asked again.

The control asks some questions a second time with the model *muted*: the output head then says
"end of sequence" at every position, whatever the input. Answers that come from the model are
now all the same; an answer that is still right came from somewhere else.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from trainguard.facts.evaluation_score import binomial_tail

#: A proof by luck, and the least luck that one answer may need.
CHANCE = 1e-5
CHANCE_OF_ONE = 0.05
#: A guesser of yes-or-no questions gives eight right answers in a row once in 256 tries.
FEW = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class MethodFacts:
    """A method on the way to an answer that project code stands in for."""

    key: str
    """Class and method, such as `LLM.answer`."""
    kind: str
    """Where it was put: "instance", "class", "code" (swapped in place) or "access"
    (`__getattribute__`)."""
    by: str
    """Qualified name of the code that stands there now."""
    path: str | None = None
    """File of that code, relative to the working directory where it lies below it."""
    line: int | None = None
    """Its first line, from 1."""
    mock: bool = False
    """Whether it is an object of `unittest.mock`."""
    installed: bool = False
    """Whether all of its code belongs to installed packages, which replace methods for good
    reasons."""
    reaches_original: bool = False
    """Whether the method that the class defines can be reached from it."""
    allowed: str = ""
    """Why its author declared it legitimate (`allow_override`); empty if nobody did."""
    right_without: float | None = None
    """Right answers of the control, model muted, while the original method stood in its place
    again; None if that could not be tried."""

    @property
    def place(self) -> str:
        """`by`, with the file and line where they are known."""
        return f"{self.by} ({self.path}:{self.line})" if self.path else self.by


@dataclass(frozen=True, slots=True, kw_only=True)
class WitnessFacts:
    """How much of the model was used while questions were answered."""

    during: str
    """ "body" (the user's evaluation) or "control" (the same questions asked again)."""
    questions: int
    """Distinct questions that got an answer; NaN, None and an empty text are none."""
    positions: int | None
    """Token positions that went through the model's input embeddings; None if the hook cannot
    see them (compiled model, cached method)."""
    generated: int | None = None
    """Positions for which the output head named a next token; None where it was not seen."""

    @property
    def missing(self) -> int:
        """Answers that cannot have come from the model: each needs one position and one token."""
        seen = [count for count in (self.positions, self.generated) if count is not None]
        return max(0, self.questions - min(seen, default=self.questions))


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlFacts:
    """The same questions asked with the model and with the model muted.

    Counts of right answers are whole numbers, or the metric times the rows where the user gave
    a metric of their own.
    """

    rows: int
    """Distinct questions that were asked."""
    best_constant: float
    """Right answers of the best answer that is the same for every question."""
    muted_right: float
    """Right answers with the model muted."""
    muted_distinct: int
    """Distinct answers with the model muted; 1 where every answer comes from the model."""
    plain_right: float | None = None
    """Right answers with the model as it is."""
    muted_echoed: int = 0
    """Right answers, model muted, that stand in their own question."""
    muted_varied: int = 0
    """Answers, model muted, other than the most frequent one."""
    varied_right: int = 0
    """How many of these are right."""
    varied_constant: int = 0
    """How many of these rows the best constant answer gets right."""
    muted_positions: int | None = None
    """Token positions embedded while the model was muted."""
    head_calls: int | None = None
    """Calls of the output head while it was muted."""
    repeated: int = 0
    """Answers, model muted, that embedded nothing and repeat what the model was seen to answer
    before: a response cache."""
    silent_answer: str | None = None
    """The answer to every question, model muted, if it is one and the same, a number, and read
    out of a generated text; None otherwise."""

    @property
    def undecided(self) -> str:
        """Why the control can prove nothing; empty if it can."""
        if self.best_constant >= self.rows:
            return "one constant answer is right everywhere, so muting the model changes nothing"
        if self.head_calls == 0 and self.muted_positions:
            return "the output head was bypassed (a fused loss head?), so nothing was muted"
        if self.repeated:
            return (
                f"{self.repeated} of {self.rows} answers were repeated without the model after it "
                "had been asked: empty the response cache before the audit"
            )
        return ""

    @property
    def proves(self) -> bool:
        """Whether answers were right that the model cannot have given."""
        return not self.undecided and (self.beyond(self.muted_right) or self._part_is_known)

    def beyond(self, right: float) -> bool:
        """Whether more answers are right than an answer that ignores the question can get."""
        return right > self.best_constant

    @property
    def _part_is_known(self) -> bool:
        """Whether the answers that differ from the usual one are right beyond chance.

        All right, and many: then a guesser of two answers is ruled out. Or more of them right
        than the best constant answer's share makes likely.
        """
        if self.varied_right == self.muted_varied >= max(FEW, self.varied_constant + 1):
            return True
        chance = max(self.best_constant / self.rows, CHANCE_OF_ONE)
        return binomial_tail(self.varied_right, self.muted_varied, min(1.0, chance)) < CHANCE

    @property
    def may_echo(self) -> bool:
        """Whether the right answers may be numbers or words read off the questions themselves."""
        own = self.muted_right - self.muted_echoed
        return not self.beyond(own) and 2 * self.muted_right < self.rows


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationFacts:
    """One evaluation under audit."""

    WANTED: ClassVar[str] = "an evaluation run under audit_evaluation"

    methods: tuple[MethodFacts, ...] = ()
    """Project code that stands in for a method on the way to an answer."""
    witnesses: tuple[WitnessFacts, ...] = ()
    """The body, then the plain pass of the control."""
    control: ControlFacts | None = None
    unavailable: str = ""
    """Why there is no control, or no witness."""
    oracle: str = ""
    """Why the object may know its references, as its user declared; empty if nobody did."""
    allowed: str = ""
    """The method that its class declares legitimate, with the reason; empty if none is."""

    @property
    def short(self) -> WitnessFacts | None:
        """The first witness that saw fewer positions than there were questions answered."""
        return next((witness for witness in self.witnesses if witness.missing), None)

    @property
    def declared(self) -> str:
        """What the user declared that explains answers without the model; empty if nothing.

        What a class declares of its own method explains nothing where a replacement decides.
        """
        if self.oracle:
            return f"declared an oracle: {self.oracle}"
        deciding = [method for method in self.methods if self.decides(method)]
        if not deciding:
            return self.allowed
        return "; ".join(f"{one.key} declared: {one.allowed}" for one in deciding if one.allowed)

    def decides(self, method: MethodFacts) -> bool:
        """Whether the answers depend on the model again once this method is put right."""
        if method.right_without is None or self.control is None:
            return not (method.reaches_original or method.installed)
        return not self.control.beyond(method.right_without)

    @property
    def honest(self) -> bool:
        """Whether the control could decide and found that every answer needs the model."""
        return self.control is not None and not (self.control.undecided or self.control.proves)
