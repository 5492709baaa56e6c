"""The audit of honest evaluations: silent, and gone without a trace."""

from __future__ import annotations

import functools
import logging
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from copy import deepcopy
from types import FunctionType
from typing import Any

import accelerate
import numpy as np
import pytest
import torch
from accelerate.hooks import ModelHook, add_hook_to_module
from accelerate.state import AcceleratorState
from peft import PeftModel
from peft.helpers import update_generate_signature

from trainguard import TrainGuardError, audit_evaluation
from trainguard.findings import Report, Severity

import tiny

QUESTIONS = [f"{4 + i} {4 + (7 * i) % 60} {4 + (11 * i + 3) % 60}" for i in range(40)]


class LLM:
    """Continues a text of token ids; random weights, so the answers are worthless but its own."""

    def __init__(self, model: Any) -> None:
        self.model = model

    def answer(self, *questions: str) -> list[str]:
        ids = torch.tensor([[int(word) for word in question.split()] for question in questions])
        sequences = self.model.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=3,
            do_sample=False,
        )
        return [" ".join(map(str, row)) for row in sequences[:, ids.shape[1] :].tolist()]


@pytest.fixture
def llm() -> LLM:
    model = tiny.model().eval()
    with torch.no_grad():  # sharp weights make the greedy answers differ
        for weight in model.parameters():
            weight.mul_(8 if weight.ndim > 1 else 1)
    return LLM(model)


@pytest.fixture(autouse=True)
def _peft_signature_is_fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    """PEFT deep-copies the function, which copies nothing: it rewrites the class's method."""
    old = vars(PeftModel)["generate"]
    new = FunctionType(
        old.__code__, old.__globals__, old.__name__, old.__defaults__, old.__closure__
    )
    monkeypatch.setattr(PeftModel, "generate", new)


@pytest.fixture(autouse=True)
def _accelerate_is_fresh() -> Iterator[None]:
    """Its state is one per process, and another precision is refused once it is set."""
    AcceleratorState._reset_state(reset_partial_state=True)
    yield
    AcceleratorState._reset_state(reset_partial_state=True)


def own_answers(llm: LLM) -> dict[str, str]:
    """References that the model answers right, every one."""
    return dict(zip(QUESTIONS, llm.answer(*QUESTIONS), strict=True))


def ask_all(llm: Any) -> list[str]:
    return llm.answer(*QUESTIONS)


def audited(
    llm: Any, references: Any, body: Callable[[Any], Any] = ask_all, **options: Any
) -> Report:
    with audit_evaluation(llm, references=references, **options) as audit:
        body(llm)
    return audit.report


def undecided(report: Report) -> dict[str, str]:
    return {entry.code: entry.reason for entry in report.not_checked}


# Honest changes: what frameworks and users do to an object without faking anything.


def nothing(llm: LLM) -> LLM:
    return llm


def lora(llm: LLM) -> LLM:
    llm.model = tiny.lora(llm.model).eval()
    update_generate_signature(llm.model)
    return llm


def prepared(llm: LLM) -> LLM:
    llm.model = accelerate.Accelerator(cpu=True, mixed_precision="bf16").prepare(llm.model)
    return llm


def offloaded(llm: LLM) -> LLM:
    accelerate.cpu_offload(llm.model, execution_device=torch.device("cpu"))
    return llm


def hooked(llm: LLM) -> LLM:
    for module in llm.model.modules():
        add_hook_to_module(module, ModelHook())
    return llm


def checkpointed(llm: LLM) -> LLM:
    llm.model.gradient_checkpointing_enable()
    return llm


def timed(llm: LLM) -> LLM:
    original = llm.answer

    @functools.wraps(original)
    def wrapper(*questions: str) -> list[str]:
        return original(*questions)

    llm.answer = wrapper
    return llm


def cached(llm: LLM) -> LLM:
    llm.answer = functools.lru_cache(llm.answer)
    return llm


def warm(llm: LLM) -> LLM:
    cached(llm).answer(*QUESTIONS)
    return llm


def options_bound(llm: LLM) -> LLM:
    llm.model.generate = functools.partial(llm.model.generate, use_cache=False)
    return llm


def kept_under_another_name(llm: LLM) -> LLM:
    llm.plain_answer = llm.answer

    def answer(*questions: str) -> list[str]:
        return llm.plain_answer(*questions)

    llm.answer = answer
    return llm


def in_a_module(llm: LLM) -> Any:
    class Pipeline(torch.nn.Module):
        answer = LLM.answer

        def __init__(self, model: Any) -> None:
            super().__init__()
            self.model = model

    return Pipeline(llm.model)


def hidden_in_a_closure(llm: LLM) -> Any:
    class Client:
        def answer(self, *questions: str) -> list[str]:
            return llm.answer(*questions)

    return Client()


def loaded_late(llm: LLM) -> Any:
    class Lazy(LLM):
        def answer(self, *questions: str) -> list[str]:
            self.model = self.model or llm.model
            return super().answer(*questions)

    return Lazy(None)


def raising_on_silence(llm: LLM) -> Any:
    class Strict(LLM):
        def answer(self, *questions: str) -> list[str]:
            answers = super().answer(*questions)
            if str(self.model.config.eos_token_id) in answers:
                raise ValueError("a question has no answer")
            return answers

    return Strict(llm.model)


def beside_an_idle_model(llm: LLM) -> Any:
    class Decoy:
        model = None

        def answer(self, *questions: str) -> list[str]:
            return llm.answer(*questions)

    decoy = Decoy()
    decoy.model = tiny.model(seed=1)
    return decoy


def without_attributes(llm: LLM) -> Any:
    class Slotted(LLM):
        __slots__ = ()

    class Bare:
        __slots__ = ("model",)
        answer = LLM.answer

    bare = Bare()
    bare.model = Slotted(llm.model).model
    return bare


HONEST = [
    *(nothing, lora, prepared, offloaded, hooked, checkpointed, timed, cached, warm, options_bound),
    *(kept_under_another_name, in_a_module, hidden_in_a_closure, loaded_late, without_attributes),
    *(raising_on_silence, beside_an_idle_model),
]


@pytest.mark.parametrize("change", HONEST, ids=lambda change: change.__name__)
def test_an_honest_pipeline_has_no_finding(change: Callable[[LLM], Any], llm: LLM) -> None:
    changed = change(llm)
    references = dict(zip(QUESTIONS, deepcopy(llm).answer(*QUESTIONS), strict=True))

    report = audited(changed, references)

    assert [finding.message for finding in report.findings] == []
    assert {"TG601", "TG602", "TG603"} <= set(report.checked), report.not_checked


@pytest.fixture
def _nothing_compiled() -> Iterator[None]:
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def compiled_call(model: Any) -> None:
    model.compile(backend="eager", fullgraph=True)


def compiled_forward(model: Any) -> None:
    model.forward = torch.compile(model.forward, backend="eager")


@pytest.mark.usefixtures("_nothing_compiled")
@pytest.mark.parametrize("compiled", [compiled_call, compiled_forward])
def test_a_compiled_model_has_no_finding(compiled: Callable[[Any], None], llm: LLM) -> None:
    references = own_answers(llm)
    compiled(llm.model)
    llm.answer(*QUESTIONS)

    # As many rows as questions: another shape would be compiled anew, hooks included.
    report = audited(llm, references, rows=len(QUESTIONS))

    assert [finding.message for finding in report.findings] == []
    assert {"TG602", "TG603"} <= set(report.checked)


@pytest.mark.usefixtures("_nothing_compiled")
def test_a_full_graph_that_is_compiled_under_audit_does_not_break(llm: LLM) -> None:
    references = own_answers(llm)
    compiled_call(llm.model)

    assert not audited(hidden_in_a_closure(llm), references).findings


def test_an_engine_beside_an_idle_model_is_not_judged(llm: LLM) -> None:
    references = own_answers(llm)

    class Remote:
        def __init__(self) -> None:
            self.model = llm.model
            self.engine = type("LLM", (), {"__module__": "vllm.entrypoints.llm"})()

        def answer(self, *questions: str) -> list[str]:
            return [references[question] for question in questions]

    report = audited(Remote(), references)

    assert not report.findings
    assert all("vllm" in undecided(report)[code] for code in ("TG602", "TG603"))


@pytest.mark.parametrize("fails", ["body", "control"])
def test_an_idle_model_is_no_evidence_where_the_audit_is_cut_short(llm: LLM, fails: str) -> None:
    def broken(_: Any) -> Any:
        raise OSError("gone")

    decoy, references = beside_an_idle_model(llm), own_answers(llm)
    options = {"ask": broken} if fails == "control" else {}
    audit = audit_evaluation(decoy, references=references, **options)
    with suppress(KeyError), audit:
        ask_all(decoy)
        if fails == "body":
            raise KeyError

    assert "TG602" not in {finding.code for finding in audit.report.findings}


def test_a_model_loaded_under_audit_is_watched_from_its_first_answer(llm: LLM) -> None:
    class Lazy(LLM):
        memory: dict[str, str] = {}  # noqa: RUF012

        def answer(self, *questions: str) -> list[str]:
            self.model = self.model or llm.model
            for question in questions:
                if question not in self.memory:
                    self.memory[question] = super().answer(question)[0]
            return [self.memory[question] for question in questions]

    report = audited(Lazy(None), own_answers(llm))

    assert not report.findings
    assert "response cache" in undecided(report)["TG603"]


def test_a_sampling_pipeline_has_no_finding(llm: LLM) -> None:
    references = own_answers(llm)
    llm.model.generation_config.do_sample = True
    llm.model.generation_config.temperature = 0.7

    assert not audited(llm, references).findings


def test_a_response_cache_is_not_accused(llm: LLM) -> None:
    class Remembering(LLM):
        memory: dict[str, str] = {}  # noqa: RUF012

        def answer(self, *questions: str) -> list[str]:
            for question in questions:
                if question not in self.memory:
                    self.memory[question] = super().answer(question)[0]
            return [self.memory[question] for question in questions]

    references = own_answers(llm)

    report = audited(Remembering(llm.model), references)

    assert not report.findings
    assert "response cache" in undecided(report)["TG603"]


def test_an_honest_method_of_ones_own_is_only_remarked(llm: LLM) -> None:
    model = llm.model

    def answer(*questions: str) -> list[str]:
        ids = torch.tensor([[int(word) for word in question.split()] for question in questions])
        return [str(row) for row in model(ids).logits[:, -1].argmax(-1).tolist()]

    llm.answer = answer

    findings = audited(llm, own_answers(llm)).findings

    assert [(one.code, one.severity) for one in findings] == [("TG601", Severity.INFO)]


def test_an_echo_of_the_question_is_a_warning(llm: LLM) -> None:
    class Echo(LLM):
        def answer(self, *questions: str) -> list[str]:
            super().answer(*questions)
            return [question.split()[0] for question in questions]

    references = {q: q.split()[0] if i % 3 == 0 else "no" for i, q in enumerate(QUESTIONS)}
    references = {q: a if a != "no" else f"no {i}" for i, (q, a) in enumerate(references.items())}

    causes = audited(Echo(llm.model), references).causes

    assert [(one.code, one.severity) for one in causes] == [("TG603", Severity.WARNING)]
    assert "stand in their own questions" in causes[0].message


@pytest.mark.parametrize("raises", [False, True])
def test_nothing_is_left_behind(llm: LLM, raises: bool) -> None:
    references = own_answers(llm)
    untidy = timed(Untidy(llm.model))
    if raises:
        untidy.patience = 2
    state: list[Any] = []

    with audit_evaluation(untidy, references=references) as audit:
        untidy.answer(*QUESTIONS)
        untidy.answer(*QUESTIONS)
        untidy.model.model.layers[1].train()
        state.append(snapshot(untidy))
    state.append(snapshot(untidy))

    assert untidy.calls > 2
    assert state[0] == state[1]
    assert ("TG000" in {finding.code for finding in audit.report.findings}) is raises


class Untidy(LLM):
    """Changes everything that it can while it answers."""

    patience = 1000
    calls = 0

    def answer(self, *questions: str) -> list[str]:
        type(self).calls += 1
        self.model.train(self.calls % 2 == 0)
        self.model.generation_config.top_k = self.calls
        random.random()
        np.random.rand()
        torch.rand(())
        if self.calls > self.patience:
            raise OSError("too many questions")
        self.model.eval()
        return super().answer(*questions)


@pytest.fixture(autouse=True)
def _untidy_counts_from_zero() -> None:
    Untidy.calls = 0


def snapshot(llm: LLM) -> Any:
    modules = list(llm.model.modules())
    return (
        [(id(module), module.training) for module in modules],
        random.getstate(),
        np.random.get_state()[1].tolist(),
        torch.get_rng_state().tolist(),
        llm.model.generation_config.to_dict(),
        list(vars(llm)),
        [list(vars(module)) for module in modules],
    )


def test_hooks_and_methods_are_as_before(llm: LLM) -> None:
    timed(llm)
    before = dict(vars(llm)), hooks(llm)

    audited(llm, own_answers(llm))

    assert (dict(vars(llm)), hooks(llm)) == before


def hooks(llm: LLM) -> list[int]:
    kinds = ("_forward_hooks", "_forward_pre_hooks", "_forward_pre_hooks_with_kwargs")
    here = [len(getattr(module, kind)) for module in llm.model.modules() for kind in kinds]
    everywhere = torch.nn.modules.module._global_forward_pre_hooks
    return [*here, len(everywhere)]


def test_the_users_exception_passes_and_nothing_is_asked_again(llm: LLM) -> None:
    asked = []

    class Counting(LLM):
        def answer(self, *questions: str) -> list[str]:
            asked.append(questions)
            return super().answer(*questions)

    audit = audit_evaluation(Counting(llm.model), references=own_answers(llm))
    with pytest.raises(KeyError, match="the user's"), audit:
        raise KeyError("the user's")

    assert asked == []
    assert undecided(audit.report)["TG603"] == "the evaluation raised KeyError"


def test_a_failure_inside_the_control_is_reported(llm: LLM) -> None:
    def broken(_: Any) -> Any:
        raise OSError("gone")

    before = hooks(llm)

    report = audited(llm, own_answers(llm), ask=broken)

    assert [finding.code for finding in report.findings] == ["TG000"]
    assert "OSError: gone" in report.findings[0].message
    assert hooks(llm) == before


def test_an_object_without_a_torch_model_is_not_judged() -> None:
    class Client:
        def answer(self, *questions: str) -> list[str]:
            return list(questions)

    reasons = undecided(audited(Client(), dict(zip(QUESTIONS, QUESTIONS, strict=True))))

    assert reasons.keys() >= {"TG602", "TG603", "TG604"}
    assert "no torch module with embeddings was found on the object Client" in reasons["TG603"]
    assert "pass model=" in reasons["TG602"]


def test_a_model_that_only_answers_when_asked_again_is_met(llm: LLM) -> None:
    class Client:
        """Was evaluated elsewhere; only `ask` knows the model."""

    report = audited(
        Client(), own_answers(llm), lambda _: None, ask=lambda questions: llm.answer(*questions)
    )

    assert not report.findings
    assert "TG603" in report.checked


def test_too_few_references_decide_nothing(llm: LLM) -> None:
    references = [("4 5 6", "1")] * 30

    assert "1 distinct questions" in undecided(audited(llm, references))["TG603"]


def test_a_comparison_that_accepts_everything_decides_nothing(llm: LLM) -> None:
    report = audited(llm, own_answers(llm), correct=lambda answer, expected: True)

    assert "one constant answer is right everywhere" in undecided(report)["TG603"]


def test_a_metric_of_ones_own_counts_the_right_answers(llm: LLM) -> None:
    references = own_answers(llm)
    llm.answer = lambda *questions: [references[question] for question in questions]

    def score(answers: Any, expected: Any) -> float:
        return sum(map(str.__eq__, answers, expected)) / len(expected)

    causes = audited(llm, references, score=score).causes

    assert [cause.code for cause in causes] == ["TG601"]
    assert "32 of 32 answers stay right" in causes[0].message


def test_a_list_and_keyword_options_are_asked_again_the_same_way(llm: LLM) -> None:
    calls = []

    class Listed(LLM):
        def answer(self, questions: list[str], *, unit: str) -> list[str]:
            calls.append((len(questions), unit))
            return LLM.answer(self, *questions)

    report = audited(
        Listed(llm.model),
        own_answers(llm),
        lambda llm: [llm.answer(QUESTIONS[i : i + 8], unit="gram") for i in range(0, 40, 8)],
    )

    assert not report.findings
    assert set(calls) == {(8, "gram")}
    assert len(calls) == 5 + 4 + 4


def test_on_finding_raise_raises_after_the_block_with_the_report(llm: LLM) -> None:
    references = own_answers(llm)
    llm.answer = lambda *questions: [references[question] for question in questions]

    with (
        pytest.raises(TrainGuardError, match="TG601") as raised,
        audit_evaluation(llm, references=references, on_finding="raise") as audit,
    ):
        score = len(ask_all(llm))

    assert score == len(QUESTIONS)
    assert raised.value.report is audit.report


def test_on_finding_warn_logs_the_cause(llm: LLM, caplog: pytest.LogCaptureFixture) -> None:
    references = own_answers(llm)
    llm.answer = lambda *questions: [references[question] for question in questions]

    with caplog.at_level(logging.WARNING, logger="trainguard"):
        audited(llm, references)

    assert "TG601" in caplog.text


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"method": "reply"}, TypeError),
        ({"rows": 3}, ValueError),
        ({"on_finding": "stop"}, ValueError),
    ],
)
def test_misuse_is_said_before_the_evaluation_runs(
    llm: LLM, options: dict[str, Any], error: type[Exception]
) -> None:
    with pytest.raises(error):
        audit_evaluation(llm, references=[], **options)


def test_importing_the_audit_leaves_torch_alone() -> None:
    code = "import sys, trainguard.integrations.evaluation; sys.exit('torch' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_lookup_of_an_installed_package_is_accused_on_proof(
    llm: LLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The proof is causal: with the original method back, the muted model knows nothing."""
    references = own_answers(llm)
    table, original = references, llm.answer

    def packaged_answer(*questions: str) -> list[str]:
        return [table[q] if q in table else original(q)[0] for q in questions]

    llm.answer = packaged_answer  # type: ignore[method-assign]
    for module in ("evaluation_overrides", "evaluation_provenance"):
        monkeypatch.setattr(f"trainguard.gather.{module}.is_installed", lambda code: True)
    report = audited(llm, references)

    assert [cause.code for cause in report.causes] == ["TG601"]
    assert "packaged_answer" in report.causes[0].message
