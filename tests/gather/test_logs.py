"""Logs of trainings: every format, real runs' output, hostile content."""

from __future__ import annotations

import io
import json
import math
import os
import struct
import sys
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from trainguard.engine import judge
from trainguard.facts.failure import Failure
from trainguard.facts.steps import StepFacts
from trainguard.gather import log_tensorboard, logs
from trainguard.gather.log_console import console_entries
from trainguard.gather.log_entries import LogEntry
from trainguard.gather.log_files import EVENTS
from trainguard.gather.log_tables import csv_entries, jsonl_entries
from trainguard.gather.log_text import MAX_PIECE, opened, pieces
from trainguard.gather.logs import log_evidence, logs_in, stream_evidence
from trainguard.gather.run import steps_from_logs

#: As a terminal gets them from transformers 5.23 with tqdm 4.
BAR = "\r 50%|█████     | {step}/6 [00:00<00:00, 77.96it/s]"
CLEARED = "\r                                      \r"


def steps_of(content: str | bytes) -> tuple[StepFacts, ...]:
    """The steps of the one run in a console's output."""
    data = content.encode() if isinstance(content, str) else content
    (evidence,) = stream_evidence(io.BytesIO(data), "log")
    steps: tuple[StepFacts, ...] = evidence.facts[StepFacts]
    return steps


def read(path: Path) -> tuple[StepFacts, ...]:
    (evidence,) = log_evidence(path)
    steps: tuple[StepFacts, ...] = evidence.facts[StepFacts]
    return steps


@pytest.mark.parametrize(
    "line",
    [
        # transformers 4 prints the dict itself (trainer_callback.py, ProgressCallback.on_log).
        "{'loss': 2.1, 'grad_norm': 1.5, 'learning_rate': 5e-05, 'epoch': 0.1}",
        "{'loss': '2.1', 'grad_norm': '1.5', 'learning_rate': '5e-05', 'epoch': '0.1'}",
        "{'loss': 2.1, 'grad_norm': np.float64(1.5), 'learning_rate': 5e-05, 'epoch': 0.1}",
        "{'loss': 2.1, 'grad_norm': tensor(1.5, device='cuda:0'), 'learning_rate': 5e-05, "
        "'epoch': 0.1}",
        "[INFO|trainer.py:2] 2026-01-01 >> {'loss': 2.1, 'reward': None, 'grad_norm': 1.5, "
        "'learning_rate': 5e-05, 'epoch': 0.1}   ",
        '{"loss": 2.1, "grad_norm": 1.5, "learning_rate": 5e-05, "epoch": 0.1}',
        "{\"log\": \"{'loss': 2.1, 'grad_norm': 1.5, 'learning_rate': 5e-05, 'epoch': 1}\", "
        '"stream": "stdout"}',
        "\x1b[32m{'loss': 2.1, 'grad_norm': 1.5, 'learning_rate': 5e-05, 'epoch': 0.1}\x1b[0m",
    ],
)
def test_a_line_is_read_in_every_way_it_is_printed(line: str) -> None:
    (step,) = steps_of(f"Loading\n\n{line}\n")

    assert (step.logged_loss, step.grad_norm, step.learning_rates) == (2.1, 1.5, (5e-05,))
    assert (step.name, step.line) == ("log line 3", 3)


@pytest.mark.parametrize("text", ["nan", "'nan'", "NaN", "inf", "-inf", "Infinity"])
def test_a_number_that_is_none_is_kept(text: str) -> None:
    (step,) = steps_of(f"{{'loss': 0.0, 'grad_norm': {text}, 'epoch': 0.1}}")

    assert step.grad_norm is not None
    assert not math.isfinite(step.grad_norm)


@pytest.mark.parametrize(
    "line",
    [
        "{'train_runtime': 6.1, 'train_loss': 2.99, 'epoch': 1.0}",
        "{'loss': 2.1}",
        "{'loss': True, 'epoch': 1}",
        "{'loss': 'high', 'epoch': 1}",
        "{'eval_loss': 2.1, 'epoch': 1}",
        "the loss is 2.1 at epoch 3",
        "{{{{{'loss'",
    ],
)
def test_what_is_no_training_entry_is_not_claimed(line: str) -> None:
    assert list(stream_evidence(io.BytesIO(line.encode()), "log")) == []


def entry(epoch: float, loss: float = 2.0) -> str:
    return f"{{'loss': '{loss}', 'grad_norm': '1', 'epoch': '{epoch}'}}\n"


def test_the_bar_drawn_after_a_line_says_its_step() -> None:
    stale, true = BAR.format(step=3), BAR.format(step=4)
    content = BAR.format(step=0) + CLEARED + entry(0.2) + BAR.format(step=2) + stale + CLEARED
    evaluation = "{'eval_loss': 1.9, 'epoch': 0.4}\n" + BAR.format(step=1)
    content += entry(0.4) + true + CLEARED + evaluation

    first, second = steps_of(content)
    assert (first.name, first.line, first.eval_loss) == ("step 2", 1, None)
    assert (second.name, second.line, second.eval_loss) == ("step 4", 2, 1.9)


@pytest.mark.parametrize(
    "content",
    [
        entry(0.1) + entry(0.2) + BAR.format(step=6),
        entry(0.1) + BAR.format(step=6) + "\n" + entry(0.2) + BAR.format(step=6),
        entry(0.1) + "\rMap:  50%|█    | 1/6 [00:00<00:00]\r" + entry(0.2),
    ],
)
def test_a_bar_that_belongs_to_no_line_gives_no_step(content: str) -> None:
    assert all(step.step_unknown for step in steps_of(content))


def test_a_run_appended_to_another_is_judged_by_itself() -> None:
    content = "".join(map(entry, (0.3, 0.6, 0.9, 0.3, 0.6)))
    evidences = list(stream_evidence(io.BytesIO(content.encode()), "log"))

    assert [evidence.subject for evidence in evidences] == ["log (run 1 of 2)", "log (run 2 of 2)"]
    assert [len(evidence.facts[StepFacts]) for evidence in evidences] == [3, 2]
    assert {evidence.path for evidence in evidences} == {"log"}


@pytest.mark.parametrize("prefix", ["[rank{}]: ", "[default{}]:", "Rank {} | ", "rank={} "])
def test_only_one_rank_counts(prefix: str) -> None:
    lines = [prefix.format(rank) + entry(epoch) for epoch in (0.1, 0.2) for rank in (1, 0)]

    assert len(steps_of("".join(lines))) == 2


def test_a_log_that_powershell_redirected_is_read() -> None:
    (step,) = steps_of(entry(0.1).encode("utf-16"))

    assert step.logged_loss == 2.0


TABLES = {
    "transformers": '{"step": 3, "loss": 2.0, "grad_norm": 1.5, "learning_rate": 0.1}',
    "wandb": '{"_step": 9, "train/global_step": 3, "train/loss": 2.0, "train/grad_norm": 1.5, '
    '"train/learning_rate": 0.1, "eval/loss": null}',
    "llama-factory": '{"current_steps": 3, "total_steps": 9, "loss": 2.0, "lr": 0.1, '
    '"grad_norm": 1.5}',
}


@pytest.mark.parametrize("line", TABLES.values(), ids=TABLES)
def test_a_jsonl_log_is_read(tmp_path: Path, line: str) -> None:
    path = tmp_path / "log.jsonl"
    path.write_text(f"\n{line}\n{{not json\n")
    (step,) = read(path)

    assert (step.name, step.line) == ("step 3", 2)
    assert (step.logged_loss, step.grad_norm, step.learning_rates) == (2.0, 1.5, (0.1,))


def test_a_csv_of_lightning_joins_training_and_validation(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    path.write_text(
        "epoch,lr-AdamW,step,train_loss,val_loss\n0,,49,2.0,\n0,,49,,1.9\n0,0.1,99,1.8,\n"
    )
    first, second = read(path)

    assert (first.step, first.logged_loss, first.eval_loss) == (49, 2.0, 1.9)
    assert (second.step, second.line, second.learning_rates) == (99, 4, (0.1,))


def test_a_chart_exported_from_weights_and_biases_is_read(tmp_path: Path) -> None:
    path = tmp_path / "export.csv"
    path.write_text(
        '"Step","a - train/loss","a - train/loss__MIN"\n"10","2.0","1.0"\n"20","","x"\n'
    )

    (step,) = read(path)
    assert (step.step, step.logged_loss) == (10, 2.0)


def test_a_data_frame_s_nan_stands_for_what_is_missing(tmp_path: Path) -> None:
    path = tmp_path / "history.jsonl"
    row = {"_step": 1, "train/loss": 2.0, "train/learning_rate": 0.1, "eval/loss": math.nan}
    evaluation = {"_step": 1, "eval/loss": 1.9} | dict.fromkeys(list(row)[1:3], math.nan)
    path.write_text(json.dumps(row) + "\n" + json.dumps(evaluation) + "\n")

    (step,) = read(path)
    assert (step.logged_loss, step.eval_loss) == (2.0, 1.9)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("data.jsonl", '{"text": "{\'loss\': 2.1, \'epoch\': 1}", "id": 3}'),
        ("data.jsonl", '{"prompt": "a", "loss": 2.1}'),
        ("data.jsonl", '{"loss": [1, 2], "step": 3}'),
        ("data.csv", "question,answer\nloss,2.1\n"),
        ("data.csv", "text,loss\na,2.1\n"),
        ("data.csv", "step,loss\nfirst,high\n"),
        ("data.csv", ""),
    ],
)
def test_a_data_set_is_no_log(tmp_path: Path, name: str, content: str) -> None:
    (tmp_path / name).write_text(content)

    assert list(log_evidence(tmp_path / name)) == []
    assert logs_in(tmp_path) == []


def test_the_state_of_a_trainer_gives_the_evaluations_too() -> None:
    history = [
        {"step": 5, "eval_loss": 3.0, "epoch": 0.5},
        {"step": 10, "loss": 2.0, "learning_rate": 0.1, "epoch": 1.0},
        {"step": 10, "eval_loss": 1.9, "epoch": 1.0},
        {"step": 10, "train_runtime": 3.0, "train_loss": 2.5, "epoch": 1.0},
    ]
    first, second = steps_from_logs(history)

    assert (first.step, first.logged_loss, first.eval_loss) == (5, None, 3.0)
    assert (second.logged_loss, second.eval_loss) == (2.0, 1.9)


_WORDS = ("loss", "'loss'", "epoch", "grad_norm", "step", "eval_loss", "tensor(", "[rank1]:")
_NUMBERS = ("nan", "inf", "1e999", "0.5", "-3", "9" * 50)
_WHOLE = (" 50%|##  | 3/6 [00:00<00:00]", "{'loss': 1.0, 'epoch': 0.1}", "\x1b[A", "\ufffd")
tokens = st.sampled_from([*"{}[](),:'\"\n\r\t |/\\%\0", *_WORDS, *_NUMBERS, *_WHOLE])
texts = st.lists(tokens | st.text(max_size=5), max_size=60).map("".join)


@given(texts.map(str.encode) | st.binary(max_size=300))
@pytest.mark.parametrize("reader", [console_entries, jsonl_entries, csv_entries])
def test_no_reader_raises_and_every_value_is_a_number(reader: logs.Reader, content: bytes) -> None:
    for found in reader(opened(io.BytesIO(content))):
        assert isinstance(found, LogEntry)
        values = (found.loss, found.eval_loss, found.grad_norm, found.learning_rate, found.epoch)
        assert all(value is None or isinstance(value, float) for value in values)
        assert found.step is None or found.step >= 0


@given(texts, st.sampled_from(["step,loss\n", "epoch,loss,step\n", ""]))
def test_a_hostile_log_is_judged_without_a_failure_of_ours(text: str, header: str) -> None:
    for reader in (console_entries, csv_entries):
        stream = io.BytesIO((header + text).encode())
        report = judge(list(stream_evidence(stream, "log", reader)))
        assert all(finding.code != "TG000" for finding in report.findings)


finite = st.floats(allow_nan=False, allow_infinity=False)
rows = st.lists(st.tuples(finite, st.floats(), finite), min_size=1, max_size=20)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows)
@pytest.mark.parametrize("suffix", [".log", ".jsonl", ".csv"])
def test_what_was_written_is_read_to_the_last_bit(
    tmp_path: Path, suffix: str, rows: list[tuple[float, float, float]]
) -> None:
    named = [
        {"step": number, "loss": loss, "grad_norm": norm, "lr": rate}
        for number, (loss, norm, rate) in enumerate(rows, 1)
    ]
    written = {
        ".log": [str(row) for row in named],
        ".jsonl": [json.dumps(row) for row in named],
        ".csv": [",".join(named[0]), *(",".join(map(repr, row.values())) for row in named)],
    }
    path = tmp_path / f"log{suffix}"
    path.write_text("\n".join(written[suffix]))
    steps = read(path)

    assert repr(
        [(s.step, s.logged_loss, s.grad_norm, *(s.learning_rates or ())) for s in steps]
    ) == (repr([tuple(row.values()) for row in named]))


@given(st.text(alphabet="a\r\n", max_size=200))
def test_pieces_hold_all_text_and_know_their_line(text: str) -> None:
    found = list(pieces(opened(io.BytesIO(text.encode()))))

    assert "".join(piece for _, piece in found) == text.replace("\r", "").replace("\n", "")
    lines = text.split("\n")
    assert all(piece in lines[number - 1] for number, piece in found)


class Endless(io.RawIOBase):
    """So many bytes of one line."""

    def __init__(self, content: bytes, times: int) -> None:
        self._content, self._left = content, times

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if not self._left:
            return 0
        self._left -= 1
        data = (self._content * (len(buffer) // len(self._content) + 1))[: len(buffer)]
        buffer[:] = data
        return len(data)


@pytest.mark.parametrize("content", [b"x", b"{", b"'loss'", b"[" * 100, b"\0", b"\xff", b'"a","'])
@pytest.mark.parametrize("reader", [console_entries, jsonl_entries, csv_entries])
def test_a_line_without_end_is_read_in_little_memory(reader: logs.Reader, content: bytes) -> None:
    tracemalloc.start()
    try:
        found = list(reader(opened(Endless(content, times=1500))))  # type: ignore[arg-type]
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert found == []
    assert peak < 128 * MAX_PIECE


def test_more_entries_and_runs_than_are_read_are_reported(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(logs, "MAX_ENTRIES", 3)
    content = "".join(map(entry, (0.1, 0.2, 0.3, 0.4))).encode()
    limit, run = stream_evidence(io.BytesIO(content), "log")

    assert "only the first 3 entries" in limit.facts[Failure][0].error
    assert len(run.facts[StepFacts]) == 3

    monkeypatch.setattr(logs, "MAX_RUNS", 1)
    content = "".join(map(entry, (0.2, 0.1))).encode()
    limit, run = stream_evidence(io.BytesIO(content), "log")
    assert "1 runs are read" in limit.facts[Failure][0].error


def test_a_folder_is_searched_by_content_and_nothing_but_files_is_opened(tmp_path: Path) -> None:
    for name in ("train.log", "slurm-1.out", "b.err", "notes.txt", "README.md"):
        (tmp_path / name).write_text(entry(0.1))
    (tmp_path / "server.log").write_text("GET /loss 200\n")
    (tmp_path / "folder.log").mkdir()
    (tmp_path / "loop.log").symlink_to("loop.log")
    (tmp_path / "zero.log").symlink_to("/dev/zero")
    os.mkfifo(tmp_path / "pipe.log")

    assert [path.name for path in logs_in(tmp_path)] == ["b.err", "slurm-1.out", "train.log"]


def event_file(folder: Path, content: bytes = b"") -> Path:
    path = folder / f"{EVENTS}1.host.1.0"
    path.write_bytes(content)
    return path


def test_an_event_file_without_tensorboard_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [*sys.modules]:  # another test may have loaded what is asked for below it
        if name.startswith("tensorboard."):
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    report = judge(list(log_evidence(event_file(tmp_path))))
    reasons = {entry.code: entry.reason for entry in report.not_checked}

    assert reasons["TG501"] == reasons["TG402"] == log_tensorboard.MISSING
    assert "pip install tensorboard" in log_tensorboard.MISSING


def test_an_event_file_is_read_and_nothing_in_it_is_executed(tmp_path: Path) -> None:
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(str(tmp_path)) as writer:
        for step, loss in ((10, 2.0), (20, 0.0)):
            writer.add_scalar("train/loss", loss, step)
            writer.add_scalar("train/grad_norm", math.nan if loss == 0.0 else 1.0, step)
            writer.add_scalar("train/learning_rate", 0.5, step)
        writer.add_scalar("eval/loss", 1.5, 10)
        writer.add_text("train/loss", "not a number", 30)
    (path,) = logs_in(tmp_path)
    read(path)  # the reader's own imports
    events: list[str] = []
    armed = [True]
    sys.addaudithook(lambda event, _: events.append(event) if armed else None)
    steps = read(path)
    armed.clear()

    assert not {"exec", "compile", "import", "os.system", "subprocess.Popen"} & set(events)
    assert [(step.step, step.logged_loss, step.eval_loss) for step in steps] == [
        (10, 2.0, 1.5),
        (20, 0.0, None),
    ]
    codes = [finding.code for finding in judge(list(log_evidence(path))).causes]
    assert codes == ["TG501"]


@pytest.mark.parametrize(
    "content",
    [b"", b"\0" * 40, b"x" * 100, struct.pack("<QI", 8, 0) + b"x" * 12, struct.pack("<Q", 2**62)],
)
def test_a_broken_event_file_raises_nothing(tmp_path: Path, content: bytes) -> None:

    for evidence in log_evidence(event_file(tmp_path, content)):
        assert StepFacts not in evidence.facts
        assert "record" in evidence.facts[Failure][0].error
