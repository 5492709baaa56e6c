"""Findings in TensorBoard, W&B, MLflow and Trackio, of real runs that report to them.

The last three are in the extra `trackers`; without it their tests are skipped.
"""

from __future__ import annotations

import logging
import os
import random
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch.utils.tensorboard import SummaryWriter
from transformers.integrations import TensorBoardCallback

from trainguard import TrainGuardCallback, TrainGuardError, watch
from trainguard.findings import Finding, Report, Severity, Subject
from trainguard.integrations import deliveries
from trainguard.integrations.trackers import MAX_TITLE, MLflow, Trackers, of_objects, of_process

import tiny

HERE = Path(__file__).parent
FAULT = "the loss is nan, the log says 0.0"


def nan_run(folder: Path, **options: Any) -> TrainGuardCallback:
    """Six steps, the loss is NaN from the third on; returns the callback that watched them."""
    guard = TrainGuardCallback(**options.pop("guard", {}))
    callbacks = [guard, *options.pop("callbacks", [])]
    kind = tiny.poisoned(from_step=3)
    tiny.trainer(tiny.lora(tiny.model()), folder, kind, callbacks=callbacks, **options).train()
    return guard


def nan_loop(**options: Any) -> Report:
    """Three steps of a plain loop, the loss is NaN in the third."""
    model = tiny.lora(tiny.model())
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    ids = torch.arange(3, 15).repeat(4, 1)
    with watch(model, optimizer, **options) as guard:
        for step in (1, 2, 3):
            loss = model(input_ids=ids, labels=ids).loss
            (loss * float("nan") if step == 3 else loss).backward()
            optimizer.step()
            optimizer.zero_grad()
    return guard.report


def events(folder: Path) -> EventAccumulator:
    accumulator = EventAccumulator(str(next(folder.rglob("events.out.*")).parent))
    return accumulator.Reload()


def texts(folder: Path) -> dict[str, list[tuple[int, str]]]:
    """By tag, the step and the text of each entry of trainguard's."""
    read = events(folder)
    tags = [tag for tag in read.Tags()["tensors"] if tag.startswith("trainguard/")]
    return {
        tag.removeprefix("trainguard/").removesuffix("/text_summary"): [
            (event.step, event.tensor_proto.string_val[0].decode()) for event in read.Tensors(tag)
        ]
        for tag in tags
    }


def scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    read = events(folder)
    timings = ("runtime", "per_second", "total_flos")
    return {
        tag: [(event.step, event.value) for event in read.Scalars(tag)]
        for tag in read.Tags()["scalars"]
        if not any(timing in tag for timing in timings)
    }


def test_tensorboard_shows_each_cause_once_at_its_step_and_the_report(tmp_path: Path) -> None:
    nan_run(tmp_path, report_to="tensorboard")
    shown = texts(tmp_path)

    assert set(shown) == {"TG501", "report"}
    [(step, cause)] = shown["TG501"]
    assert step == 3
    assert FAULT in cause
    assert "explains TG401 nonfinite-gradients" in cause
    assert all(line.startswith("    ") for line in cause.splitlines())
    [(_, report)] = shown["report"]
    assert "Looked at 1 training run: 3 errors, 1 cause" in report


def test_the_scalars_of_tensorboard_are_those_of_an_unwatched_run(tmp_path: Path) -> None:
    nan_run(tmp_path / "watched", report_to="tensorboard")
    kind = tiny.poisoned(from_step=3)
    model = tiny.lora(tiny.model())
    tiny.trainer(model, tmp_path / "plain", kind, report_to="tensorboard").train()

    plain, watched = scalars(tmp_path / "plain"), scalars(tmp_path / "watched")
    assert plain["train/loss"][0][1] > 0
    assert repr(plain) == repr(watched)  # NaN differs from itself, its text does not


def test_a_healthy_run_shows_that_it_was_looked_at(tmp_path: Path) -> None:
    guard = TrainGuardCallback()
    tiny.trainer(tiny.model(), tmp_path, callbacks=[guard], report_to="tensorboard").train()
    shown = texts(tmp_path)

    assert set(shown) == {"report"}
    assert "no finding" in shown["report"][0][1]


@pytest.mark.parametrize(
    "options", [{"report_to": "none"}, {"report_to": "tensorboard", "guard": {"trackers": ()}}]
)
def test_a_tracker_that_was_not_asked_for_is_not_told(
    options: dict[str, Any], tmp_path: Path
) -> None:
    assert nan_run(tmp_path, **options).report.findings
    assert not any(texts(folder.parent) for folder in tmp_path.rglob("events.out.*"))


def test_a_reporter_that_is_added_behind_the_callback_is_found(tmp_path: Path) -> None:
    with SummaryWriter(str(tmp_path / "late")) as writer:
        nan_run(tmp_path, callbacks=[TensorBoardCallback(writer)])

    assert set(texts(tmp_path / "late")) == {"TG501", "report"}


def test_a_run_that_is_ended_by_its_finding_has_been_told_before(tmp_path: Path) -> None:
    with pytest.raises(TrainGuardError):
        nan_run(tmp_path, report_to="tensorboard", guard={"on_finding": "raise"})

    assert {"report"} < set(texts(tmp_path))


def test_a_loop_tells_the_writer_that_it_is_given_and_leaves_it_open(tmp_path: Path) -> None:
    with SummaryWriter(str(tmp_path)) as writer:
        report = nan_loop(trackers=[writer])
        writer.add_scalar("afterwards", 1.0, 7)

    assert [cause.code for cause in report.causes] == ["TG502"]
    assert [step for step, _ in texts(tmp_path)["TG502"]] == [3]
    assert scalars(tmp_path) == {"afterwards": [(7, 1.0)]}


def test_another_rank_than_the_first_tells_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trainguard.integrations.loop._rank", lambda: 1)
    told: list[Report] = []
    with SummaryWriter(str(tmp_path)) as writer:
        assert nan_loop(trackers=[writer], notify=told.append).findings

    assert texts(tmp_path) == {}
    assert told == []


def test_of_two_processes_of_a_trainer_one_tells(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    result = subprocess.run(
        [*command, "--nproc_per_node", "2", str(HERE / "told_run.py"), str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(HERE.parent)},
    )

    assert result.returncode == 0, result.stderr
    assert (tmp_path / "told").read_text().split() == ["TG501"]
    assert {tag: len(entries) for tag, entries in texts(tmp_path).items()} == {
        "TG501": 1,
        "report": 1,
    }


class Broken:
    """A writer that fails, and draws from the run's random numbers before it does."""

    def __init__(self) -> None:
        self.calls = 0

    def add_text(self, tag: str, said: str, step: int) -> None:
        self.calls += 1
        random.random()
        raise ConnectionError("https://user:secret@host")


def test_a_tracker_that_fails_is_noted_once_and_the_others_are_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    broken = Broken()
    nan_loop(trackers=())
    untold = random.getstate()
    with SummaryWriter(str(tmp_path)) as writer, caplog.at_level(logging.WARNING, "trainguard"):
        report = nan_loop(trackers=[broken, writer])

    assert broken.calls == 2
    assert random.getstate() == untold
    assert set(texts(tmp_path)) == {"TG502", "report"}
    assert caplog.text.count("could not tell TensorBoard: ConnectionError") == 1
    assert "secret" not in caplog.text
    assert "TG000" not in {finding.code for finding in report.findings}


def test_what_is_no_tracker_is_refused_at_once() -> None:
    with pytest.raises(TypeError, match="str is no tracker that is known"):
        TrainGuardCallback(trackers=["wandb"])


def test_looking_for_active_trackers_loads_none() -> None:
    before = set(sys.modules)

    assert list(of_process()) == []
    assert set(sys.modules) == before


class Slow:
    """A tracker behind a network that hangs."""

    name = "Slow"
    is_slow = True

    def __init__(self) -> None:
        self.answer = threading.Event()
        self.told: list[str] = []

    def announce(self, cause: Finding, said: str) -> None:
        self.answer.wait(30)
        self.told.append(cause.code)

    def end(self, report: Report, said: str) -> None:
        self.answer.wait(30)


def report_of(*findings: Finding) -> Report:
    return Report(findings=findings, subjects=(Subject("out", "training run"),))


def finding(code: str, **options: Any) -> Finding:
    return Finding("it broke", code=code, name="broken-thing", scope="out", **options)


def test_training_does_not_wait_for_a_slow_tracker_and_its_end_not_for_ever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(deliveries.Deliveries.wait, "__defaults__", (0.2,))
    slow = Slow()
    trackers = Trackers(lambda: [("slow", slow)])

    began = time.monotonic()
    trackers.announce(report_of(finding("TG501")))
    assert time.monotonic() - began < 0.2
    trackers.end(report_of(finding("TG501")))
    assert 0.2 <= time.monotonic() - began < 10
    assert slow.told == []
    slow.answer.set()


class Told:
    """A tracker that remembers."""

    name = "Told"
    is_slow = False

    def __init__(self) -> None:
        self.causes: list[tuple[str, str]] = []

    def announce(self, cause: Finding, said: str) -> None:
        self.causes.append((cause.code, said))

    def end(self, report: Report, said: str) -> None:
        self.causes.append(("end", said))


def test_findings_of_one_code_are_one_message_with_their_own_symptoms() -> None:
    told = Told()
    first, second = finding("TG402"), finding("TG501")
    symptom = finding("TG401", explained_by=("TG501",))
    twin = finding("TG402", severity=Severity.WARNING)
    Trackers(lambda: [("told", told)]).announce(report_of(first, second, twin, symptom))

    assert [code for code, _ in told.causes] == ["TG402", "TG501"]
    assert told.causes[0][1].count("[TG402]") == 2
    assert "TG401" not in told.causes[0][1]
    assert "explains TG401" in told.causes[1][1]


# ---- trackers that may not be installed


@pytest.fixture
def wandb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    module = pytest.importorskip("wandb")
    for name, value in {"MODE": "offline", "DIR": str(tmp_path), "SILENT": "true"}.items():
        monkeypatch.setenv(f"WANDB_{name}", value)
    yield module
    module.finish()


def wandb_records(folder: Path) -> Iterator[Any]:
    """What an offline run has written: blocks of a LevelDB log with one protobuf a record."""
    import wandb
    from wandb.proto import wandb_internal_pb2

    wandb.teardown()  # its service still writes when a run is finished
    raw = next(folder.rglob("*.wandb")).read_bytes()
    at, whole = 7, b""
    while at + 7 <= len(raw):
        left = 32768 - at % 32768
        if left < 7:
            at += left
            continue
        length, kind = struct.unpack("<HB", raw[at + 4 : at + 7])
        whole += raw[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # a whole record, or the last piece of one
            record = wandb_internal_pb2.Record()
            record.ParseFromString(whole)
            yield record
            whole = b""


def test_wandb_gets_an_alert_and_a_summary_and_keeps_its_steps(wandb: Any, tmp_path: Path) -> None:
    nan_run(tmp_path / "out", report_to="wandb")
    summary = dict(wandb.run.summary)
    wandb.finish()
    records = list(wandb_records(tmp_path))

    [alert] = [record.alert for record in records if record.HasField("alert")]
    assert (alert.title, alert.level) == ("TG501 hidden-nan-loss", "ERROR")
    assert FAULT in alert.text
    assert summary["trainguard/errors"] == 3
    assert summary["trainguard/causes"] == 1
    assert "hidden-nan-loss" in summary["trainguard/TG501"]
    assert "Looked at 1 training run" in summary["trainguard/report"]
    rows = [record.history for record in records if record.HasField("history")]
    assert [row.step.num for row in rows] == list(range(7))  # six steps and the summary of training
    assert not any("trainguard" in str(row) for row in rows)


def test_a_loop_tells_the_run_of_wandb_that_is_active(wandb: Any, tmp_path: Path) -> None:
    with wandb.init(project="p") as run:
        nan_loop()
        assert run.summary["trainguard/causes"] == 1


def test_an_alert_of_wandb_has_a_title_that_it_takes(wandb: Any, tmp_path: Path) -> None:
    long = Finding("it broke", code="TG501", name="x" * 100)
    with wandb.init(project="p", dir=tmp_path) as run:
        [(_, tracker)] = of_objects([run])
        tracker.announce(long, "text")

    [alert] = [record.alert for record in wandb_records(tmp_path) if record.HasField("alert")]
    assert len(alert.title) == MAX_TITLE < 64


@pytest.fixture
def mlflow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    module = pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    module.set_tracking_uri(f"file://{tmp_path}/mlflow")
    yield module
    module.end_run()


def test_mlflow_gets_tags_and_the_report_though_the_trainer_has_ended_its_run(
    mlflow: Any, tmp_path: Path
) -> None:
    nan_run(tmp_path / "out", report_to="mlflow")
    assert mlflow.active_run() is None
    [run] = mlflow.search_runs(output_format="list")

    tags = {key: value for key, value in run.data.tags.items() if key.startswith("trainguard")}
    assert tags["trainguard.errors"] == "3"
    assert tags["trainguard.TG501"].startswith("error hidden-nan-loss: step 3:")
    assert run.info.status == "FINISHED"
    assert not any("trainguard" in name for name in run.data.metrics)
    text = mlflow.artifacts.load_text(f"{run.info.artifact_uri}/trainguard/report.txt")
    assert FAULT in text


def test_a_loop_tells_the_run_of_mlflow_that_is_active(mlflow: Any) -> None:
    with mlflow.start_run() as run:
        nan_loop()

    assert mlflow.get_run(run.info.run_id).data.tags["trainguard.causes"] == "1"


def test_a_server_of_mlflow_that_is_gone_does_not_hold_up_the_run(
    mlflow: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    mlflow.set_tracking_uri("http://127.0.0.1:9")
    tracker = MLflow("0" * 32)
    trackers = Trackers(lambda: [("gone", tracker)])
    with caplog.at_level(logging.WARNING, "trainguard"):
        trackers.announce(report_of(finding("TG501")))
        trackers.end(report_of(finding("TG501")))

    assert caplog.text.count("could not tell MLflow") == 1


@pytest.fixture
def trackio(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))
    module = pytest.importorskip("trackio")
    for name, loaded in list(sys.modules.items()):  # it may have been loaded, by TRL, before
        if name.startswith("trackio") and hasattr(loaded, "TRACKIO_DIR"):
            monkeypatch.setattr(loaded, "TRACKIO_DIR", tmp_path / "trackio")
    yield module
    if module.context_vars.current_run.get() is not None:
        module.finish()


def test_trackio_gets_an_alert_for_the_cause_and_one_for_the_report(
    trackio: Any, tmp_path: Path
) -> None:
    nan_run(tmp_path / "out", report_to="trackio", project="told-by-trainer")
    alerts = trackio.Api().alerts("told-by-trainer")

    found = {alert["title"]: (alert["level"], alert["text"]) for alert in alerts}
    assert len(alerts) == 2
    level, text = found["TG501 hidden-nan-loss"]
    assert level == "error"
    assert FAULT in text
    assert found["trainguard: TG501"][0] == "info"


def test_a_loop_tells_the_run_of_trackio_that_is_active(trackio: Any) -> None:
    trackio.init(project="told-by-loop", embed=False)
    nan_loop()
    trackio.finish()

    titles = {alert["title"] for alert in trackio.Api().alerts("told-by-loop")}
    assert titles == {"TG502 nonfinite-loss", "trainguard: TG502"}
