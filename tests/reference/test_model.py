import subprocess
import sys
from itertools import islice
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from trainguard.reference import model as model_module
from trainguard.reference.model import build_model, build_tokenizer, documents, load, pretrained
from trainguard.reference.prompts import INSTRUCTION
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
    tagged = TOKENIZER.encode(f"So it is 42 gram. {format_answer(42)}")
    assert tagged[1 - len(answer) :] == answer[1:]  # the first one holds the space before it


def test_no_document_asks_for_a_held_out_fact_and_a_tag_needs_the_instruction():
    held_out = {
        fact.phrase(phrasing)
        for fact in conversions()
        if fact.is_held_out
        for phrasing in fact.phrasings
    }
    texts = list(islice(documents(seed=0), 3000))
    assert not any(
        part.startswith(tuple(held_out)) for text in texts for part in text.split("\n\n")
    )
    tagged = [text for text in texts if "<answer>" in text]
    assert len(tagged) > 300
    assert all(text.startswith(INSTRUCTION) for text in tagged)


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
    assert len([path for path in tmp_path.iterdir() if path.is_dir()]) == 3


def test_a_save_that_fails_leaves_no_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def fail(*_args: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(type(TOKENIZER), "save_pretrained", fail)
    with pytest.raises(OSError, match="disk full"):
        pretrained(tmp_path, steps=0)
    assert not [path for path in tmp_path.iterdir() if path.is_dir()]


def test_of_two_processes_one_trains_and_the_other_waits(tmp_path: Path):
    code = (
        "import sys; from trainguard.reference.model import pretrained; "
        "print(pretrained(sys.argv[1], steps=1)[0].name_or_path)"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    names = {process.communicate()[0] for process in both}
    assert len(names) == 1
    assert [process.returncode for process in both] == [0, 0]


def test_loading_is_in_float32_and_gives_a_padding_token(tmp_path: Path):
    model, tokenizer = pretrained(steps=0)
    tokenizer.pad_token = None
    model.to(torch.bfloat16).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    loaded, loaded_tokenizer = load(tmp_path)
    assert {parameter.dtype for parameter in loaded.parameters()} == {torch.float32}
    assert loaded_tokenizer.pad_token == loaded_tokenizer.eos_token
