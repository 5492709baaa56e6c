"""An error is sent to a webhook, a command or a function while the run goes on."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from trainguard import TrainGuardCallback, TrainGuardError, watch
from trainguard.findings import Finding, Report, Severity, Subject
from trainguard.integrations import notify
from trainguard.integrations.notify import MAX_TEXT, Notifier, message, sender

import tiny

#: Reads the report from standard input and writes it to the file that it is given.
KEEP = "import sys; open(sys.argv[1], 'w', encoding='utf-8').write(sys.stdin.read())"


@pytest.fixture(autouse=True)
def _nobody_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TRAINGUARD_NOTIFY", raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


class Webhook:
    """A server on this machine that keeps what is posted to it."""

    def __init__(self, status: int, seconds: float) -> None:
        self.posted: list[tuple[str, dict[str, Any]]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                outer.posted.append((self.headers["Content-Type"], json.loads(body)))
                time.sleep(seconds)
                self.send_response(status)
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/services/secret-token"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def webhook() -> Iterator[Callable[..., Webhook]]:
    servers: list[Webhook] = []

    def start(*, status: int = 200, seconds: float = 0.0) -> Webhook:
        servers.append(Webhook(status, seconds))
        return servers[-1]

    yield start
    for one in servers:
        one.server.shutdown()
        one.server.server_close()


def loop(factor: float = float("nan"), steps: int = 4, **options: Any) -> Report:
    """A plain loop whose loss is multiplied from the third step on."""
    model = tiny.lora(tiny.model())
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.01)
    ids = torch.arange(3, 15).repeat(4, 1)
    with watch(model, optimizer, **options) as guard:
        for step in range(1, steps + 1):
            loss = model(input_ids=ids, labels=ids).loss
            (loss * factor if step >= 3 else loss).backward()
            optimizer.step()
            optimizer.zero_grad()
    return guard.report


def report_of(*findings: Finding) -> Report:
    return Report(findings=findings, subjects=(Subject("out", "training run"),))


ERROR = Finding("it broke", code="TG501", name="broken-thing")
WARNING = Finding("it creaks", code="TG402", name="creaking", severity=Severity.WARNING)


def test_a_webhook_gets_the_text_and_the_report_once(webhook: Callable[..., Webhook]) -> None:
    hook = webhook()
    loop(notify=hook.url)

    [(kind, posted)] = hook.posted
    assert kind == "application/json; charset=utf-8"
    assert posted["text"].startswith("trainguard: PeftModel")
    assert "error[TG502] nonfinite-loss" in posted["text"]
    assert "TG502" in [finding["code"] for finding in posted["report"]["findings"]]


def test_a_trainer_posts_once_per_cause(webhook: Callable[..., Webhook], tmp_path: Path) -> None:
    hook = webhook()
    guard = TrainGuardCallback(notify=hook.url)
    model, kind = tiny.lora(tiny.model()), tiny.poisoned(from_step=3)
    tiny.trainer(model, tmp_path, kind, callbacks=[guard]).train()

    assert ["TG501" in posted["text"] for _, posted in hook.posted] == [True]
    assert str(tmp_path) in hook.posted[0][1]["text"]


def test_a_healthy_run_and_a_warning_notify_nobody() -> None:
    told: list[Report] = []
    loop(factor=1.0, notify=told.append)
    notifier = Notifier(told.append)
    notifier.announce(report_of(WARNING))
    notifier.end(report_of(WARNING))
    assert told == []

    notifier.announce(report_of(ERROR, WARNING))
    notifier.end(report_of(ERROR, WARNING))
    assert [len(report.findings) for report in told] == [2]


def test_the_address_is_in_no_log_record_or_report(
    webhook: Callable[..., Webhook], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    hook = webhook(status=500)
    with caplog.at_level(logging.DEBUG):
        report = loop(notify=hook.url, output_dir=tmp_path)

    assert len(hook.posted) == 1
    assert "could not tell whom notify names: the webhook answered with status 500" in caplog.text
    left = [path.read_text() for path in tmp_path.rglob("*") if path.is_file()]
    assert len(left) >= 2
    for text in (caplog.text, report.to_json(), *left):
        assert "secret-token" not in text


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:9/secret", "http://127.0.0.1:secret/", "http://[secret", "https://"]
)
def test_an_address_that_cannot_be_reached_is_a_line_in_the_log(
    url: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "trainguard"):
        report = loop(notify=url)

    assert caplog.text.count("could not tell whom notify names: the webhook is out of reach") == 1
    assert "secret" not in caplog.text
    assert "TG000" not in {finding.code for finding in report.findings}


def test_training_does_not_wait_for_a_webhook_that_is_slow(
    webhook: Callable[..., Webhook],
) -> None:
    hook = webhook(seconds=1.5)
    notifier = Notifier(sender(hook.url))
    began = time.monotonic()
    notifier.announce(report_of(ERROR))
    assert time.monotonic() - began < 0.5
    notifier.end(report_of(ERROR))
    assert 1.5 <= time.monotonic() - began < 10


def test_a_webhook_that_never_answers_is_given_up(
    webhook: Callable[..., Webhook],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(notify, "WEBHOOK_SECONDS", 0.2)
    notifier = Notifier(sender(webhook(seconds=3.0).url))
    began = time.monotonic()
    with caplog.at_level(logging.WARNING, "trainguard"):
        notifier.announce(report_of(ERROR))
        notifier.end(report_of(ERROR))

    assert time.monotonic() - began < 2.5
    assert "out of reach (TimeoutError)" in caplog.text


def test_a_command_reads_the_report_and_sees_no_shell(tmp_path: Path) -> None:
    kept = tmp_path / "kept; touch hacked $(touch hacked).json"
    loop(notify=[sys.executable, "-c", KEEP, str(kept)])

    assert json.loads(kept.read_text())["findings"][0]["code"] == "TG502"
    assert [path.name for path in tmp_path.iterdir()] == [kept.name]


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ([sys.executable, "-c", "raise SystemExit(3)"], "the command ended with status 3"),
        (["/nowhere/secret"], "the command does not start (FileNotFoundError)"),
        ([sys.executable, "-c", "import time; time.sleep(20)"], "took more than 0.5 s"),
    ],
)
def test_a_command_that_fails_is_a_line_in_the_log(
    command: list[str],
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(notify, "COMMAND_SECONDS", 0.5)
    with caplog.at_level(logging.WARNING, "trainguard"):
        loop(notify=command)

    assert caplog.text.count(said) == 1
    assert "secret" not in caplog.text


def test_a_function_that_raises_ends_nothing(caplog: pytest.LogCaptureFixture) -> None:
    def broken(report: Report) -> None:
        raise RuntimeError("secret")

    with caplog.at_level(logging.WARNING, "trainguard"):
        report = loop(notify=broken)

    assert "could not tell whom notify names: RuntimeError" in caplog.text
    assert "secret" not in caplog.text
    assert [cause.code for cause in report.causes] == ["TG502"]


def test_the_environment_decides_where_the_code_does_not(
    webhook: Callable[..., Webhook], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    hook, told = webhook(), []
    monkeypatch.setenv("TRAINGUARD_NOTIFY", hook.url)
    loop()
    assert len(hook.posted) == 1
    loop(notify=())
    loop(notify=told.append)
    assert (len(hook.posted), len(told)) == (1, 1)

    kept = tmp_path / "with space.json"
    monkeypatch.setenv("TRAINGUARD_NOTIFY", f'"{sys.executable}" -c "{KEEP}" "{kept}"')
    loop()
    assert json.loads(kept.read_text())["summary"]["error"] >= 1


def test_a_variable_that_is_wrong_ends_no_run(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("TRAINGUARD_NOTIFY", "mail 'secret")
    with caplog.at_level(logging.WARNING, "trainguard"):
        assert sender(None) is None

    assert "TRAINGUARD_NOTIFY is neither an http or https URL nor a command" in caplog.text
    assert "secret" not in caplog.text


@pytest.mark.parametrize(
    ("wrong", "error"),
    [("ftp://secret", ValueError), ("mail secret", ValueError), (3, TypeError), ([1], TypeError)],
)
def test_what_can_be_nobody_is_refused_at_once(wrong: Any, error: type[Exception]) -> None:
    with pytest.raises(error) as raised:
        TrainGuardCallback(notify=wrong)
    assert "secret" not in str(raised.value)


def test_an_error_that_ends_the_run_has_been_sent_before(webhook: Callable[..., Webhook]) -> None:
    hook = webhook(seconds=0.3)
    with pytest.raises(TrainGuardError):
        loop(notify=hook.url, on_finding="raise")

    assert len(hook.posted) == 1


def test_an_error_is_sent_though_the_script_ends_by_another_one(tmp_path: Path) -> None:
    """The Trainer calls nobody when an exception ends it, so the interpreter's end waits."""
    kept = tmp_path / "kept.json"
    slow = f"import time; time.sleep(0.5); {KEEP}"
    script = f"""
import sys, tiny
from transformers import TrainerCallback
from trainguard import TrainGuardCallback

class Crash(TrainerCallback):
    def on_step_end(self, args, state, control, **_):
        if state.global_step == 4:
            raise MemoryError

guard = TrainGuardCallback(notify=[sys.executable, "-c", {slow!r}, {str(kept)!r}])
model, kind = tiny.lora(tiny.model()), tiny.poisoned(from_step=3)
tiny.trainer(model, {str(tmp_path)!r}, kind, callbacks=[guard, Crash()]).train()
"""
    ended = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(Path(tiny.__file__).parent)},
    )

    assert "MemoryError" in ended.stderr
    assert json.loads(kept.read_text())["findings"][0]["code"] == "TG501"


@given(st.text(), st.text(max_size=20))
def test_no_name_in_a_message_is_a_command_to_the_chat(text: str, name: str) -> None:
    said = message(report_of(Finding(text + "<!channel> ```", code="TG501", name=name)))

    assert "<" not in said
    assert ">" not in said
    assert said.count("```") == 2


def test_a_long_message_is_cut() -> None:
    findings = [Finding("x" * 100, code="TG501", name=str(number)) for number in range(100)]
    said = message(report_of(*findings))

    assert MAX_TEXT <= len(said) < MAX_TEXT + 200
    assert said.endswith("...\n```")


def test_what_sends_does_not_show_where() -> None:
    assert isinstance(sender("https://host/secret"), partial)
    assert "secret" not in repr(Notifier(sender("https://host/secret")))
