"""Settings and values that are unusual and healthy, and how certain a finding is of a setting."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from peft import PeftModel

from adapters.bases import LLAMA
from adapters.broken import change, having, scaled, without
from adapters.healthy import Saves
from trainguard.engine import judge
from trainguard.facts.intent import Intent
from trainguard.findings import Report, Severity
from trainguard.gather.adapter import adapter_evidence
from trainguard.gather.base_model import with_base
from trainguard.registry import select

pytestmark = [
    pytest.mark.filterwarnings("ignore::UserWarning"),
    pytest.mark.filterwarnings("ignore::RuntimeWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]

NEW = ["TG111", "TG112", "TG113", "TG114", "TG116", "TG117", "TG118", "TG119", "TG123", "TG150"]


def judged(folder: Path, target: Any = None) -> Report:
    evidence = with_base(adapter_evidence(folder, Intent(target=target)))
    return judge([evidence], select(["TG0", "TG1"]))


@pytest.fixture
def copied(saves: Saves, tmp_path: Path) -> Path:
    return Path(shutil.copytree(saves("lora").alone, tmp_path / "a"))


@pytest.mark.parametrize(
    "fault",
    [
        having(lora_alpha=4 * 32, base_model_name_or_path="org/name"),
        having(lora_alpha=1, use_rslora=True, base_model_name_or_path="gpt2"),
        having(init_lora_weights="eva", modules_to_save=[]),
        having(init_lora_weights="pissa", use_dora=None, use_rslora=[], modules_to_save=False),
        having(base_model_name_or_path=None, layers_to_transform=[], target_parameters=None),
        having(base_model_name_or_path=str(Path(__file__).parent), exclude_modules=False),
        having(lora_dropout=1.0, inference_mode="no", revision=3, bias="lora_only"),
        scaled("lora_B", 1e-4),
        scaled("lora_A", 5.0),
    ],
)
def test_what_is_unusual_but_healthy_is_quiet(fault: Any, copied: Path) -> None:
    change(copied, fault)

    assert not judged(copied).findings
    PeftModel.from_pretrained(LLAMA(), copied)


def test_classification_heads_are_saved_under_one_of_two_names(
    saves: Saves, tmp_path: Path
) -> None:
    folder = shutil.copytree(saves("lora, sequence classification").alone, tmp_path / "a")
    assert not judged(folder).findings

    change(folder, without("score"))

    (finding,) = judged(folder).findings
    assert (finding.code, finding.severity) == ("TG117", Severity.WARNING)


def test_a_cached_base_gives_its_hub_id(copied: Path) -> None:
    name = "/gone/hub/models--meta-llama--Llama-3.1-8B/snapshots/0e9e39f"
    change(copied, having(base_model_name_or_path=name))

    (finding,) = judged(copied).findings
    assert finding.fix.endswith("meta-llama/Llama-3.1-8B")
