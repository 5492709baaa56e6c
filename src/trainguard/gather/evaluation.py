"""One evaluation under audit: what it asked, what the model read, and the control afterwards."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from types import MethodType
from typing import Any

from trainguard.facts.evaluation import EvaluationFacts, MethodFacts, WitnessFacts
from trainguard.facts.evaluation_probes import (
    GraderFacts,
    ParserFacts,
    PathFacts,
    RepeatFacts,
    ReplayFacts,
    TableFacts,
)
from trainguard.facts.evaluation_score import BoundFacts, ClaimFacts, ScoreFacts
from trainguard.facts.evidence import Evidence
from trainguard.facts.failure import Failure
from trainguard.gather.evaluation_asking import Recorder, is_cached
from trainguard.gather.evaluation_control import CannotTell, Control, Options
from trainguard.gather.evaluation_grading import Grader, identity
from trainguard.gather.evaluation_models import (
    LanguageModel,
    Witness,
    attributes,
    find_engine,
    find_models,
    find_tokenizers,
    is_compiled,
    language_model,
)
from trainguard.gather.evaluation_overrides import METHODS, Override, allowance, find_overrides
from trainguard.gather.evaluation_probes import grader_facts, parser_facts
from trainguard.gather.evaluation_provenance import is_mock
from trainguard.gather.evaluation_score import Training, score_facts
from trainguard.gather.evaluation_state import preserved
from trainguard.gather.evaluation_tables import find_tables


class Observer:
    """Watches the object while the user evaluates it, and asks it again afterwards.

    No exception of its own leaves `start` and `finish`; each becomes a `Failure`.
    """

    def __init__(self, llm: Any, options: Options) -> None:
        self._llm = llm
        self._options = options
        self._recorder = Recorder(llm, options.method)
        self._watching = ExitStack()
        self._failures: list[Failure] = []
        self._overrides: list[Override] = []
        self._body: Witness | None = None
        self._cached = False
        self._unavailable = ""
        self._tried_facts: dict[type, Any] = {}
        self._absent: dict[type, str] = {}

    def start(self) -> None:
        """Look at the methods, then watch."""
        with self._shielded("the override audit"):
            self._note_overrides()
        with self._shielded("the witness of forward passes"):
            self._cached = is_cached(getattr(self._llm, self._options.method, None))
            witness = Witness(self._find_models(), discover=True)
            self._body = self._watching.enter_context(witness)
        with self._shielded("the recorder of questions"):
            self._watching.enter_context(self._recorder.recording())

    def finish(self, raised: BaseException | None = None) -> Evidence:
        """Stop watching, ask again if the evaluation ended well, and hand over the facts."""
        with self._shielded("removing the hooks"):
            self._watching.close()
        with self._shielded("the override audit"):
            self._note_overrides()
        if self._recorder.error is not None:
            self._note_failure("the recorder of questions", self._recorder.error)
        facts = EvaluationFacts(methods=self._methods(), witnesses=self._body_witness())
        if raised is not None:
            self._unavailable = f"the evaluation raised {type(raised).__name__}"
        else:
            facts = self._with_control(facts)
        facts = replace(
            facts,
            unavailable=self._unavailable,
            oracle=self._options.oracle,
            allowed=self._allowed_by_class(),
        )
        with preserved(()):  # the user's parser and comparison run here too
            with self._shielded("the probes of parser and comparison"):
                self._try_parts()
            with self._shielded("the score"):
                self._note_score()
        for kind in (ReplayFacts, RepeatFacts, PathFacts, BoundFacts):
            if kind not in self._tried_facts and self._unavailable:
                self._absent[kind] = self._unavailable
        return Evidence(
            subject=f"{type(self._llm).__name__}.{self._options.method}",
            kind="evaluation",
            facts={EvaluationFacts: facts, Failure: tuple(self._failures), **self._tried_facts},
            absent={k: why for k, why in self._absent.items() if k not in self._tried_facts},
        )

    def compared(self, claim: ClaimFacts, score: ScoreFacts | None) -> ClaimFacts:
        """The claim with what the recorded answers get, where both are about the same questions."""
        own = self._options.correct is None and self._options.score is None
        if own or score is None or not claim.count == score.rows == len(self._recorder.answers):
            return claim
        return replace(claim, recorded=score.accuracy)

    def _try_parts(self) -> None:
        """The parser and the comparison, which need no model."""
        parse = self._options.parse or getattr(self._llm, "parse_answer", None)
        if callable(parse) and not is_mock(self._llm):
            self._tried_facts[ParserFacts] = parser_facts(parse)
        if self._options.correct is not None:
            expected = [right for _, right in self._options.pairs]
            self._tried_facts[GraderFacts] = grader_facts(expected, self._options.correct)

    def _note_score(self) -> None:
        given = self._recorder.answers
        pairs = [pair for pair in self._options.pairs if identity(pair[0]) in given]
        if not pairs:
            self._absent[ScoreFacts] = "no question with a reference was asked through the method"
            return
        grader = Grader(pairs, self._options.correct, self._options.score)
        training = None if self._options.train is None else Training(self._options.train)
        answers = [given[identity(question)] for question, _ in pairs]
        self._tried_facts[ScoreFacts] = score_facts(grader, answers, training)

    def _with_control(self, facts: EvaluationFacts) -> EvaluationFacts:
        self._unavailable = "the control passes failed"
        try:
            with self._shielded("the control passes"):
                control = Control(self._llm, self._options, self._recorder, self._models())
                with control.running():
                    facts = self._ask_again(control, facts)
                self._unavailable = ""
        except CannotTell as reason:
            self._unavailable = str(reason)
        return facts

    def _ask_again(self, control: Control, facts: EvaluationFacts) -> EvaluationFacts:
        control.ask_plain()
        if self._body is not None and len(control.models) > len(self._body.models):
            facts = replace(facts, witnesses=())  # some of its models were not watched
        warm = self._model_answered(facts)  # in the body, so that a cache may answer now
        facts = replace(facts, witnesses=(*facts.witnesses, *control.witness(warm)))
        facts = replace(facts, control=control.ask_muted(self._model_answered(facts)))
        if facts.control is not None and facts.control.proves:
            facts = replace(facts, methods=self._methods(control))
        self._try_paths(control)
        return facts

    def _try_paths(self, control: Control) -> None:
        """What else the passes tell: the tokens, another path, tables, the model's own view."""
        unseen = ""
        with self._shielded("the replay of generated tokens"):
            found, unseen = control.replayed()
            self._keep(ReplayFacts, found, unseen)
        with self._shielded("the comparison with the first answers"):
            self._keep(RepeatFacts, control.repeated(), unseen)
        with self._shielded("the other path"):
            self._keep(PathFacts, control.other_path())
        with self._shielded("the search for tables of answers"):
            tables = find_tables(self._callables(), control.pairs, known=[self, self._options])
            self._tried_facts[TableFacts] = tuple(tables)
        with self._shielded("the model's own view of the references"):
            self._keep(BoundFacts, control.bounds())

    def _keep(self, kind: type, found: Any, unseen: str = "") -> None:
        if found is not None:
            self._tried_facts[kind] = found
        elif unseen:
            self._absent[kind] = unseen

    def _callables(self) -> Iterator[tuple[str, Any]]:
        """The methods on the way to an answer, under the names that messages give them."""
        for thing in self._things():
            for name in dict.fromkeys((self._options.method, *METHODS)):
                method = attributes(thing).get(name)
                if method is None:
                    declared = inspect.getattr_static(type(thing), name, None)
                    method = MethodType(declared, thing) if inspect.isfunction(declared) else None
                if callable(method):
                    yield f"{type(thing).__name__}.{name}", method

    def _things(self) -> list[Any]:
        """The object, its tokenizers, and its models with what they wrap."""
        levels = [level for model in self._models() for level in model.levels]
        return [self._llm, *find_tokenizers(self._llm), *levels]

    def _model_answered(self, facts: EvaluationFacts) -> bool:
        """Whether the model was seen to read enough for the answers that it may now repeat."""
        return any(self._had_its_turn(witness) for witness in facts.witnesses)

    def _had_its_turn(self, witness: WitnessFacts) -> bool:
        """Where the questions are unknown, the model must have read enough for all rows."""
        needed = witness.questions or self._options.rows
        return witness.positions is not None and witness.positions >= needed

    def _body_witness(self) -> tuple[WitnessFacts, ...]:
        if self._body is None or not self._body.models or self._answers_elsewhere():
            return ()
        answered = sum(self._recorder.answered.values())
        visible = not self._cached and not any(map(is_compiled, self._body.models))
        return (
            WitnessFacts(
                during="body",
                questions=answered,
                positions=self._body.positions if visible else None,
                generated=self._body.generated if visible else None,
            ),
        )

    def _methods(self, control: Control | None = None) -> tuple[MethodFacts, ...]:
        if control is None:
            return tuple(one.facts for one in self._overrides if not one.facts.installed)
        tried = (self._tried(control, override) for override in self._overrides)
        return tuple(one for one in tried if one.right_without is not None or not one.installed)

    def _tried(self, control: Control, override: Override) -> MethodFacts:
        """The replacement with what the answers are worth without it."""
        # What an installed package replaced may be needed to run at all: weights offloaded by
        # accelerate are not there without its `forward`. That says nothing against anybody.
        shield = (
            suppress(Exception)
            if override.facts.installed
            else self._shielded(f"the control without {override.facts.by}")
        )
        right = None
        with shield:
            right = control.right_without(override)
        return replace(override.facts, right_without=right)

    def _note_overrides(self) -> None:
        known = {(id(one.holder), one.facts.key, one.facts.by) for one in self._overrides}
        for found in find_overrides(self._things(), self._options.method):
            if (id(found.holder), found.facts.key, found.facts.by) not in known:
                reason = self._options.allowed.get(found.facts.key, found.facts.allowed)
                facts = replace(found.facts, allowed=reason)
                self._overrides.append(replace(found, facts=facts))

    def _allowed_by_class(self) -> str:
        """What the class of the object declares of a method that nobody has replaced."""
        replaced = {override.facts.key for override in self._overrides}
        for key, method in self._callables():
            reason = self._options.allowed.get(key, allowance(method))
            if reason and key not in replaced:
                return f"{key} declared: {reason}"
        return ""

    def _find_models(self) -> list[LanguageModel]:
        if self._options.model is None:
            return find_models(self._llm)
        model = language_model(self._options.model)
        return [model] if model else []

    def _models(self) -> list[LanguageModel]:
        """The models known by now: a lazy object has loaded its own in the meantime."""
        found = [*self._find_models(), *(self._body.models if self._body else [])]
        return list({id(model.head): model for model in found}.values())

    def _answers_elsewhere(self) -> bool:
        """Whether an engine on the object can have answered instead of an idle torch model."""
        idle = self._body is not None and not self._body.positions
        return idle and self._options.model is None and bool(find_engine(self._llm))

    @contextmanager
    def _shielded(self, what: str) -> Iterator[None]:
        try:
            yield
        except CannotTell:
            raise
        except Exception as error:
            self._note_failure(what, error)

    def _note_failure(self, what: str, error: Exception) -> None:
        line = " ".join(f"{type(error).__name__}: {error}".split())
        self._failures.append(Failure(what, line))
