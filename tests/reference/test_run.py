"""Whole runs by the commands, on the small base in a local folder with a chat template."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from trainguard.cli import main
from trainguard.reference.model import load
from trainguard.reference.units import splits

TEMPLATE = (
    "{% for message in messages %}{{ message['role'] }}: {{ message['content'] }}\n{% endfor %}"
    "{% if add_generation_prompt %}assistant:{% endif %}"
)
SMALL = ("--train", "48", "--valid", "20", "--test", "24", "--steps", "8", "--save-steps", "4")


@pytest.fixture(scope="module")
def chat_model(base_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("chat")
    model, tokenizer = load(base_folder)
    tokenizer.chat_template = TEMPLATE
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def trainguard(*words: object) -> Result:
    return CliRunner().invoke(main, [str(word) for word in words])


@pytest.fixture(scope="module")
def plain(chat_model: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Result]:
    folder = tmp_path_factory.mktemp("plain") / "run"
    return folder, trainguard("train", "sft", folder, "--model", chat_model, *SMALL)


def test_a_plain_run_on_a_local_model_has_no_finding(plain: tuple[Path, Result]):
    folder, result = plain
    assert result.exit_code == 0, result.output
    assert json.loads((folder / "metrics.json").read_bytes())["causes"] == []
    report = json.loads((folder / "report.json").read_bytes())
    kinds = {subject["kind"] for subject in report["summary"]["subjects"]}
    assert {"training run", "adapter", "data set", "evaluation"} <= kinds
    assert (folder / "curves.svg").read_text().count("<polyline") == 3
    assert (folder / "wrong.txt").read_text().startswith("question")


def test_the_same_command_again_gives_the_same_files(plain: tuple[Path, Result], chat_model: Path):
    folder, _ = plain
    names = ["adapter_model.safetensors", "metrics.json", "report.json"]
    names += ["report.html", "wrong.txt", "curves.svg"]
    before = [(folder / name).read_bytes() for name in names]
    assert trainguard("train", "sft", folder, "--model", chat_model, *SMALL).exit_code == 0
    assert [(folder / name).read_bytes() for name in names] == before


def test_a_folder_with_another_run_is_refused(plain: tuple[Path, Result], chat_model: Path):
    folder, _ = plain
    result = trainguard("train", "sft", folder, "--model", chat_model, *SMALL, "--seed", "1")
    assert result.exit_code == 1
    assert "holds a run with seed 0, not 1" in result.output


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        ("frozen-adapter", "TG201"),
        ("nan-loss-replaced", "TG505"),
        ("nan-gradients-zeroed", "TG501"),
        ("labels-ignored", "TG301"),
        ("end-not-supervised", "TG302"),
        ("learning-rate-zero", "TG504"),
        ("answers-looked-up", "TG601"),
        ("train-holds-test", "TG701"),
        ("fresh-adapter-saved", "TG105"),
    ],
)
def test_a_planted_fault_is_the_only_error(fault: str, code: str, chat_model: Path, tmp_path: Path):
    options = ("--model", chat_model, *SMALL, "--fault", fault)
    result = trainguard("train", "sft", tmp_path / "run", *options)
    assert result.exit_code == 1, result.output
    causes = json.loads((tmp_path / "run" / "metrics.json").read_bytes())["causes"]
    assert causes[0]["code"] == code
    report = json.loads((tmp_path / "run" / "report.json").read_bytes())
    errors = {
        finding["code"]
        for finding in report["findings"]
        if finding["severity"] == "error" and not finding["explained_by"]
    }
    assert errors == {code}


def test_an_unknown_fault_names_the_nearest(tmp_path: Path):
    result = trainguard("train", "sft", tmp_path, "--fault", "frozen-adaptor")
    assert result.exit_code == 1
    assert "did you mean frozen-adapter?" in result.output


def test_datagen_is_checked_and_repeatable(tmp_path: Path):
    sizes = ("--train", "50", "--valid", "10", "--test", "20", "--seed", "3")
    assert trainguard("datagen", tmp_path, *sizes).exit_code == 0
    rows = json.loads((tmp_path / "train.json").read_bytes())
    assert [row["question"] for row in rows] == [q.text for q in splits(50, 10, 20, 3)[0]]
    (tmp_path / "test.json").unlink()  # as if it had been killed before
    assert trainguard("datagen", tmp_path, *sizes).exit_code == 0
    other = trainguard("datagen", tmp_path, *sizes[:-1], "4")
    assert other.exit_code == 1
    assert "holds other questions" in other.output


def test_benchmark_and_generate_ask_a_model_with_its_adapter(plain: tuple[Path, Result]):
    folder, _ = plain
    model = json.loads((folder / "settings.json").read_bytes())["model"]
    said = trainguard("generate", "Convert 6 kg to gram.", "--model", model, "--adapter", folder)
    assert said.exit_code == 0, said.output
    assert said.output.splitlines()[-1].startswith("  = ")
    data = folder / "data" / "test.json"
    words = ("--model", model, "--adapter", folder, "--data", data, "--limit", "12")
    scored = trainguard("benchmark", *words, "--wrong")
    assert scored.exit_code == 0, scored.output
    assert "(n=12)" in scored.output.splitlines()[-1] or "(n=12)" in scored.output
