"""The command line as users and CI see it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner, Result
from transformers import Trainer

from trainguard import TrainGuardCallback
from trainguard.cli import main
from trainguard.registry import all_checks

import tiny


def run(*arguments: object, **environment: str) -> Result:
    return CliRunner().invoke(main, [str(a) for a in arguments], env=environment)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Real adapters: healthy, untrained, with one NaN; and a run that went wrong."""
    top = tmp_path_factory.mktemp("project")
    model = tiny.lora(tiny.model())
    model.save_pretrained(str(top / "untrained"))
    torch.manual_seed(0)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.02)
    model.save_pretrained(str(top / "healthy"))
    broken = model.base_model.model.model.layers[1].self_attn.v_proj.lora_A.default.weight
    with torch.no_grad():
        broken[0, 0] = float("nan")
    model.save_pretrained(str(top / "nan"))
    (top / "empty").mkdir()
    return top


def test_a_healthy_adapter_saved_for_inference_is_clean(folder: Path) -> None:
    config = json.loads((folder / "healthy" / "adapter_config.json").read_text())
    result = run("check", folder / "healthy")

    assert config["inference_mode"] is True
    assert result.exit_code == 0
    assert "no finding" in result.output


def test_an_untrained_adapter_fails(folder: Path) -> None:
    result = run("check", folder / "untrained")

    assert result.exit_code == 1
    assert result.output.startswith("error[TG105] untrained-adapter: ")


def test_a_nan_fails_and_its_tensor_is_named(folder: Path) -> None:
    result = run("check", folder / "nan")

    assert result.exit_code == 1
    assert "error[TG106]" in result.output
    assert "layers.1.self_attn.v_proj.lora_A.weight" in result.output


def test_with_an_intent_to_train_the_way_of_loading_is_information(folder: Path) -> None:
    result = run("check", folder / "healthy", "--for", "train")

    assert result.exit_code == 0
    assert "info[TG109]" in result.output
    assert "is_trainable=True" in result.output
    assert run("check", folder / "healthy", "--for", "infer").output.count("TG109") == 0


def test_nothing_recognised_is_status_3(folder: Path) -> None:
    result = run("check", folder / "empty")

    assert result.exit_code == 3
    assert "Nothing was recognised" in result.output


@pytest.mark.parametrize(
    "arguments",
    [["does-not-exist"], [".", "--select", "TG999"], [".", "--output-format", "xml"]],
)
def test_a_usage_error_is_status_2(arguments: list[str]) -> None:
    result = run("check", *arguments)

    assert result.exit_code == 2
    assert "Traceback" not in result.output


def test_the_json_of_a_folder_is_complete_and_nothing_else_is_printed(folder: Path) -> None:
    result = run("check", folder, "--output-format", "json")
    report = json.loads(result.output)

    assert result.exit_code == 1
    assert {f["code"] for f in report["findings"]} == {"TG105", "TG106"}
    assert report["summary"]["error"] == 2
    assert [s["kind"] for s in report["summary"]["subjects"]] == ["adapter"] * 3
    assert {e["code"] for e in report["not_checked"]} >= {"TG201", "TG501"}


def test_a_report_goes_to_a_file_and_the_terminal_stays_empty(folder: Path, tmp_path: Path) -> None:
    target = tmp_path / "report.json"
    result = run("check", folder, "--output-format", "json", "-o", target)

    assert result.output == ""
    assert json.loads(target.read_text())["version"] == 1


def test_select_ignore_and_fail_on_decide_the_status(folder: Path) -> None:
    assert run("check", folder, "--select", "TG105,TG101").exit_code == 1
    assert run("check", folder, "--ignore", "TG1").exit_code == 0
    assert run("check", folder, "--fail-on", "never").exit_code == 0


def test_colours_are_for_terminals_and_the_environment_decides(folder: Path) -> None:
    assert "\x1b[" not in run("check", folder).output
    assert "\x1b[" in run("check", folder, FORCE_COLOR="1").output
    assert "\x1b[" not in run("check", folder, FORCE_COLOR="1", NO_COLOR="1").output


def test_a_run_explains_the_adapters_in_its_folder(tmp_path: Path) -> None:
    kind = tiny.poisoned(from_step=2)
    guard = TrainGuardCallback()
    options = {"save_strategy": "steps", "save_steps": 3, "callbacks": [guard]}
    trainer = tiny.trainer(tiny.lora(tiny.model()), tmp_path / "out", kind, **options)
    trainer.train()
    report = json.loads(run("check", tmp_path, "--output-format", "json").output)
    causes = [f["code"] for f in report["findings"] if not f["explained_by"]]
    saved = [f for f in report["findings"] if f["code"] == "TG106"]

    assert causes == ["TG501"]
    assert len(saved) == 2
    assert all("TG501" in finding["explained_by"] for finding in saved)


def test_a_virtual_environment_and_hidden_folders_are_not_walked(tmp_path: Path) -> None:
    for name in (".git", "env"):
        tiny.lora(tiny.model()).save_pretrained(str(tmp_path / name / "adapter"))
    (tmp_path / "env" / "pyvenv.cfg").write_text("")

    assert run("check", tmp_path).exit_code == 3


def test_checks_and_explain_cover_every_check() -> None:
    listing = run("checks").output
    for check in all_checks():
        assert f"{check.code}  {check.name}" in listing
        assert check.summary in run("explain", check.name).output
        assert "## Why is this bad?" in run("explain", check.code.lower()).output


def test_explain_offers_the_nearest_name() -> None:
    result = run("explain", "hidden-nan-los")

    assert result.exit_code == 2
    assert "did you mean hidden-nan-loss" in result.output


def test_the_module_runs_and_a_closed_pipe_is_quiet(folder: Path) -> None:
    command = f"{sys.executable} -m trainguard check {folder} | head -1"
    result = subprocess.run(command, shell=True, capture_output=True, text=True, check=False)

    assert result.stdout.startswith("error[TG1")
    assert result.stderr == ""


def test_neither_import_nor_check_loads_what_it_does_not_need(folder: Path) -> None:
    readers = ("console", "entries", "tables", "tensorboard", "text")
    heavy = {"torch", "numpy", "transformers", "peft", "pydantic", "rich"}
    heavy |= {"trainguard.gather.logs", *(f"trainguard.gather.log_{name}" for name in readers)}
    program = (
        "import sys, trainguard, trainguard.cli\n"
        f"report = trainguard.check({str(folder)!r})\n"
        "assert report.findings\n"
        "assert 'csv' not in sys.modules\n"
        "import trainguard.pytest_plugin\n"  # last: pytest itself imports csv
        f"loaded = {heavy!r} & set(sys.modules)\n"
        "assert not loaded, loaded\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )

    assert result.returncode == 0, result.stderr


def test_a_healthy_run_is_clean_on_disk_too(tmp_path: Path) -> None:
    guard = TrainGuardCallback()
    trainer = tiny.trainer(
        tiny.lora(tiny.model()),
        tmp_path,
        Trainer,
        callbacks=[guard],
        save_strategy="steps",
        save_steps=10,
        max_steps=20,
    )
    trainer.train()

    result = run("check", tmp_path)
    assert result.exit_code == 0, result.output
    assert "1 training run, 2 adapters: no finding" in result.output


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as people have it: two runs, a sweep, an adapter, a model, and other people's."""
    top = tmp_path_factory.mktemp("everything")
    options = {"save_strategy": "steps", "save_steps": 3}
    for name in ("runs/a", "runs/b", "sweep", "sweep/trial-1"):
        tiny.trainer(tiny.lora(tiny.model()), top / name, Trainer, **options).train()
    adapter = tiny.lora(tiny.model(), init_lora_weights=False)
    adapter.save_pretrained(str(top / "adapter"))
    for name in ("model", ".git", "env", "node_modules"):
        tiny.model().save_pretrained(str(top / name), max_shard_size="20KB")
    (top / "env" / "pyvenv.cfg").write_text("")
    (top / "data").mkdir()
    (top / "data" / "model_card.md").write_text("")
    (top / "again").symlink_to(top / "runs")
    return top


def test_a_project_is_walked_once_and_only_its_own(project: Path) -> None:
    report = json.loads(run("check", project, "--output-format", "json").output)
    found = {
        (subject["kind"], str(Path(subject["name"]).relative_to(project)))
        for subject in report["summary"]["subjects"]
    }
    runs = {"runs/a", "runs/b", "sweep", "sweep/trial-1"}

    assert report["findings"] == []
    assert found == {("training run", name) for name in runs} | {
        ("model", "model"),
        ("adapter", "adapter"),
        *(("adapter", f"{name}/checkpoint-{step}") for name in runs for step in (3, 6)),
    }


def test_a_fault_in_one_run_is_not_explained_by_another(project: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        shutil.copytree(project / "runs" / name, tmp_path / name)
    frozen = tmp_path / "a"
    weights = "adapter_model.safetensors"
    shutil.copy(frozen / "checkpoint-3" / weights, frozen / "checkpoint-6")
    (tmp_path / "b" / "checkpoint-6" / "optimizer.pt").unlink()
    report = json.loads(run("check", tmp_path, "--output-format", "json").output)

    assert [(f["code"], f["subject"], f["explained_by"]) for f in report["findings"]] == [
        ("TG130", str(tmp_path / "a"), []),
        ("TG132", str(tmp_path / "b"), []),
    ]


def test_a_checkpoint_and_a_file_of_a_model_can_be_named(project: Path) -> None:
    checkpoint = run("check", project / "runs" / "a" / "checkpoint-3")
    index = run("check", project / "model" / "model.safetensors.index.json")

    assert (checkpoint.exit_code, index.exit_code) == (0, 0)
    assert "1 training run, 1 adapter: no finding" in checkpoint.output
    assert "1 model: no finding" in index.output
    assert run("check", project / "data" / "model_card.md").exit_code == 3


def test_the_checkpoints_of_a_watched_run_are_symptoms_of_its_cause(tmp_path: Path) -> None:
    trained = tiny.lora(tiny.model())
    options = {"save_strategy": "steps", "save_steps": 3, "callbacks": [TrainGuardCallback()]}
    for parameter in trained.parameters():
        parameter.requires_grad_(False)
    trained.enable_input_require_grads()
    tiny.trainer(trained, tmp_path / "out", Trainer, **options).train()
    report = json.loads(run("check", tmp_path, "--output-format", "json").output)
    causes = [f["code"] for f in report["findings"] if not f["explained_by"]]
    symptoms = {f["code"] for f in report["findings"] if "TG201" in f["explained_by"]}

    assert causes == ["TG201"]
    assert {"TG105", "TG130", "TG135"} <= symptoms
