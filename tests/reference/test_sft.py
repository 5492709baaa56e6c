from pathlib import Path

import pytest
import torch
from peft import PeftModel
from transformers import DataCollatorForSeq2Seq, TrainerCallback

from trainguard.reference.benchmark import LLM, benchmark
from trainguard.reference.model import build_model, build_tokenizer, load
from trainguard.reference.sft import build_trainer, encode, rank_within, train_sft, wrap_lora
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
    assert TOKENIZER.decode(supervised) == f" <answer>6000</answer>{TOKENIZER.eos_token}"
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
    layers, projections = 3, 7
    assert len(trainable(wrapped)) == 2 * layers * projections
    assert all("lora_" in name and 4 in value.shape for name, value in trainable(wrapped).items())


def test_fine_tuning_teaches_the_answer_and_its_adapter_reloads(base, base_folder, tmp_path: Path):
    model, tokenizer = base
    train, _, _ = splits(40, 0, 0, seed=0)
    before = benchmark(LLM(model, tokenizer), train)
    trainer = train_sft(model, tokenizer, train, tmp_path, steps=120)
    after = benchmark(LLM(trainer.model, tokenizer), train)

    assert losses(trainer)[-1] < losses(trainer)[0] / 4
    assert before.answer_rate < 0.1
    assert after.answer_rate > 0.9
    assert after.accuracy > 0.7  # by heart: these are the questions that it was trained on

    reloaded = PeftModel.from_pretrained(load(base_folder)[0], tmp_path)
    input_ids = torch.tensor([tokenizer.encode(QUESTION.text)])
    with torch.no_grad():
        expected = trainer.model.eval()(input_ids=input_ids).logits
        torch.testing.assert_close(reloaded(input_ids=input_ids).logits, expected, rtol=0, atol=0)
    assert (tmp_path / "trainer_state.json").exists()


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


def test_the_rank_is_the_largest_whose_file_fits(tmp_path: Path):
    model = build_model(TOKENIZER, 0)
    rank = rank_within(model, megabytes=0.1, most=64)
    assert 1 < rank < 64
    wrap_lora(model, rank=rank).save_pretrained(tmp_path)
    size = (tmp_path / "adapter_model.safetensors").stat().st_size
    header = 10_000
    assert 0.1e6 - size < 0.1e6 / rank + header
    assert size < 0.1e6 + header
    assert rank_within(build_model(TOKENIZER, 0), megabytes=100, most=8) == 8


def test_a_budget_below_rank_one_is_refused():
    with pytest.raises(ValueError, match=r"rank 1 takes 0\.0\d+ MB, 0\.001 are allowed"):
        rank_within(build_model(TOKENIZER, 0), megabytes=0.001)


class KilledAtStep5(TrainerCallback):
    def on_step_end(self, args, state, control, **_):
        if state.global_step == 5:
            raise KeyboardInterrupt


class KilledAtTheEnd(TrainerCallback):
    """After the last checkpoint, and before the adapter is saved."""

    def on_train_end(self, *_args, **_kwargs):
        raise KeyboardInterrupt


@pytest.mark.parametrize("killed", [KilledAtStep5, KilledAtTheEnd])
def test_a_resumed_run_ends_as_one_that_was_not_killed(tmp_path: Path, killed):
    questions = generate(64, seed=0)
    options = {"steps": 6, "save_strategy": "steps", "save_steps": 2}

    def run(name: str, **more) -> tuple[bytes, list[float]]:
        model = build_model(TOKENIZER, 0)
        trainer = train_sft(model, TOKENIZER, questions, tmp_path / name, **options, **more)
        return (tmp_path / name / "adapter_model.safetensors").read_bytes(), losses(trainer)

    whole = run("whole")
    with pytest.raises(KeyboardInterrupt):
        run("killed", callbacks=[killed()])
    torn = tmp_path / "killed" / "checkpoint-7"
    torn.mkdir()
    (torn / "trainer_state.json").write_text('{"global_step": 7, "log_hist')
    assert run("killed", resume=True) == whole


@pytest.mark.parametrize("terminal", [True, False])
def test_training_has_a_progress_bar_on_a_terminal_only(tmp_path, monkeypatch, terminal: bool):
    monkeypatch.setattr("sys.stderr.isatty", lambda: terminal, raising=False)
    trainer = build_trainer(build_model(TOKENIZER, 0), TOKENIZER, [QUESTION], tmp_path)
    shown = {type(callback).__name__ for callback in trainer.callback_handler.callbacks}
    assert ("ProgressCallback" in shown) is terminal
