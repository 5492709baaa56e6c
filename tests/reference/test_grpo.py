from pathlib import Path

import pytest
from click.testing import CliRunner
from peft import PeftModel
from transformers import TrainerCallback

from trainguard import TrainGuardCallback, preflight
from trainguard.cli import main
from trainguard.reference.data import write_questions
from trainguard.reference.grpo import build_grpo_trainer, right_answer
from trainguard.reference.model import load
from trainguard.reference.sft import finish, train_sft
from trainguard.reference.units import splits

TRAIN, _, TEST = splits(40, 0, 8, seed=0)
SETTINGS = {
    "steps": 4,
    "learning_rate": 1e-3,
    "seed": 0,
    "samples": 4,
    "temperature": 1.5,
    "max_new_tokens": 16,
    "per_device_train_batch_size": 16,
    "logging_steps": 1,
    "save_strategy": "steps",
    "save_steps": 2,
    "report_to": "none",
}


@pytest.fixture(scope="module")
def adapter(base_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One that states answers, right and wrong ones."""
    folder = tmp_path_factory.mktemp("sft")
    train_sft(*load(base_folder), TRAIN, folder, steps=60)
    return folder


def test_right_answers_are_rewarded_and_nothing_else():
    said = ["<answer>6000</answer>", "so <answer>6100</answer>", "<answer>600</answer>", "6000", ""]
    assert right_answer(said, [6000.0] * 5) == [1, 1, 0, 0, 0]
    conversation = [{"role": "assistant", "content": "<answer>6</answer>"}]
    assert right_answer([conversation], [6.0], prompts=["?"]) == [1]


def trained(adapter: Path, base_folder: Path, folder: Path, *callbacks: TrainerCallback):
    model, tokenizer = load(base_folder)
    model = PeftModel.from_pretrained(model, adapter, is_trainable=True)
    trainer = build_grpo_trainer(model, tokenizer, TRAIN, folder, **SETTINGS)
    for callback in callbacks:
        trainer.add_callback(callback)
    finish(trainer, folder)
    return trainer


class Killed(TrainerCallback):
    def on_step_end(self, args, state, control, **_):
        if state.global_step == 3:
            raise KeyboardInterrupt


def test_a_killed_run_goes_on_to_the_same_adapter(adapter: Path, base_folder: Path, tmp_path: Path):
    guard = TrainGuardCallback()
    trainer = trained(adapter, base_folder, tmp_path / "whole", guard)
    assert not guard.report.findings
    assert not preflight(trainer).findings
    rewards = [entry["reward"] for entry in trainer.state.log_history if "reward" in entry]
    assert len(rewards) == 4
    assert all(0 < reward < 1 for reward in rewards)

    with pytest.raises(KeyboardInterrupt):
        trained(adapter, base_folder, tmp_path / "killed", Killed())
    trained(adapter, base_folder, tmp_path / "killed")
    before, whole, killed = (
        (folder / "adapter_model.safetensors").read_bytes()
        for folder in (adapter, tmp_path / "whole", tmp_path / "killed")
    )
    assert killed == whole != before


def test_the_command_goes_on_with_an_adapter(adapter: Path, base_folder: Path, tmp_path: Path):
    data, folder = tmp_path / "data", tmp_path / "run"
    data.mkdir()
    for name, questions in {"train": TRAIN, "valid": [], "test": TEST}.items():
        write_questions(data / f"{name}.json", questions)
    options = {
        "model": base_folder,
        "adapter": adapter,
        "data": data,
        "steps": 2,
        "batch-size": 8,
        "samples": 4,
        "max-new-tokens": 16,
    }
    words = ["train", "grpo", str(folder)]
    words += [str(word) for name, value in options.items() for word in (f"--{name}", value)]
    done = CliRunner().invoke(main, words)
    assert done.exit_code == 0, done.output
    assert (folder / "curves.svg").read_text().count("<polyline") == 4  # with the reward


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (("--samples", "3", "--batch-size", "4"), "divisible"),
        (("--fault", "frozen-adapter"), "train sft and train rft"),
    ],
)
def test_what_cannot_be_done_is_one_line(
    base_folder: Path, tmp_path: Path, options: tuple[str, ...], reason: str
):
    sizes = ("--train", "8", "--valid", "1", "--test", "2", "--max-new-tokens", "4")
    words = ("train", "grpo", str(tmp_path / "run"), "--model", str(base_folder))
    done = CliRunner().invoke(main, [*words, *sizes, *options])
    assert done.exit_code == 1
    assert reason in done.output.splitlines()[-1]
