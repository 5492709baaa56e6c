from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from trainguard.reference import model as model_module
from trainguard.reference.model import build_model, build_tokenizer, load, pretrained, sentences
from trainguard.reference.units import conversions, format_answer, generate

TOKENIZER = build_tokenizer()


def same_weights(first: torch.nn.Module, second: torch.nn.Module) -> bool:
    weights, others = first.state_dict(), second.state_dict()
    return weights.keys() == others.keys() and all(
        torch.equal(weights[name], others[name]) for name in weights
    )


@given(st.text())
def test_any_text_survives_the_tokenizer(text):
    assert TOKENIZER.decode(TOKENIZER.encode(text)) == text


def test_the_texts_of_the_task_survive_the_tokenizer():
    for question in generate(300, seed=0):
        for text in (question.text, format_answer(question.answer)):
            assert TOKENIZER.decode(TOKENIZER.encode(text)) == text


def test_special_tokens_are_distinct_and_not_added_on_their_own():
    special = {TOKENIZER.pad_token_id, TOKENIZER.bos_token_id, TOKENIZER.eos_token_id}
    assert len(special - {None}) == 3
    assert special.isdisjoint(TOKENIZER.encode("Convert 6 kg to gram."))


def test_each_digit_is_a_token():
    assert TOKENIZER.tokenize("6000") == ["6", "0", "0", "0"]


def test_tag_and_answer_are_tokenized_alike_in_pretraining_and_fine_tuning():
    answer = TOKENIZER.encode(format_answer(42))
    tagged = TOKENIZER.encode(f"Write 42 in a tag.\n{format_answer(42)}")
    assert tagged[-len(answer) :] == answer


def test_no_sentence_answers_a_question_in_a_tag():
    questions = {question.text for question in generate(len(conversions()), seed=0)}
    tagged = [text for text in sentences() if "<answer>" in text]
    assert tagged
    assert not any(text.startswith(question) for text in tagged for question in questions)


def test_a_seed_determines_the_untrained_model_and_leaves_the_random_state():
    state = torch.get_rng_state()
    assert same_weights(build_model(TOKENIZER, 1), build_model(TOKENIZER, 1))
    assert not same_weights(build_model(TOKENIZER, 1), build_model(TOKENIZER, 2))
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("steps", [0, 1, 4])
def test_a_cached_model_is_the_trained_one(tmp_path: Path, steps: int):
    trained, _ = pretrained(steps=steps)
    first, _ = pretrained(tmp_path, steps=steps)
    again, tokenizer = pretrained(tmp_path, steps=steps)
    assert same_weights(trained, first)
    assert same_weights(trained, again)
    assert not trained.training
    assert not first.training
    assert tokenizer.get_vocab() == TOKENIZER.get_vocab()
    assert tokenizer.encode("Convert 6 kg") == TOKENIZER.encode("Convert 6 kg")
    assert tokenizer.pad_token_id != tokenizer.eos_token_id


def test_a_hit_trains_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    pretrained(tmp_path, steps=1)
    monkeypatch.setattr(model_module, "_train", None)
    pretrained(tmp_path, steps=1)


def test_steps_and_seed_have_models_of_their_own(tmp_path: Path):
    for steps, seed in [(0, 0), (0, 1), (1, 0)]:
        pretrained(tmp_path, steps=steps, seed=seed)
    assert len(list(tmp_path.iterdir())) == 3


def test_a_save_that_fails_leaves_no_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def fail(*_args: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(type(TOKENIZER), "save_pretrained", fail)
    with pytest.raises(OSError, match="disk full"):
        pretrained(tmp_path, steps=0)
    assert list(tmp_path.iterdir()) == []


def test_a_model_that_another_process_saved_first_is_kept(tmp_path: Path):
    model, tokenizer = pretrained(steps=0)
    folder = tmp_path / "base"
    for _ in range(2):
        model_module._save(model, tokenizer, folder)
    assert list(tmp_path.iterdir()) == [folder]
    assert same_weights(load(folder)[0], model)


def test_loading_is_in_float32_and_gives_a_padding_token(tmp_path: Path):
    model, tokenizer = pretrained(steps=0)
    tokenizer.pad_token = None
    model.to(torch.bfloat16).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    loaded, loaded_tokenizer = load(tmp_path)
    assert {parameter.dtype for parameter in loaded.parameters()} == {torch.float32}
    assert loaded_tokenizer.pad_token == loaded_tokenizer.eos_token
