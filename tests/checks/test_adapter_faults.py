"""One fault planted in an adapter that PEFT saved: its check finds it, and nothing else does.

PEFT itself is the witness of what each fault does.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
import torch

from adapters.broken import (
    BROKEN,
    EMBEDDING,
    Edit,
    change,
    having,
    renamed,
    values,
)
from adapters.checked import checked
from adapters.healthy import Saves
from adapters.loading import Loading, load
from trainguard.engine import judge
from trainguard.findings import Report, Severity
from trainguard.gather.adapter import adapter_evidence
from trainguard.registry import select

pytestmark = [
    pytest.mark.filterwarnings("ignore::UserWarning"),
    pytest.mark.filterwarnings("ignore::RuntimeWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]

FOUND = {name: fault for name, fault in BROKEN.items() if fault.check}


def judged(folder: Path) -> Report:
    return judge([adapter_evidence(folder)], select(["TG0", "TG1"]))


@pytest.fixture(scope="module")
def healthy_loads() -> dict[Path, Loading]:
    return {}


@pytest.fixture
def copied(saves: Saves, tmp_path: Path) -> Path:
    return Path(shutil.copytree(saves("lora").alone, tmp_path / "a"))


@pytest.mark.parametrize("name", FOUND)
def test_a_planted_fault_is_the_only_cause_that_is_found(
    name: str, saves: Saves, tmp_path: Path
) -> None:
    fault = FOUND[name]
    options = fault.plant(saves(fault.of), tmp_path / "a")

    causes = checked(tmp_path / "a", *options).causes
    names = [cause["name"] for cause in causes]
    assert fault.check in names
    assert set(names) <= {fault.check, *fault.also}
    cause = causes[names.index(fault.check)]
    assert fault.place in (cause["location"]["key"] or "")
    assert len(cause["message"]) < 400


@pytest.mark.parametrize("name", sorted(BROKEN.keys() - FOUND.keys()))
def test_what_no_check_decides_is_known(name: str, saves: Saves, tmp_path: Path) -> None:
    fault = BROKEN[name]
    options = fault.plant(saves(fault.of), tmp_path / "a")

    assert not checked(tmp_path / "a", *options).causes


@pytest.mark.parametrize("name", BROKEN)
def test_peft_makes_of_a_fault_what_the_table_says(
    name: str, saves: Saves, tmp_path: Path, healthy_loads: dict[Path, Loading]
) -> None:
    fault = BROKEN[name]
    saved = saves(fault.of)
    original = fault.original(saved)
    if original not in healthy_loads:
        healthy_loads[original] = load(original, fault.trained_on)
    fault.plant(saved, tmp_path / "a")

    assert fault.loaded(tmp_path / "a", healthy_loads[original]) == fault.peft


@pytest.mark.parametrize("name", ["NaN", "rank by config", "alpha zero", "base moved"])
def test_a_message_names_a_number(name: str, saves: Saves, tmp_path: Path) -> None:
    BROKEN[name].plant(saves(BROKEN[name].of), tmp_path / "a")

    assert re.search(r"\d|NaN", checked(tmp_path / "a").causes[0]["message"])


def test_the_spelling_that_works_somewhere_is_a_warning(copied: Path) -> None:
    change(copied, renamed("(lora_.)", r"\1.default"))

    (finding,) = judged(copied).findings
    assert finding.severity is Severity.WARNING


@pytest.mark.parametrize(
    "edit",
    [
        having(inference_mode=False),
        having(inference_mode=True, task_type=None, peft_version="0.99.0.dev0@abc"),
        having(rank_pattern={"q_proj": 4}, alpha_pattern={"q_proj": 7}),
        having(target_modules=r"(?:.*?(?:model|language).*?(?:self_attn|mlp).*?(?:q_proj|v_proj))"),
        having(target_modules=None),
        values("", torch.Tensor.half),
        values("", torch.Tensor.double),
        lambda _, tensors: tensors | {EMBEDDING: torch.randn(64, 32)},
    ],
)
def test_what_is_unusual_but_healthy_is_quiet(edit: Edit, copied: Path) -> None:
    change(copied, edit)

    assert not judged(copied).findings


@pytest.mark.parametrize("pattern", ["(", "(?i).*Q_PROJ", r"(a)\1", "x" * 6000])
def test_a_pattern_that_cannot_be_decided_is_said_to_be_so(pattern: str, copied: Path) -> None:
    change(copied, having(target_modules=pattern, rank_pattern={pattern: 2}))

    report = judged(copied)

    assert not report.findings
    undecided = {entry.code for entry in report.not_checked if entry.subject}
    assert {"TG103", "TG104"} <= undecided


@pytest.mark.parametrize(("factor", "codes"), [(1.0, []), (0.0, ["TG105"])])
def test_an_adapter_in_eight_bits_is_read_as_others_are(
    factor: float, codes: list[str], copied: Path
) -> None:
    change(copied, values("", lambda tensor: (tensor * factor).to(torch.float8_e4m3fn)))

    assert [finding.code for finding in judged(copied).findings] == codes


def test_a_pruned_adalora_is_quiet(saves: Saves, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(saves("adalora").alone, tmp_path / "a"))
    change(
        folder,
        lambda _, tensors: {
            name: (tensor[:, :0] if "lora_B" in name else tensor[:0])
            if "layers.0" in name
            else tensor
            for name, tensor in tensors.items()
        },
    )

    assert not judged(folder).findings
