"""`trainguard check` where the log of a training is all there is."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from transformers import Trainer

from trainguard.cli import main

import tiny

#: The log of a run whose float16 weights overflowed, as transformers 4 printed it, and of the
#: same run once it was trained in float32.
FAULTY = """\
{'loss': 0.0, 'grad_norm': nan, 'learning_rate': 0.00018125, 'epoch': 0.31}
{'loss': 0.0, 'grad_norm': nan, 'learning_rate': 0.00016041666666666667, 'epoch': 0.62}
{'loss': 0.0, 'grad_norm': nan, 'learning_rate': 0.00013958333333333333, 'epoch': 0.94}
benchmark_result.accuracy=1.0  benchmark_result.answer_rate=1.0
"""
REPAIRED = """\
{'loss': 2.2788, 'grad_norm': 1.9252, 'learning_rate': 0.00018, 'epoch': 0.01}
{'loss': 2.3272, 'grad_norm': 2.8629, 'learning_rate': 0.00014, 'epoch': 0.02}
{'loss': 1.4994, 'grad_norm': 1.6986, 'learning_rate': 0.0001,  'epoch': 0.02}
{'loss': 1.5012, 'grad_norm': 1.8542, 'learning_rate': 6e-05,   'epoch': 0.03}
{'loss': 1.8479, 'grad_norm': 1.4939, 'learning_rate': 2e-05,   'epoch': 0.04}
"""


def run(*arguments: object, stdin: str | bytes | None = None) -> Result:
    return CliRunner().invoke(main, [str(a) for a in arguments], input=stdin)


def judged(*arguments: object, stdin: str | None = None) -> dict[str, Any]:
    result = run("check", *arguments, "--output-format", "json", stdin=stdin)
    report: dict[str, Any] = json.loads(result.output)
    assert result.exit_code == report["summary"]["exit_code"]
    return report


def codes(report: dict[str, Any], *, causes: bool = True) -> list[str]:
    return [f["code"] for f in report["findings"] if causes is not bool(f["explained_by"])]


def line(loss: object, norm: object, rate: object, epoch: object) -> str:
    return (
        f"{{'loss': '{loss}', 'grad_norm': '{norm}', 'learning_rate': '{rate}', "
        f"'epoch': '{epoch}'}}\n"
    )


def test_pasted_lines_of_a_hidden_nan_name_the_cause_the_line_and_the_setting() -> None:
    result = run("check", "-", stdin=FAULTY)

    assert result.exit_code == 1
    assert result.output.startswith("error[TG501] hidden-nan-loss: log line 1: the loss is NaN")
    assert "(3 of 3 log lines)\n  --> <stdin>:1\n > 1 | logged 0.0 " in result.output
    assert "help: set logging_nan_inf_filter=False" in result.output
    assert "  = explains TG401 nonfinite-gradients: log line 1: " in result.output
    assert "step 1" not in result.output
    assert "2 errors, 1 cause" in result.output


def test_pasted_lines_of_a_repaired_run_are_clean_and_what_only_a_live_run_shows_is_said() -> None:
    result = run("check", "-", "-v", stdin=REPAIRED)

    assert result.exit_code == 0
    assert "Looked at 1 training log: no finding" in result.output
    assert "TG501: needs the live loss; a log alone cannot tell" in result.output
    assert "TG201, TG202, TG203" in result.output


def test_both_pasted_together_are_two_runs() -> None:
    report = judged("-", stdin=FAULTY + REPAIRED)

    assert [s["kind"] for s in report["summary"]["subjects"]] == ["training log"] * 2
    assert codes(report) == ["TG501"]
    assert report["findings"][0]["subject"] == "<stdin> (run 1 of 2)"
    assert report["findings"][0]["location"]["line"] == 1


def test_nothing_on_standard_input_is_status_3() -> None:
    for stdin in ("", "hello\n", b"\x00\xff\xfe" * 1000):
        assert run("check", "-", stdin=stdin).exit_code == 3


def test_a_closed_standard_input_is_a_usage_error() -> None:
    command = f"{sys.executable} -m trainguard check - <&-"
    result = subprocess.run(command, shell=True, capture_output=True, text=True, check=False)

    assert result.returncode == 2
    assert "standard input is closed" in result.stderr
    assert "Traceback" not in result.stderr


def test_standard_input_and_files_are_judged_together(tmp_path: Path) -> None:
    (tmp_path / "train.log").write_text(REPAIRED)
    report = judged(tmp_path / "train.log", "-", stdin=FAULTY)
    subjects = [subject["name"] for subject in report["summary"]["subjects"]]

    assert subjects == [str(tmp_path / "train.log"), "<stdin>"]
    assert {finding["subject"] for finding in report["findings"]} == {"<stdin>"}


HEALTHY = {
    # A linear warm-up begins at zero; older versions log the rate of the next step, zero at last.
    "warm-up and end": line(2.0, 1.0, 0, 0.1) + line(1.9, 1.0, 1e-4, 0.2) + line(1.8, 1.0, 0, 0.3),
    "on-policy GRPO": "".join(line(0, 1.7 + n, 1e-6, n) for n in range(20)),
    "DPO in warm-up": "".join(line(0.6931, 1.7 + n, n * 1e-9, n) for n in range(20)),
    "float16 scaler": line(2.0, "inf", 0, 0.1) + line(2.1, "nan", 0, 0.2) + line(2.0, 1, 1e-4, 0.3),
    "layer-wise": "".join(line(3 - n / 10, 0, 1e-4, n) for n in range(20)),
    "float16 scaler at the end": line(2.0, 1.0, 1e-4, 0.1) + line(2.0, "inf", 1e-4, 0.2),
}
FAULTY_LOGS = {
    "frozen": ("".join(line(6.01, 0, 1e-4, n) for n in range(3)), ["TG402"]),
    "frozen, long": ("".join(line(6 + n % 3 / 10, 0, 1e-4, n) for n in range(20)), ["TG402"]),
    "no label": ("".join(line(0, 0, 1e-4, n) for n in range(12)), ["TG503"]),
    "stated nan": (line(2.0, 1, 1e-4, 0.1) + line("nan", "nan", 1e-4, 0.2), ["TG502"]),
    "rate zero": ("".join(line(2 + n / 7, 1, 0, n) for n in range(8)), ["TG504"]),
    "constant": ("".join(line(2.303, 1 + n, 1e-4, n) for n in range(12)), ["TG503"]),
    "in a window": (line(5.612, "nan", 1e-4, 0.1) + line(0, "nan", 1e-4, 0.2), ["TG401"]),
}


@pytest.mark.parametrize("log", HEALTHY.values(), ids=HEALTHY)
def test_a_healthy_log_that_looks_odd_is_clean(log: str) -> None:
    assert judged("-", "--select", "TG4,TG501,TG502,TG503,TG504", stdin=log)["findings"] == []


@pytest.mark.parametrize(("log", "expected"), FAULTY_LOGS.values(), ids=FAULTY_LOGS)
def test_each_fault_that_a_log_shows_is_named(log: str, expected: list[str]) -> None:
    log_of_steps = "".join(
        f"{text}\r 10%|#  | {number}/99 [00:00<00:00, 1.0it/s]\n"
        for number, text in enumerate(log.splitlines(), 1)
    )
    report = judged("-", "--select", "TG4,TG501,TG502,TG503,TG504", stdin=log_of_steps)

    assert codes(report) == expected
    assert all(finding["location"]["line"] for finding in report["findings"])
    assert all(finding["location"]["step"] for finding in report["findings"])


@pytest.mark.parametrize("code", ["TG201", "TG202", "TG203", "TG301", "TG403", "TG501"])
def test_what_only_a_live_run_shows_is_said_with_its_reason(code: str) -> None:
    report = judged("-", stdin=REPAIRED)
    reasons = {entry["code"]: entry["reason"] for entry in report["not_checked"]}

    assert (
        "a log" in reasons[code] or "not observed" in reasons[code] or "not compar" in reasons[code]
    )


PROGRAM = """\
import sys
sys.path.insert(0, {tests!r})
import pathlib, tiny, transformers, trl
kind = {kind}
trainer = tiny.trainer(tiny.lora(tiny.model()), pathlib.Path({folder!r}), kind, **{options!r})
if {frozen!r}:
    for parameter in trainer.model.parameters():
        parameter.requires_grad_(False)
    trainer.model.enable_input_require_grads()
trainer.train()
"""


def printed(folder: Path, kind: str, *, frozen: bool = False, **options: Any) -> str:
    """What a real run prints, both streams in their order."""
    tests = str(Path(tiny.__file__).parent)
    options = {"max_steps": 12, "disable_tqdm": False, **options}
    program = PROGRAM.format(
        tests=tests, kind=kind, folder=str(folder), options=options, frozen=frozen
    )
    result = subprocess.run(
        [sys.executable, "-u", "-c", program],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=True,
    )
    return result.stdout.decode()


@pytest.mark.parametrize(
    ("kind", "bars"),
    [("transformers.Trainer", True), ("transformers.Trainer", False), ("trl.SFTTrainer", True)],
)
def test_what_a_healthy_run_prints_is_clean(tmp_path: Path, kind: str, bars: bool) -> None:
    log = tmp_path / "train.log"
    log.write_text(printed(tmp_path / "out", kind, disable_tqdm=not bars))
    report = judged(log)

    assert report["findings"] == []
    assert [subject["kind"] for subject in report["summary"]["subjects"]] == ["training log"]


def test_what_a_run_with_a_hidden_nan_prints_names_its_step(tmp_path: Path) -> None:
    output = printed(tmp_path / "out", "tiny.poisoned(from_step=3)", save_strategy="no")
    report = judged("-", stdin=output)
    place = report["findings"][0]["location"]

    assert codes(report) == ["TG501"]
    assert place["step"] == 3
    assert "'grad_norm': 'nan'" in output.split("\n")[place["line"] - 1]


def test_what_a_frozen_run_prints_is_a_zero_gradient(tmp_path: Path) -> None:
    report = judged("-", stdin=printed(tmp_path / "out", "trl.SFTTrainer", frozen=True))

    assert codes(report) == ["TG402"]
    assert report["findings"][0]["location"]["step"] == 1


def test_a_run_and_its_console_log_in_one_folder_are_judged_once(tmp_path: Path) -> None:
    out = tmp_path / "out"
    options = {"save_strategy": "steps", "save_steps": 3}
    tiny.trainer(tiny.lora(tiny.model()), out, Trainer, **options).train()
    (out / "train.log").write_text(FAULTY)
    (out / "logs").mkdir()
    (out / "logs" / "train.log").write_text(FAULTY)
    report = judged(tmp_path)

    assert report["findings"] == []
    assert {s["kind"] for s in report["summary"]["subjects"]} == {"training run", "adapter"}


def test_logs_without_a_run_are_found_and_other_files_are_not(tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "train.log").write_text(FAULTY)
    (tmp_path / "logs" / "server.log").write_text("GET / 200\n")
    (tmp_path / "data.jsonl").write_text('{"text": "a", "loss": 1.0}\n')
    (tmp_path / "notes.md").write_text(FAULTY)
    report = judged(tmp_path)

    assert [s["name"] for s in report["summary"]["subjects"]] == [
        str(tmp_path / "logs" / "train.log")
    ]
    named = judged(tmp_path / "data.jsonl")  # texts with a column of losses are a data set
    assert [s["kind"] for s in named["summary"]["subjects"]] == ["data set"]
    assert run("check", tmp_path / "notes.md").exit_code == 1
