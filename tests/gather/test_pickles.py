"""Files that torch, the trainers and PEFT write: followed, found harmless, and read exactly."""

from __future__ import annotations

import subprocess
import sys
from collections import OrderedDict
from enum import Enum
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import IA3Config, LoraConfig, get_peft_model
from safetensors.torch import save_file
from transformers import Trainer
from trl import DPOConfig, SFTTrainer

from trainguard.engine import judge
from trainguard.facts.adapter import AdapterTensors
from trainguard.facts.pickles import PickleFacts
from trainguard.gather.adapter import adapter_evidence
from trainguard.gather.adapter_files import UnreadableError
from trainguard.gather.pickle_files import scan_folder
from trainguard.gather.pickles import UnplainError, read_tensors, scan_file
from trainguard.registry import select

import tiny

BIN = "adapter_model.bin"


def save(content: Any, path: Path, **options: Any) -> PickleFacts:
    torch.save(content, path, **options)
    return scan_file(path)


def values(path: Path) -> dict[str, Any]:
    return {tensor.name: tensor for tensor in read_tensors(path).tensors}


@pytest.fixture(scope="module", params=["zip", "legacy"])
def options(request: pytest.FixtureRequest) -> dict[str, Any]:
    return {"_use_new_zipfile_serialization": request.param == "zip"}


DTYPES = {
    torch.float32: "F32",
    torch.float64: "F64",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int64: "I64",
    torch.uint8: "U8",
    torch.bool: "BOOL",
    torch.complex64: "C64",
    torch.uint16: "U16",
    torch.float8_e4m3fn: "F8_E4M3",
}


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_every_dtype_is_named(dtype: torch.dtype, options: dict[str, Any], tmp_path: Path) -> None:
    facts = save({"x": torch.ones(3, 2).to(dtype)}, tmp_path / BIN, **options)

    assert not facts.refused
    assert facts.problem is None
    tensor = values(tmp_path / BIN)["x"]
    assert (tensor.dtype, tensor.shape) == (DTYPES[dtype], (3, 2))


def test_values_are_those_that_safetensors_gives(options: dict[str, Any], tmp_path: Path) -> None:
    torch.manual_seed(0)
    tensors = {
        f"{dtype}.{shape}": torch.randn(shape).to(dtype)
        for dtype in (torch.float32, torch.float64, torch.float16, torch.bfloat16)
        for shape in ((), (0,), (7,), (16, 8), (600, 700))
    }
    tensors["torch.float32.(7,)"][2] = float("nan")
    tensors["torch.float16.(16, 8)"][1] = 0
    torch.save(tensors, tmp_path / BIN, **options)
    pickled = values(tmp_path / BIN)
    (tmp_path / "adapter_config.json").write_text('{"peft_type": "LORA"}')
    save_file(tensors, tmp_path / "adapter_model.safetensors")

    stored = adapter_evidence(tmp_path).facts[AdapterTensors].tensors

    assert {tensor.name: tensor for tensor in stored} == pickled


def test_what_is_no_plain_run_of_bytes_is_not_read(options: dict[str, Any], tmp_path: Path) -> None:
    whole = torch.arange(12.0).reshape(3, 4)
    views = {
        "rows": whole[1:],
        "columns": whole[:, 1:],
        "transposed": whole.T,
        "expanded": torch.ones(1).expand(5),
        "parameter": torch.nn.Parameter(whole.clone()),
    }
    torch.save(OrderedDict(views), tmp_path / BIN, **options)

    found = values(tmp_path / BIN)

    assert [tensor.shape for tensor in found.values()] == [(2, 4), (3, 3), (4, 3), (5,), (3, 4)]
    assert [name for name in found if found[name].rms is None] == [
        "columns",
        "transposed",
        "expanded",
    ]
    assert found["rows"].rms == pytest.approx(float(whole[1:].square().mean().sqrt()))
    assert found["parameter"].largest == 11.0


def test_big_endian_values_are_not_read(tmp_path: Path) -> None:
    torch.save({"x": torch.ones(4)}, tmp_path / BIN)
    content = (tmp_path / BIN).read_bytes()
    assert content.count(b"little") == 1
    (tmp_path / BIN).write_bytes(content.replace(b"little", b"big\0\0\0"))

    assert values(tmp_path / BIN)["x"].rms is None


def test_a_size_that_its_storage_has_not_is_refused(
    options: dict[str, Any], tmp_path: Path
) -> None:
    torch.save({"x": torch.ones(100)}, tmp_path / BIN, **options)
    content = (tmp_path / BIN).read_bytes()
    assert content.count(b"Kd") >= 2  # the storage's count and the shape

    for count in (1, -1):
        broken = content.replace(b"Kd", b"K\xff", count)
        (tmp_path / BIN).write_bytes(broken)
        with pytest.raises(UnreadableError):
            read_tensors(tmp_path / BIN)


@pytest.mark.parametrize("content", [[1], {"a": 1}, {1: torch.ones(1)}, torch.ones(2)], ids=str)
def test_other_content_is_no_fault_but_gives_no_tensors(content: Any, tmp_path: Path) -> None:
    assert save(content, tmp_path / BIN).problem is None
    with pytest.raises(UnplainError):
        read_tensors(tmp_path / BIN)


def test_a_file_without_a_checksum_is_no_fault(tmp_path: Path) -> None:
    before = torch.serialization.get_crc32_options()
    torch.serialization.set_crc32_options(False)
    try:
        facts = save({"x": torch.ones(4)}, tmp_path / BIN)
    finally:
        torch.serialization.set_crc32_options(before)

    assert facts.problem is None
    assert values(tmp_path / BIN)["x"].constant == 1.0


@pytest.mark.parametrize(
    "make",
    [
        lambda p: torch.optim.AdamW(p),
        lambda p: torch.optim.SGD(p, momentum=0.9),
        lambda p: torch.optim.Adafactor(p),
        lambda p: torch.optim.Adam(p, amsgrad=True),
    ],
)
def test_states_of_optimizers_and_schedules_are_harmless(
    make: Any, options: dict[str, Any], tmp_path: Path
) -> None:
    weight = torch.nn.Parameter(torch.ones(4, 4))
    optimizer = make([weight])
    weight.sum().backward()
    optimizer.step()
    schedule = torch.optim.lr_scheduler.SequentialLR(
        optimizer,
        [
            torch.optim.lr_scheduler.LinearLR(optimizer),
            torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 10),
        ],
        [2],
    )
    for name, content in (("optimizer.pt", optimizer), ("scheduler.pt", schedule)):
        facts = save(content.state_dict(), tmp_path / name, **options)
        assert (facts.refused, facts.problem) == ((), None)


@pytest.mark.parametrize("kind", [Trainer, SFTTrainer])
def test_checkpoints_of_the_trainers_are_harmless(kind: type[Trainer], tmp_path: Path) -> None:
    steps = {"save_strategy": "steps", "save_steps": 1, "max_steps": 1}
    trained = tiny.lora(tiny.model())
    tiny.trainer(trained, tmp_path, kind, **steps).train()

    found = {facts.name: facts for facts in scan_folder(tmp_path / "checkpoint-1")}

    assert found.keys() == {"optimizer.pt", "scheduler.pt", "rng_state.pth", "training_args.bin"}
    assert [facts for facts in found.values() if facts.refused or facts.problem] == []
    report = judge([adapter_evidence(tmp_path / "checkpoint-1")], select(["TG12"]))
    assert not report.findings
    assert {"TG120", "TG121", "TG122"} <= set(report.checked)


class Plain(Enum):
    """Python 3.11 and 3.12 pickle its members by `getattr`."""

    MEMBER = 1


def test_arguments_with_more_plugins_are_harmless(tmp_path: Path) -> None:
    from accelerate.utils import RNGType
    from transformers.training_args import ParallelMode

    arguments = DPOConfig(str(tmp_path), report_to="none", use_cpu=True, bf16=False)
    arguments.extra = [RNGType.TORCH, ParallelMode.NOT_PARALLEL, tmp_path, {1, 2}]

    assert not save(arguments, tmp_path / "training_args.bin").refused


def test_getattr_is_needed_for_known_enums_only(tmp_path: Path) -> None:
    content = b"\x80\x02c__builtin__\ngetattr\nc%s\nX%c\0\0\0%s\x86R."
    known = (b"accelerate.utils.dataclasses\nRNGType", 5, b"TORCH")
    for owner, size, member in (
        (b"os\nRNGType", 5, b"TORCH"),
        (known[0], 5, b"_name"),
        (b"accelerate.utils.dataclasses\nDeepSpeedPlugin", 5, b"TORCH"),
    ):
        (tmp_path / "training_args.bin").write_bytes(content % (owner, size, member))
        refused = [one.name for one in scan_file(tmp_path / "training_args.bin").refused]
        assert "builtins.getattr" in refused
    (tmp_path / "training_args.bin").write_bytes(content % known)
    assert not scan_file(tmp_path / "training_args.bin").refused


class Own:
    """A class of the training script."""


def test_an_own_class_is_a_warning_and_a_called_one_an_error(tmp_path: Path) -> None:
    save(Own(), tmp_path / "training_args.bin")
    save(Own(), tmp_path / "optimizer.pt")

    found = judge([adapter_evidence(tmp_path)], select(["TG120"])).findings

    by_file = {finding.evidence["file"]: finding.severity.value for finding in found}
    assert by_file == {"training_args.bin": "warning", "optimizer.pt": "error"}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize(
    "config",
    [
        LoraConfig(r=4, target_modules=["q_proj"], init_lora_weights=False),
        IA3Config(target_modules=["k_proj", "down_proj"], feedforward_modules=["down_proj"]),
    ],
    ids=["lora", "ia3"],
)
def test_checks_of_tensors_work_on_a_pickled_adapter(
    config: Any, dtype: torch.dtype, tmp_path: Path
) -> None:
    model = get_peft_model(tiny.model(), config, autocast_adapter_dtype=False).to(dtype)
    for name, parameter in model.named_parameters():
        if "ia3" in name:
            parameter.data.mul_(1.5)
    model.save_pretrained(tmp_path, safe_serialization=False)
    assert not (tmp_path / "adapter_model.safetensors").exists()

    healthy = judge([adapter_evidence(tmp_path)], select(["TG1"]))
    for name, parameter in model.named_parameters():
        if "lora_B" in name or "ia3" in name:
            parameter.data.fill_(float("nan"))
    model.save_pretrained(tmp_path, safe_serialization=False)
    broken = judge([adapter_evidence(tmp_path)], select(["TG1"]))

    assert [finding.code for finding in healthy.findings] == ["TG122"]
    assert "TG106" in {finding.code for finding in broken.findings}


def test_beside_safetensors_the_pickle_is_only_scanned(tmp_path: Path) -> None:
    tiny.lora(tiny.model(), init_lora_weights=False).save_pretrained(tmp_path)
    (tmp_path / BIN).write_bytes(b"cos\nsystem\n(S'true'\ntR.")

    report = judge([adapter_evidence(tmp_path)], select(["TG1"]))

    assert {finding.code for finding in report.findings} == {"TG120", "TG121"}
    assert adapter_evidence(tmp_path).facts[AdapterTensors].path.endswith("safetensors")


def test_files_that_only_share_a_suffix_are_left_out(tmp_path: Path) -> None:
    (tmp_path / "text.bin").write_text("config\nname\nof something\n")
    (tmp_path / "raw.bin").write_bytes(bytes(range(200, 255)) * 10)
    (tmp_path / "ggml.bin").write_bytes(b"ggla" + bytes(100))
    (tmp_path / "empty.pt").touch()
    (tmp_path / "folder.pt").mkdir()

    assert scan_folder(tmp_path) == ()
    assert scan_folder(tmp_path / "absent") == ()


def test_a_known_name_that_cannot_be_opened_is_a_problem(tmp_path: Path) -> None:
    (tmp_path / "optimizer.pt").symlink_to(tmp_path / "nowhere")
    (tmp_path / "scheduler.pt").symlink_to("/dev/zero")

    problems = [facts.problem.what for facts in scan_folder(tmp_path) if facts.problem]

    assert problems == [
        "is a link to a file that does not exist",
        "is a device, not a regular file",
    ]


def test_scanning_needs_neither_torch_nor_numpy(tmp_path: Path) -> None:
    save({"x": torch.ones(2)}, tmp_path / "optimizer.pt")
    code = (
        "import sys; from trainguard.gather.pickle_files import scan_folder\n"
        "(facts,) = scan_folder(sys.argv[1])\n"
        "print(facts.layout, sorted({'torch', 'numpy', 'pickle'} & sys.modules.keys()))"
    )

    result = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True
    )

    assert result.stdout.strip() == "zip []"
