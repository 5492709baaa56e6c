"""The smaller fuzz run, and what must hold for every damaged adapter; see `tests/fuzz`."""

from __future__ import annotations

import copyreg
import json
import os
import pickle
import subprocess
import sys
import tempfile
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
import safetensors
from hypothesis import given, settings
from hypothesis import strategies as st

from fuzz.byte_wise import BYTE_WISE
from fuzz.errors import NotApplicableError
from fuzz.json_wise import JSON_WISE
from fuzz.oracle import nonfinite
from fuzz.payloads import EXTENSION, PAYLOADS, SENTINEL
from fuzz.saved import write_valid_inputs
from fuzz.tensor_wise import HEADER_WISE, VALUE_WISE
from trainguard.engine import judge
from trainguard.facts.adapter import AdapterTensors
from trainguard.facts.failure import Failure
from trainguard.findings import Report
from trainguard.gather.adapter import adapter_evidence
from trainguard.gather.run import MAX_FAILURES, STATE_FILE, STEPS_FILE, run_evidence
from trainguard.integrations.files import check
from trainguard.registry import select

from written import CONFIG, JSON, MODULE, WEIGHTS

TESTS = Path(__file__).resolve().parents[1]
PICKLED = "adapter_model.bin"


def in_tests(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *arguments]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(TESTS), *sys.path])}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def test_hundreds_of_damaged_inputs_do_no_harm(tmp_path: Path) -> None:
    write_valid_inputs(tmp_path)

    arguments = ["--inputs", "400", "--seconds", "60", "--seed", "7", "--valid", str(tmp_path)]
    done = in_tests("-m", "fuzz", *arguments)

    assert done.returncode == 0, done.stdout + done.stderr
    assert "inputs        400 in" in done.stdout


SABOTAGED = """
import os, pickle, subprocess, sys, time
from pathlib import Path
from fuzz import oracle, watch
from trainguard.facts.failure import Failure
from trainguard.findings import Report
content = bytes.fromhex(sys.argv[2])

def unpickle(): pickle.loads(content)
def write(): Path("input/new").write_text("")
def look_around(): Path(sys.argv[0]).exists(); open("/etc/hosts").close()
def wait(): time.sleep(60)
def crash(): 1 / 0
def start(): subprocess.run(["true"])

os.chdir(sys.argv[1])
os.mkdir("input")
hook = watch.Watch(limit=0.2)
for act in (unpickle, write, look_around, wait, crash, start):
    oracle.check = lambda folder: (act(), Report())[1]
    assert oracle.judged(Path("input"), {}, frozenset(), hook).faults, act
oracle.check = lambda folder: Report()
assert oracle.judged(Path("input"), {}, frozenset({"TG106"}), hook).faults
assert not oracle.judged(Path("input"), {}, frozenset(), hook).faults
"""


def test_the_fuzz_run_notices_what_it_is_to_notice(tmp_path: Path) -> None:
    harmless = pickle.dumps(os.getcwd).hex()

    done = in_tests("-c", SABOTAGED, str(tmp_path), harmless)

    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("way", PAYLOADS)
def test_each_payload_would_be_executed(
    way: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    copyreg.add_extension("os", "system", EXTENSION)
    try:
        pickle.loads(b"\x80\x04" + PAYLOADS[way] + b".")
    finally:
        copyreg.remove_extension("os", "system", EXTENSION)

    assert Path(SENTINEL).exists()


@pytest.mark.parametrize("way", PAYLOADS)
def test_each_payload_is_reported_and_not_executed(
    way: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / JSON).write_text(json.dumps(CONFIG))
    (tmp_path / PICKLED).write_bytes(b"\x80\x04" + PAYLOADS[way] + b"0}.")

    assert "TG120" in codes(check(tmp_path))
    assert not Path(SENTINEL).exists()


DTYPES = {"F64": np.float64, "F32": np.float32, "F16": np.float16, "BF16": np.uint16}


@st.composite
def adapters(draw: st.DrawFn) -> tuple[bytes, bytes]:
    """The config and the weights of a valid LoRA adapter."""
    rank, size = draw(st.integers(1, 4)), draw(st.integers(1, 8))
    names = draw(st.lists(st.sampled_from("qkvo"), min_size=1, unique=True))
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    data = b""
    for name in names:
        module = MODULE.replace("q_proj", f"{name}_proj")
        for part, shape in (("lora_A", [rank, size]), ("lora_B", [size, rank])):
            dtype = draw(st.sampled_from(list(DTYPES)))
            stored = values(dtype, rank * size, draw(st.sampled_from((0.03125, -0.25, 0.375))))
            offsets = [len(data), len(data) + len(stored)]
            entry = {"dtype": dtype, "shape": shape, "data_offsets": offsets}
            header[f"{module}.{part}.weight"] = entry
            data += stored
    config = {**CONFIG, "r": rank, "target_modules": [f"{name}_proj" for name in names]}
    head = json.dumps(header).encode()
    return json.dumps(config).encode(), len(head).to_bytes(8, "little") + head + data


def values(dtype: str, count: int, value: float) -> bytes:
    filled = np.full(count, value, np.float32)
    # The upper half of a float32 is the bfloat16.
    raw = filled.view(np.uint32) >> 16 if dtype == "BF16" else filled
    return raw.astype(DTYPES[dtype]).tobytes()


def damaged(content: bytes, ways: Any, random: Random, times: int) -> bytes:
    for _ in range(times):
        try:
            content = random.choice(ways)(content, random, content) or b"\0"
        except NotApplicableError:
            continue
    return content


def codes(report: Report) -> set[str]:
    return {finding.code for finding in report.findings}


def judged(config: bytes, weights: bytes) -> tuple[Report, AdapterTensors | None, int | None]:
    """The report, the tensors that were read, and what another reader counts as not finite."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, WEIGHTS)
        path.write_bytes(weights)
        Path(folder, JSON).write_bytes(config)
        evidence = adapter_evidence(folder)
        report = judge([evidence], select(["TG"]))
        return report, evidence.facts.get(AdapterTensors), nonfinite(path)


randoms = st.randoms(use_true_random=False)


@given(adapters())
def test_a_valid_adapter_is_read(adapter: tuple[bytes, bytes]) -> None:
    report, tensors, count = judged(*adapter)

    assert tensors
    assert count == 0
    assert not report.findings


@settings(max_examples=200)
@given(adapters(), randoms, st.integers(1, 4))
def test_what_is_read_of_damaged_weights_is_what_the_format_says(
    adapter: tuple[bytes, bytes], random: Random, times: int
) -> None:
    """Never a crash, and never a tensor that the reference implementation does not see so."""
    config, weights = adapter
    weights = damaged(weights, (*BYTE_WISE, *HEADER_WISE, *VALUE_WISE), random, times)

    report, tensors, count = judged(config, weights)

    assert "TG000" not in codes(report)
    if tensors is None:
        assert "TG101" in codes(report)
        return
    seen = {
        (name, tensor["dtype"], tuple(tensor["shape"]))
        for name, tensor in safetensors.deserialize(weights)
    }
    assert {(one.name, one.dtype, one.shape) for one in tensors.tensors} == seen
    found = [finding for finding in report.findings if finding.code == "TG106"]
    assert sum(finding.evidence["elements"] for finding in found) == count


@pytest.mark.parametrize("field", ["dtype", "shape", "data_offsets", "__metadata__"])
def test_a_header_with_a_field_twice_is_refused_as_by_the_loader(field: str) -> None:
    entry = '"dtype": "U8", "shape": [1], "data_offsets": [0, 1]'
    header = f'{{"__metadata__": {{}}, "a": {{{entry}}}}}'
    again = {"dtype": '"U8"', "shape": "[1]", "data_offsets": "[0, 1]", "__metadata__": "{}"}[field]
    repeated = header.replace(f'"{field}": {again}', f'"{field}": {again}, "{field}": {again}')
    content = len(repeated).to_bytes(8, "little") + repeated.encode() + b"\0"

    with pytest.raises(safetensors.SafetensorError):
        safetensors.deserialize(content)
    report, tensors, _ = judged(json.dumps(CONFIG).encode(), content)

    assert tensors is None
    assert "TG101" in codes(report)


@pytest.mark.parametrize("metadata", ['{"\\ud800": "pt"}', '{"format": "\\udfff"}'])
def test_metadata_with_half_a_character_is_refused_as_by_the_loader(metadata: str) -> None:
    header = f'{{"__metadata__": {metadata}}}'
    content = len(header).to_bytes(8, "little") + header.encode()

    with pytest.raises(safetensors.SafetensorError):
        safetensors.deserialize(content)
    _, tensors, _ = judged(json.dumps(CONFIG).encode(), content)

    assert tensors is None


@settings(max_examples=200)
@given(adapters(), randoms, st.integers(1, 4))
def test_a_damaged_config_never_raises(
    adapter: tuple[bytes, bytes], random: Random, times: int
) -> None:
    config, weights = adapter
    config = damaged(config, (*BYTE_WISE, *JSON_WISE), random, times)

    report, _, _ = judged(config, weights)

    assert "TG000" not in codes(report)
    json.loads(report.to_json())


@pytest.mark.parametrize("value", ["Infinity", "1e400", "9" * 400, '"x"', "[1]"])
@pytest.mark.parametrize("field", ["step", "loss", "gradients", "learning_rates"])
def test_a_number_out_of_range_in_a_record_is_evidence(
    field: str, value: str, tmp_path: Path
) -> None:
    record = tmp_path / STEPS_FILE
    entry = json.dumps({"kind": "step", "step": 1, field: "HERE"}).replace('"HERE"', value)
    record.write_text(entry + "\n")

    assert run_evidence(record, "run").subject == "run"


def test_an_integer_too_long_for_a_float_in_the_state_is_reported(tmp_path: Path) -> None:
    number = "9" * 400
    (tmp_path / STATE_FILE).write_text(f'{{"log_history": [{{"step": 1, "loss": {number}}}]}}')

    assert "TG000" in codes(check(tmp_path))


@pytest.mark.parametrize(
    "entry",
    [
        {"kind": "failure"},
        {"kind": "optimizer", "tensors": 1, "missing_tensors": 1},
        {"kind": "optimizer", "tensors": 1, "missing_tensors": 1, "missing": [3]},
        {"kind": "optimizer", "tensors": "1"},
        {"kind": "model", "tensors": 1, "trainable_tensors": None},
    ],
)
def test_a_record_with_a_field_missing_or_of_another_type_is_reported(
    entry: dict[str, Any], tmp_path: Path
) -> None:
    record = tmp_path / "trainguard" / STEPS_FILE
    record.parent.mkdir()
    record.write_text(json.dumps(entry) + "\n")

    (failure,) = check(tmp_path).findings

    assert failure.code == "TG000"
    assert failure.message.startswith(f"reading {STEPS_FILE} failed")


def test_a_record_of_endless_failures_is_cut(tmp_path: Path) -> None:
    record = tmp_path / STEPS_FILE
    record.write_text('{"kind": "failure", "what": "x", "error": "y"}\n' * 100_000)

    assert len(run_evidence(record, "run").facts[Failure]) == MAX_FAILURES


def test_the_report_on_a_folder_whose_name_is_no_text_can_be_written(tmp_path: Path) -> None:
    folder = tmp_path / os.fsdecode(b"\xff\xfe")
    folder.mkdir()
    (folder / JSON).write_text("{}")

    report = check(folder)

    assert json.loads(report.to_json().encode())["findings"]
