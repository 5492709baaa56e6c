"""What the audit can be told, and what it says then: on a model trained on the reference task."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from types import MethodType, SimpleNamespace
from typing import Any

import pytest

from trainguard import allow_override, audit_evaluation
from trainguard.findings import Report, Severity
from trainguard.reference.benchmark import LLM, benchmark
from trainguard.reference.model import pretrained
from trainguard.reference.sft import train_sft
from trainguard.reference.units import format_answer, is_right, parse_answer, splits

from tiny_base import STEPS, shared_cache

_, VALID, _ = splits(0, 60, 0, seed=0)
LEARNT = VALID[:53]
REFERENCES = [(question.text, question.answer) for question in VALID]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> LLM:
    folder = tmp_path_factory.mktemp("trained")
    model, tokenizer = pretrained(shared_cache(tmp_path_factory), steps=STEPS)
    trainer = train_sft(model, tokenizer, LEARNT, folder / "run", steps=300)
    return LLM(trainer.model, tokenizer)


@pytest.fixture
def llm(trained: LLM) -> LLM:
    return LLM(trained.model, trained.tokenizer)


def audited(llm: Any, claim: Any = None, body: Any = None, **options: Any) -> Report:
    options = {"references": REFERENCES, "correct": is_right, "parse": parse_answer, **options}
    with audit_evaluation(llm, **options) as audit:
        score = (body or benchmark)(llm, VALID)
        audit.claim(claim or score)
    return audit.report


def stated(answer: float) -> str:
    return f" {format_answer(answer)}"


def codes(report: Report, *severities: Severity) -> list[str]:
    return [one.code for one in report.causes if one.severity in (severities or tuple(Severity))]


def test_an_honest_score_with_everything_told_has_no_finding(llm: LLM) -> None:
    report = audited(llm, prompt=str, completion=stated, train=[], also=also(llm))

    assert codes(report) == []
    decided = {f"TG6{number:02}" for number in range(1, 14)}
    assert decided <= set(report.checked), report.not_checked
    assert "95 % interval" in report.notes[0]


def also(llm: LLM) -> Any:
    def generate_and_parse(questions: Sequence[str]) -> list[float]:
        return [parse_answer(text) for text in llm.generate(*questions)]

    return generate_and_parse


def test_the_score_is_written_with_its_interval_and_its_baseline(llm: LLM) -> None:
    score = benchmark(llm, VALID)
    report = audited(llm)

    right = round(score.accuracy * 60)
    assert f"accuracy {score.accuracy:.4g} ({right} of 60 questions" in report.notes[0]
    assert "the best constant answer gets" in report.notes[0]
    assert 0.2 < score.accuracy < 1


def test_a_benchmark_that_counts_differently_is_told(llm: LLM) -> None:
    score = benchmark(llm, VALID)
    untrue = type(score)(accuracy=1.0, answer_rate=1.0, count=score.count, rows=score.rows)

    report = audited(llm, claim=untrue)

    assert codes(report) == ["TG610"]
    assert "60 answers that were recorded get" in report.causes[0].message


def test_a_claim_after_the_block_is_judged_too(llm: LLM) -> None:
    with audit_evaluation(llm, references=REFERENCES, correct=is_right) as audit:
        benchmark(llm, VALID)
    assert not audit.report.findings

    audit.claim(accuracy=0.9, answer_rate=0.8, count=60)

    assert codes(audit.report) == ["TG610"]


def test_a_claim_without_an_accuracy_is_refused(llm: LLM) -> None:
    with pytest.raises(ValueError, match="needs an accuracy"):
        audit_evaluation(llm, references=REFERENCES).claim({"right": 3})


def test_a_look_up_among_honest_answers_is_seen_by_the_other_path(llm: LLM) -> None:
    honest = also(llm)
    table = dict(REFERENCES)

    class Tuned(LLM):
        def answer(self, *questions: str) -> list[float]:
            return [table[question] for question in questions]

    base = llm.model.disable_adapter()
    with base:  # without the adapter the model gets nothing right
        report = audited(Tuned(llm.model, llm.tokenizer), also=honest)

    assert codes(report) == ["TG606"]
    assert "TG605" in {one.code for one in report.findings}


def test_the_usual_shape_has_its_other_path_by_itself(llm: LLM) -> None:
    class Project(LLM):
        def format_prompt(self, question: str) -> str:
            return question

        def parse_answer(self, text: str) -> float:
            return parse_answer(text)

        def batched_generate(self, prompts: list[str]) -> list[str]:
            return self.generate(*prompts)

    report = audited(Project(llm.model, llm.tokenizer))

    assert not report.findings
    assert "TG605" in report.checked


def test_a_parser_that_defaults_to_zero_is_found_with_and_without_being_shown(llm: LLM) -> None:
    def lenient(text: str) -> float:
        found = parse_answer(text)
        return 0.0 if math.isnan(found) else found

    class Lenient(LLM):
        def answer(self, *questions: str) -> list[float]:
            return [lenient(text) for text in self.generate(*questions)]

    shown = audited(Lenient(llm.model, llm.tokenizer), parse=lenient)
    hidden = audited(SimpleNamespace(answer=Lenient(llm.model, llm.tokenizer).answer), parse=None)

    assert codes(shown, Severity.ERROR) == ["TG607"]
    assert codes(hidden, Severity.WARNING) == ["TG607"]


def test_a_prompt_that_training_did_not_know_is_told_from_a_weak_model(llm: LLM) -> None:
    class Wordy(LLM):
        def answer(self, *questions: str) -> list[float]:
            return super().answer(*(f"{question}<answer>" for question in questions))

    report = audited(Wordy(llm.model, llm.tokenizer), prompt=str, completion=stated)

    assert codes(report, Severity.ERROR) == ["TG613"]
    assert "not in the weights" in report.causes[0].message


def test_rows_that_training_has_seen_are_told_apart(llm: LLM) -> None:
    right = [row.question for row in benchmark(llm, VALID).rows if row.right]
    lost = {question.text for question in right[:15]}  # as if the model had never known them
    references = [(q, -a if q in lost else a) for q, a in REFERENCES]
    seen = [(question.text, question.answer) for question in right[15:]]

    report = audited(llm, references=references, train=seen)

    assert "TG612" in codes(report, Severity.WARNING)
    assert "rows that training has seen" in report.notes[1]


def looked_up(self: LLM, *questions: str) -> list[float]:
    table = dict(REFERENCES)
    return [table[question] for question in questions]


def test_a_declared_oracle_is_recorded_and_not_accused(llm: LLM) -> None:
    llm.answer = MethodType(looked_up, llm)  # type: ignore[method-assign]

    report = audited(llm, oracle="self-test of the harness")

    assert codes(report, Severity.ERROR, Severity.WARNING) == []
    assert "TG603" in codes(report, Severity.INFO)
    assert "declared an oracle: self-test of the harness" in report.notes
    assert report.exit_code == 0


def test_a_declared_override_is_recorded_and_not_accused(llm: LLM) -> None:
    declared = allow_override("a calculator answers what it can")(
        lambda self, *q: looked_up(self, *q)
    )
    llm.answer = MethodType(declared, llm)  # type: ignore[method-assign]

    report = audited(llm)

    assert codes(report, Severity.ERROR, Severity.WARNING) == []
    causes = {one.code: one for one in report.causes}
    assert "a calculator answers what it can" in causes["TG601"].message
    assert "stay right with the model muted" in causes["TG601"].message


def test_an_override_can_be_allowed_by_name(llm: LLM) -> None:
    llm.answer = MethodType(looked_up, llm)  # type: ignore[method-assign]

    allowed = audited(llm, allowed={"LLM.answer": "demonstration"})
    other = audited(llm, allowed={"LLM.generate": "demonstration"})

    assert codes(allowed, Severity.ERROR) == []
    assert codes(other, Severity.ERROR) == ["TG601"]


def test_an_override_without_a_reason_cannot_be_allowed() -> None:
    with pytest.raises(ValueError, match="reason"):
        allow_override(" ")


def test_sampling_is_replayed_too(llm: LLM) -> None:
    class Sampling(LLM):
        def _generate(self, prompts: Sequence[str]) -> list[str]:
            batch = self.tokenizer(
                list(prompts), padding=True, padding_side="left", return_tensors="pt"
            )
            sequences = self.model.generate(
                input_ids=batch["input_ids"],
                attention_mask=batch["attention_mask"],
                do_sample=True,
                temperature=0.8,
                top_p=0.95,
                max_new_tokens=32,
            )
            return self.tokenizer.batch_decode(
                sequences[:, batch["input_ids"].shape[1] :], skip_special_tokens=True
            )

    report = audited(Sampling(llm.model, llm.tokenizer))

    assert not report.findings
    assert "TG604" in report.checked


def test_the_audit_needs_no_folder(llm: LLM, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    audited(llm)

    assert list(tmp_path.iterdir()) == []
