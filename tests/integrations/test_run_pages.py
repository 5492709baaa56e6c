"""The page that a run leaves, and the runs that a report draws."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from trainguard import TrainGuardCallback, check, watch
from trainguard.facts.steps import StepFacts
from trainguard.findings import Report, Subject
from trainguard.integrations import run_pages
from trainguard.integrations.run_pages import runs_of, write_page

import tiny


def test_a_live_run_leaves_a_page_and_the_command_can_draw_it_again(tmp_path: Path) -> None:
    tiny.trainer(tiny.lora(tiny.model()), tmp_path, callbacks=[TrainGuardCallback()]).train()
    page = (tmp_path / "trainguard" / "report.html").read_text(encoding="utf-8")
    (run,) = runs_of(check(tmp_path))

    assert "No finding" in page
    assert 'id="run-1-loss"' in page
    assert [step.step for step in run.steps] == [1, 2, 3, 4, 5, 6]
    assert {name for step in run.layers for name in step.names} == {
        "model.layers.0",
        "model.layers.1",
    }


def test_so_does_a_loop(tmp_path: Path) -> None:
    model = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.Linear(4, 1))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with watch(model, optimizer, output_dir=tmp_path):
        for _ in range(3):
            model(torch.ones(2, 4)).square().mean().backward()
            optimizer.step()
            optimizer.zero_grad()
    (run,) = runs_of(check(tmp_path))

    assert (tmp_path / "trainguard" / "report.html").is_file()
    assert [(step.step, step.names) for step in run.layers] == [(n, ("0", "1")) for n in (1, 2, 3)]


def test_a_page_that_cannot_be_written_costs_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: object) -> None:
        raise RuntimeError("no page today")

    monkeypatch.setattr(run_pages, "write_page", fail)
    guard = TrainGuardCallback()
    tiny.trainer(tiny.model(), tmp_path, callbacks=[guard], max_steps=2).train()

    assert guard.report.findings == ()
    assert json.loads((tmp_path / "trainguard" / "report.json").read_text())["findings"] == []
    assert not (tmp_path / "trainguard" / "report.html").exists()


def test_of_a_very_long_record_the_last_steps_are_drawn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "steps.jsonl").write_text('{"kind": "step", "step": 1, "loss": 7.5}\n' * 9)
    report = Report(subjects=(Subject("run", "training run"),))
    recent = [StepFacts(step=number, loss=2.0) for number in (41, 42)]
    write_page(report, tmp_path, recent)
    assert "7.5" in (tmp_path / "report.html").read_text()

    monkeypatch.setattr(run_pages, "READ_AT_ONCE", 10)
    write_page(report, tmp_path, recent)
    assert "step 41" in (tmp_path / "report.html").read_text()


def test_a_bare_trainer_state_has_curves_and_no_layers(tmp_path: Path) -> None:
    history = [{"step": n, "loss": 2.0, "grad_norm": 1.0, "learning_rate": 0.1} for n in (1, 2)]
    (tmp_path / "trainer_state.json").write_text(json.dumps({"log_history": history}))
    by_folder, by_file = (
        runs_of(check(path)) for path in (tmp_path, tmp_path / "trainer_state.json")
    )

    assert [step.logged_loss for step in by_folder[0].steps] == [2.0, 2.0]
    assert by_folder[0].layers == ()
    assert by_folder[0].steps == by_file[0].steps


@pytest.mark.parametrize("name", ["gone", "", "a\0b", "x" * 5000])
def test_a_run_whose_record_is_gone_is_not_drawn(name: str) -> None:
    assert runs_of(Report(subjects=(Subject(name, "training run"),))) == []


def test_only_training_runs_are_drawn(tmp_path: Path) -> None:
    (tmp_path / "trainer_state.json").write_text(json.dumps({"log_history": []}))

    assert runs_of(Report(subjects=(Subject(str(tmp_path), "adapter"),))) == []
