"""What must hold for the report of any input, whatever was done to it."""

from __future__ import annotations

import json
import re
import time
import traceback
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from safetensors import SafetensorError, deserialize

from trainguard.findings import Report
from trainguard.integrations.files import check
from trainguard.report import json as json_report
from trainguard.report import text

from .payloads import SENTINEL
from .watch import HangError, Watch

WEIGHTS = "adapter_model.safetensors"
_LARGEST = 2**21
"""Bytes of a weights file that is read a second time, to compare."""
#: Pattern of an infinity and of the sign's complement, and the unsigned type, of each dtype.
_FLOATS = {
    "F64": ("<u8", 0x7FF0 << 48),
    "F32": ("<u4", 0x7F80 << 16),
    "F16": ("<u2", 0x7C00),
    "BF16": ("<u2", 0x7F80),
}


@dataclass(frozen=True, slots=True)
class Verdict:
    """What came of one input."""

    report: Report | None
    seconds: float
    faults: tuple[str, ...]
    """What trainguard did wrong, with the traceback if it raised."""


def judged(
    folder: Path, options: Mapping[str, Any], expected: frozenset[str], watch: Watch
) -> Verdict:
    """Judge one input as `trainguard check` does, in each style, and look for faults.

    Args:
        folder: of the input.
        options: of `check`.
        expected: codes of which the report must have one; any report will do if it is empty.
        watch: sees what happens meanwhile.
    """
    start = time.perf_counter()
    try:
        with watch.over(folder):
            report = check(folder, **options)
            printed = _printed(report)
    except (Exception, HangError):
        fault = traceback.format_exc()
        return Verdict(None, time.perf_counter() - start, (fault, *_acts(watch)))
    seconds = time.perf_counter() - start
    faults = [*_acts(watch), *_misprints(printed), *_broken_checks(report)]
    faults += _wrong_about_values(report)
    codes = {finding.code for finding in report.findings}
    if expected and not expected & codes:
        faults.append(f"none of {sorted(expected)} among {sorted(codes)}")
    return Verdict(report, seconds, tuple(faults))


def _printed(report: Report) -> dict[str, str]:
    return {
        "full": text.full(report, verbose=True),
        "colour": text.full(report, colour=True),
        "concise": text.concise(report),
        "json": json_report.render(report),
    }


def _acts(watch: Watch) -> Iterator[str]:
    yield from (f"did {event}" for event in watch.seen)
    if Path(SENTINEL).exists():
        Path(SENTINEL).unlink()
        yield "executed what it judged"


def _misprints(printed: Mapping[str, str]) -> Iterator[str]:
    """Text that cannot be written, that a terminal obeys, or that is not strict JSON."""
    for style, content in printed.items():
        try:
            content.encode()
        except UnicodeEncodeError as error:
            yield f"the {style} report cannot be written: {error}"
    for style in ("full", "concise"):
        odd = re.sub(r"[\n -~]", "", printed[style])
        if not all(character.isprintable() for character in odd):
            yield f"the {style} report has control characters"
    try:
        json.loads(printed["json"], parse_constant=_refuse)
    except ValueError as error:
        yield f"the JSON report is none: {error}"


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")


def _broken_checks(report: Report) -> Iterator[str]:
    for finding in report.findings:
        if finding.code == "TG000" and finding.message.startswith("check "):
            yield finding.message


def _wrong_about_values(report: Report) -> Iterator[str]:
    """NaN and infinities that another reader sees in an adapter, and the report's word on them."""
    places = {
        code: {found.location.path for found in report.findings if found.code == code}
        for code in ("TG101", "TG106")
    }
    adapters = [Path(subject.name) for subject in report.subjects if subject.kind == "adapter"]
    for path in (adapter / WEIGHTS for adapter in adapters):
        refused = str(path) in places["TG101"]
        if refused or not path.is_file() or path.stat().st_size > _LARGEST:
            continue
        count = nonfinite(path)
        if count is None:
            yield f"TG101 is silent on {str(path)!a}, which safetensors refuses"
        elif bool(count) != (str(path) in places["TG106"]):
            yield f"TG106 is wrong: {count} elements are not finite in {str(path)!a}"


def nonfinite(path: Path) -> int | None:
    """Elements that are not finite, as safetensors reads the file; None if it refuses to."""
    try:
        tensors = deserialize(path.read_bytes())
    except SafetensorError:
        return None
    return sum(_nonfinite(tensor["dtype"], tensor["data"]) for _, tensor in tensors)


def _nonfinite(dtype: str, data: bytes) -> int:
    if dtype not in _FLOATS:
        return 0
    unsigned, infinity = _FLOATS[dtype]
    bits = np.frombuffer(data, unsigned)
    return int(np.count_nonzero(bits & infinity == infinity))
