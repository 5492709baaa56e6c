from pathlib import Path

import pytest
import torch
from peft import PeftModel
from transformers import DataCollatorForSeq2Seq, TrainerCallback

from trainguard.reference.benchmark import LLM, benchmark
from trainguard.reference.model import build_model, build_tokenizer
from trainguard.reference.sft import encode, train_sft, wrap_lora
from trainguard.reference.units import Question, generate, splits

TOKENIZER = build_tokenizer()
QUESTION = Question("How many gram are there per 6 kg?", 6000.0)


def losses(trainer) -> list[float]:
    return [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]


def trainable(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    named = model.named_parameters()
    return {name: value.detach().clone() for name, value in named if value.requires_grad}


def test_exactly_the_answer_and_the_eos_are_supervised():
    example = encode(QUESTION, TOKENIZER)
    supervised = [label for label in example["labels"] if label != -100]
    assert TOKENIZER.decode(supervised) == f"<answer>6000</answer>{TOKENIZER.eos_token}"
    prompt_length = len(example["labels"]) - len(supervised)
    assert example["labels"] == [-100] * prompt_length + example["input_ids"][prompt_length:]
    assert TOKENIZER.decode(example["input_ids"][:prompt_length]) == QUESTION.text


@pytest.mark.parametrize("padding_side", ["left", "right"])
@pytest.mark.parametrize("pad_token", ["<pad>", "</s>"])
def test_padding_hides_no_label_and_adds_none(padding_side: str, pad_token: str):
    tokenizer = build_tokenizer()
    tokenizer.padding_side, tokenizer.pad_token = padding_side, pad_token
    examples = [encode(question, tokenizer) for question in (QUESTION, *generate(5, seed=0))]
    batch = DataCollatorForSeq2Seq(tokenizer, label_pad_token_id=-100)(examples)
    assert batch["input_ids"].shape == batch["labels"].shape
    for labels, mask, example in zip(
        batch["labels"], batch["attention_mask"], examples, strict=True
    ):
        assert mask.sum() == len(example["input_ids"])
        assert labels[mask.bool()].tolist() == example["labels"]
        assert (labels[~mask.bool()] == -100).all()


def test_without_an_eos_there_is_no_training():
    tokenizer = build_tokenizer()
    tokenizer.eos_token = None
    with pytest.raises(ValueError, match="EOS"):
        encode(QUESTION, tokenizer)


def test_without_questions_there_is_no_training(tmp_path: Path):
    with pytest.raises(ValueError, match="no questions"):
        train_sft(build_model(TOKENIZER, 0), TOKENIZER, [], tmp_path)


def test_lora_reaches_every_linear_layer_and_changes_nothing_yet():
    model = build_model(TOKENIZER, 0).eval()
    input_ids = torch.tensor([TOKENIZER.encode(QUESTION.text)])
    with torch.no_grad():
        before = model(input_ids=input_ids).logits
        wrapped = wrap_lora(model, rank=4).eval()
        after = wrapped(input_ids=input_ids).logits
    assert torch.equal(before, after)
    layers, projections = 2, 7
    assert len(trainable(wrapped)) == 2 * layers * projections
    assert all("lora_" in name and 4 in value.shape for name, value in trainable(wrapped).items())


def test_fine_tuning_teaches_the_answer_and_its_adapter_reloads(base, cache_dir, tmp_path: Path):
    model, tokenizer = base
    train, _, held_out = splits(600, 0, 100, seed=0)
    before = benchmark(LLM(model, tokenizer), held_out)
    trainer = train_sft(model, tokenizer, train, tmp_path, steps=60)
    after = benchmark(LLM(trainer.model, tokenizer), held_out)

    assert losses(trainer)[-1] < losses(trainer)[0] / 4
    assert before.answer_rate < 0.1
    assert after.answer_rate > 0.9
    assert after.accuracy > before.accuracy + 0.2

    reloaded = PeftModel.from_pretrained(load_base(cache_dir), tmp_path)
    input_ids = torch.tensor([tokenizer.encode(QUESTION.text)])
    with torch.no_grad():
        expected = trainer.model.eval()(input_ids=input_ids).logits
        torch.testing.assert_close(reloaded(input_ids=input_ids).logits, expected, rtol=0, atol=0)
    assert (tmp_path / "trainer_state.json").exists()


def load_base(cache_dir: Path):
    (folder,) = cache_dir.iterdir()
    return type(build_model(TOKENIZER, 0)).from_pretrained(folder)


@pytest.mark.parametrize("options", [{}, {"gradient_checkpointing": True}])
def test_every_adapter_matrix_moves_and_the_base_does_not(tmp_path: Path, options):
    model = wrap_lora(build_model(TOKENIZER, 0))
    adapters = trainable(model)
    frozen = {
        name: p.detach().clone() for name, p in model.named_parameters() if name not in adapters
    }
    trainer = train_sft(model, TOKENIZER, generate(32, seed=0), tmp_path, steps=3, **options)
    assert trainer.model is model
    moved = dict(model.named_parameters())
    assert not any(torch.equal(moved[name], value) for name, value in adapters.items())
    assert all(torch.equal(moved[name], value) for name, value in frozen.items())


def test_a_seed_determines_the_run(tmp_path: Path):
    def run(name: str, seed: int) -> list[float]:
        model = build_model(TOKENIZER, 0)
        questions = generate(64, seed=0)
        return losses(train_sft(model, TOKENIZER, questions, tmp_path / name, steps=3, seed=seed))

    assert run("first", 1) == run("second", 1) != run("third", 2)


def test_callbacks_and_arguments_reach_the_trainer(tmp_path: Path):
    class Steps(TrainerCallback):
        count = 0

        def on_step_end(self, *_args, **_kwargs):
            self.count += 1

    steps = Steps()
    trainer = train_sft(
        build_model(TOKENIZER, 0),
        TOKENIZER,
        generate(8, seed=0),
        tmp_path,
        steps=4,
        callbacks=[steps],
        logging_steps=2,
        per_device_train_batch_size=2,
    )
    assert steps.count == 4
    assert len(losses(trainer)) == 2
    assert trainer.args.per_device_train_batch_size == 2
