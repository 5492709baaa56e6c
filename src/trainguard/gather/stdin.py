"""What a pipe brings: a log as it is written, or a script or a config as a whole."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path, PurePath
from tempfile import TemporaryDirectory
from typing import Any, BinaryIO

from trainguard.facts.adapter import CONFIG_NAME, AdapterConfig, AdapterTensors
from trainguard.facts.evidence import Evidence
from trainguard.facts.failure import Failure
from trainguard.facts.intent import Intent
from trainguard.gather.run import MAX_STATE_BYTES, STATE_FILE, STEPS_FILE, run_evidence
from trainguard.gather.source_files import SUFFIXES

UNNAMED = "<stdin>"
#: Of a script; what people write is shorter.
_LARGEST = 16 * 2**20
_STATEMENT = re.compile(
    rb"^(?:from [\w.]+ import |import \w|(?:async )?def \w+\(|class \w+[(:]|#!.*python)",
    re.MULTILINE,
)
_RECORDS = (STATE_FILE, STEPS_FILE)


def stdin_evidence(stream: BinaryIO, name: str | None, intent: Intent) -> Iterator[Evidence]:
    """The facts of what a stream brings; never raises on what it holds.

    Args:
        stream: bytes; a log is read as it comes, anything else to its end.
        name: what a file with this content would be called; None decides by how it begins.
        intent: what an adapter is about to be used for.
    """
    buffered = io.BufferedReader(stream)  # type: ignore[type-var]
    subject = name or UNNAMED
    try:
        kind = PurePath(name).name if name else _named_by(buffered.peek())
        if kind == CONFIG_NAME:
            yield from _config(buffered, subject, intent, sure=name is not None)
        elif kind in _RECORDS:
            yield _record(buffered, kind, subject)
        elif kind.endswith(SUFFIXES):
            yield from _source(buffered, subject, sure=name is not None)
        else:
            yield from _log(buffered, subject)
    finally:
        buffered.detach()


def _named_by(head: bytes) -> str:
    """The name of a file that begins so; of a log, none."""
    if head.lstrip().startswith(b"{"):
        if b'"log_history"' in head:
            return STATE_FILE
        if b'"peft_type"' in head:
            return CONFIG_NAME
    return "script.py" if _STATEMENT.search(head) else ""


def _config(stream: BinaryIO, subject: str, intent: Intent, *, sure: bool) -> Iterator[Evidence]:
    """A config; what begins as one and is none may be a log that shows its settings first."""
    from trainguard.gather.adapter_config import LARGEST, parse_config
    from trainguard.gather.adapter_files import UnreadableError

    facts: dict[type, Any] = {Intent: intent}
    content = stream.read(LARGEST + 1)
    try:
        facts[AdapterConfig] = parse_config(content, subject)
    except UnreadableError as error:
        if not sure:
            yield from _log(io.BytesIO(content + stream.read()), subject)
            return
        facts[Failure] = (Failure(f"reading {subject}", f"it {error}"),)
    absent: dict[type, str] = {AdapterTensors: "standard input brings the configuration alone"}
    yield Evidence(subject=subject, kind="adapter config", facts=facts, absent=absent)


def _record(stream: BinaryIO, kind: str, subject: str) -> Evidence:
    with TemporaryDirectory() as folder:  # its reader wants a file
        file = Path(folder, kind)
        file.write_bytes(stream.read(MAX_STATE_BYTES + 1))
        return replace(run_evidence(file, subject), path=subject)


def _source(stream: BinaryIO, subject: str, *, sure: bool) -> Iterator[Evidence]:
    """A script; what begins as one and cannot be parsed may be a log that shows code."""
    from trainguard.gather.source import evidence_from_text, notebook_text

    content = stream.read(_LARGEST)
    text = content.decode("utf-8", "replace")
    if subject.endswith(".ipynb"):
        text = notebook_text(content)
    evidence = evidence_from_text(text, subject)
    if sure or Failure not in evidence.facts:
        yield evidence
    else:
        yield from _log(io.BytesIO(content), subject)


def _log(stream: BinaryIO, subject: str) -> Iterator[Evidence]:
    from trainguard.gather.logs import stream_evidence

    yield from stream_evidence(stream, subject)
