"""Who stands in for a method, and who only wraps it."""

from __future__ import annotations

import functools
import json
from types import FunctionType, MethodType
from typing import Any
from unittest.mock import MagicMock

import pytest
import torch
from peft import PeftModel
from peft.helpers import update_generate_signature

from trainguard.facts.evaluation import MethodFacts
from trainguard.gather.evaluation_models import language_model
from trainguard.gather.evaluation_overrides import find_overrides
from trainguard.gather.evaluation_provenance import is_installed

import tiny


def loud(function: Any) -> Any:
    def wrapper(*args: Any) -> Any:
        return function(*args)

    return wrapper


def elsewhere(self: Any, question: str) -> str:
    return question


def shout(text: str) -> str:
    return text.upper()


class LLM:
    def answer(self, question: str) -> str:
        return shout(question)

    @loud
    def generate(self, question: str) -> str:
        return question.upper()

    decode = elsewhere

    def other(self, question: str) -> str:
        return question


def overrides(thing: Any) -> list[MethodFacts]:
    """What project code stands in for; what installed packages replace is only tried."""
    found = (override.facts for override in find_overrides([thing], "answer"))
    return [facts for facts in found if not facts.installed]


def test_a_class_as_written_has_no_override() -> None:
    assert overrides(LLM()) == []


def bound_method(llm: LLM) -> Any:
    return MethodType(elsewhere, llm)


def another_method_of_the_class(llm: LLM) -> Any:
    return llm.other


def forged_name(llm: LLM) -> Any:
    return functools.wraps(LLM.answer)(lambda question: question)


def deep_in_partials(llm: LLM) -> Any:
    return functools.partial(functools.partial(elsewhere), llm)


def builtin(llm: LLM) -> Any:
    return {}.get


@pytest.mark.parametrize(
    ("replacement", "by"),
    [
        (bound_method, "elsewhere"),
        (another_method_of_the_class, "LLM.other"),
        (forged_name, "<lambda>"),
        (deep_in_partials, "elsewhere"),
        (builtin, "dict.get"),
    ],
)
def test_a_replacement_is_named(replacement: Any, by: str) -> None:
    llm = LLM()
    llm.answer = replacement(llm)

    (facts,) = overrides(llm)

    assert (facts.key, facts.kind, facts.reaches_original) == ("LLM.answer", "instance", False)
    assert facts.by == by


def test_project_code_in_an_argument_is_named() -> None:
    llm = LLM()
    llm.answer = functools.partial(llm.answer, processors=[elsewhere])

    (facts,) = overrides(llm)

    assert (facts.by, facts.reaches_original) == ("elsewhere", True)


def closed_over(llm: LLM) -> Any:
    original = llm.answer
    return lambda question: original(question)


def through_the_class(llm: LLM) -> Any:
    return lambda question: type(llm).answer(llm, question)


def spied_on(llm: LLM) -> Any:
    return MagicMock(wraps=llm.answer)


@pytest.mark.parametrize("wrapper", [closed_over, through_the_class, spied_on])
def test_a_wrapper_reaches_the_original(wrapper: Any) -> None:
    llm = LLM()
    llm.answer = wrapper(llm)

    assert [facts.reaches_original for facts in overrides(llm)] == [True]


def test_a_cache_around_the_method_is_the_method() -> None:
    llm = LLM()
    llm.answer = functools.lru_cache(llm.answer)

    assert overrides(llm) == []


@pytest.mark.parametrize(
    ("file", "installed"),
    [
        ("/opt/env/lib/site-packages/peft/helpers.py", True),
        ("/usr/lib/python3/dist-packages/peft/helpers.py", True),
        ("/home/me/project/unsloth_compiled_cache/trainer.py", True),
        (json.__file__, True),
        (torch.nn.__file__, True),
        ("<frozen importlib>", True),
        ("/home/me/project/patch.py", False),
        ("<stdin>", False),
    ],
)
def test_the_file_tells_who_owns_the_code(file: str, installed: bool) -> None:
    assert is_installed(shout.__code__.replace(co_filename=file)) is installed


def test_a_mock_is_called_one() -> None:
    llm = LLM()
    llm.answer = MagicMock()

    (facts,) = overrides(llm)

    assert facts.mock
    assert facts.by == "unittest.mock.MagicMock"


def test_a_method_put_on_a_class_is_found_until_it_is_removed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(LLM, "answer", elsewhere)
        assert [(facts.kind, facts.by) for facts in overrides(LLM())] == [("class", "elsewhere")]

    assert overrides(LLM()) == []


def test_taking_an_override_away_puts_the_original_back_for_a_while() -> None:
    llm = LLM()
    llm.first, llm.answer, llm.last = 1, lambda question: "fake", 2
    (override,) = find_overrides([llm], "answer")
    before = list(vars(llm).items())

    with override.taken_away():
        assert llm.answer("a") == "A"

    assert llm.answer("a") == "fake"
    assert list(vars(llm).items()) == before


def test_code_that_was_swapped_is_found_by_its_source() -> None:
    code = LLM.other.__code__
    names = ("co_name", "co_qualname", "co_filename", "co_firstlineno")
    forged = {name: getattr(LLM.answer.__code__, name) for name in names}
    before = LLM.answer.__code__
    LLM.answer.__code__ = code.replace(**forged)
    try:
        kinds = [facts.kind for facts in overrides(LLM())]
    finally:
        LLM.answer.__code__ = before

    assert kinds == ["code"]


def test_an_attribute_access_that_does_not_know_the_method_is_none_of_ours() -> None:
    class Proxy(LLM):
        def __getattribute__(self, name: str) -> Any:
            return super().__getattribute__(name)

    assert overrides(Proxy()) == []


@pytest.fixture(autouse=True)
def _peft_signature_is_fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    """PEFT deep-copies the function, which copies nothing: it rewrites the class's method."""
    old = vars(PeftModel)["generate"]
    new = FunctionType(
        old.__code__, old.__globals__, old.__name__, old.__defaults__, old.__closure__
    )
    monkeypatch.setattr(PeftModel, "generate", new)


def peft_signature() -> Any:
    model = tiny.lora(tiny.model())
    update_generate_signature(model)
    assert "generate" in vars(model)
    return model


def compiled_forward() -> Any:
    model = tiny.model()
    model.forward = torch.compile(model.forward, backend="eager")
    return model


def disabled_adapter() -> Any:
    model = tiny.lora(tiny.model())
    with model.disable_adapter():
        return model


def whole_model_compiled() -> Any:
    return torch.compile(tiny.model(), backend="eager")


@pytest.mark.parametrize(
    "build", [tiny.model, peft_signature, compiled_forward, disabled_adapter, whole_model_compiled]
)
def test_what_frameworks_replace_is_not_an_override(build: Any) -> None:
    model = language_model(build())
    assert model is not None

    found = find_overrides(model.levels, "generate")
    assert [override.facts for override in found if not override.facts.installed] == []
