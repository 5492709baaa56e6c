"""Configs of real adapters with one field changed, and values that training does not leave.

PEFT is the witness of what each fault does.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from peft import PeftModel, get_peft_model

from checks.test_adapter_faults import (
    Config,
    Tensors,
    base,
    change,
    having,
    logits,
    outcome,
    save,
    scaled,
    without,
)
from checks.test_adapter_real import ALL, build
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


def integers(_: Config, tensors: Tensors) -> Tensors:
    return {name: (tensor * 100).to(torch.int8) for name, tensor in tensors.items()}


def one_huge_module(_: Config, tensors: Tensors) -> None:
    name = next(name for name in tensors if "lora_A" in name)
    tensors[name] *= 400


#: Fault, code, where the finding points, and what PEFT makes of it.
FAULTS: dict[str, tuple[Any, str, str, str]] = {
    "alpha 4000": (having(lora_alpha=4000), "TG111", "lora_alpha", "changed"),
    "alpha negative": (having(lora_alpha=-8), "TG111", "lora_alpha", "changed"),
    "alpha tiny": (having(lora_alpha=1e-3), "TG111", "lora_alpha", "changed"),
    "alpha lost": (
        lambda c, _: c.pop("lora_alpha") and None,
        "TG111",
        "peft_type",
        "works",
    ),
    "alpha by pattern": (having(alpha_pattern={"q_proj": 999}), "TG111", "pattern", "changed"),
    "pissa niter": (having(init_lora_weights="pissa_niter_4"), "TG112", "init", "changed"),
    "corda": (having(init_lora_weights="corda"), "TG112", "init", "raises"),
    "base moved": (
        having(base_model_name_or_path="./output/checkpoint-500"),
        "TG113",
        "base_model",
        "works",
    ),
    "base on Windows": (having(base_model_name_or_path="C:\\llama"), "TG113", "base", "works"),
    "r is text": (having(r="4"), "TG114", "r", "raises"),
    "r is negative": (having(r=-1), "TG114", "r", "raises"),
    "r is half": (having(r=4.5), "TG114", "r", "raises"),
    "alpha is null": (having(lora_alpha=None), "TG114", "lora_alpha", "raises"),
    "rslora as text": (having(use_rslora="false"), "TG114", "use_rslora", "changed"),
    "dora as text": (having(use_dora="False"), "TG114", "use_dora", "changed"),
    "no rank pattern": (having(rank_pattern=None), "TG114", "rank_pattern", "raises"),
    "alphas in a list": (having(alpha_pattern=["q"]), "TG114", "alpha_pattern", "raises"),
    "no targets": (having(target_modules=[]), "TG114", "target_modules", "raises"),
    "targets a number": (having(target_modules=4), "TG114", "target_modules", "raises"),
    "task in lower case": (having(task_type="causal_lm"), "TG114", "task_type", "raises"),
    "no bias": (having(bias=None), "TG114", "bias", "raises"),
    "dropout in percent": (having(lora_dropout=10), "TG114", "lora_dropout", "raises"),
    "init a number": (having(init_lora_weights=4), "TG114", "init_lora_weights", "raises"),
    "init as text": (having(init_lora_weights="false"), "TG114", "init", "raises"),
    "layers as text": (having(layers_to_transform="1"), "TG114", "layers_to", "raises"),
    "layers true": (having(layers_to_transform=True), "TG114", "layers_to", "changed"),
    "excluded a number": (having(exclude_modules=4), "TG114", "exclude", "raises"),
    "parameters as text": (having(target_parameters="x"), "TG114", "target_par", "raises"),
    "head not saved": (having(modules_to_save=["lm_head"]), "TG117", "modules_to", "KeyError"),
    "tokens not saved": (having(trainable_token_indices=[1]), "TG117", "token", "KeyError"),
    "a dead module": (scaled(r"layers\.0.*q_proj.lora_B", 0.0), "TG118", "layers.0", "changed"),
    "B vanished": (scaled("lora_B", 1e-6), "TG119", "lora_B", "changed"),
    "B exploded": (scaled("lora_B", 30.0), "TG119", "lora_B", "changed"),
    "one module": (one_huge_module, "TG119", "lora_A", "changed"),
    "integers": (integers, "TG123", "lora_", "changed"),
}


def loaded(folder: Path, healthy: torch.Tensor) -> str:
    try:
        return outcome(folder, healthy)
    except KeyError:
        return "KeyError"
    except (TypeError, AttributeError, NotImplementedError):
        return "raises"


@pytest.fixture(scope="module")
def adapter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("adapter")
    save(folder)
    return folder


@pytest.fixture
def copied(adapter: Path, tmp_path: Path) -> Path:
    for file in adapter.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    return tmp_path


@pytest.mark.parametrize("name", FAULTS)
def test_a_planted_fault_is_the_only_cause_that_is_found(name: str, copied: Path) -> None:
    fault, code, place, consequence = FAULTS[name]
    healthy = logits(PeftModel.from_pretrained(base(), copied).eval())

    change(copied, fault)

    report = judged(copied)
    assert [finding.code for finding in report.causes] == [code]
    assert place in (report.causes[0].location.key or "")
    assert len(report.causes[0].message) < 400
    assert loaded(copied, healthy) == consequence


@pytest.mark.parametrize(
    "fault",
    [
        having(lora_alpha=4 * 32, base_model_name_or_path="org/name"),
        having(lora_alpha=1, use_rslora=True, base_model_name_or_path="gpt2"),
        having(init_lora_weights="eva", modules_to_save=["ghost", "lm_head"][:0]),
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
    PeftModel.from_pretrained(base(), copied)


@pytest.mark.parametrize("name", ALL)
def test_every_trained_configuration_is_quiet_with_its_base(name: str, tmp_path: Path) -> None:
    model = build(name, trained=True)
    model.save_pretrained(tmp_path / "adapter")
    ALL[name][0]().save_pretrained(tmp_path / "base")

    evidence = with_base(adapter_evidence(tmp_path / "adapter"), tmp_path / "base")
    report = judge([evidence], select(["TG1"]))

    assert [finding.message for finding in report.findings] == []
    assert {*NEW, "TG151", "TG152"} <= set(report.checked)


@pytest.mark.parametrize(
    "config",
    [
        peft.PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=4),
        peft.PrefixTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=4),
        peft.PromptEncoderConfig(task_type="CAUSAL_LM", num_virtual_tokens=4),
    ],
    ids=lambda config: config.peft_type,
)
def test_a_prompt_without_a_task_is_found_and_does_nothing(config: Any, tmp_path: Path) -> None:
    model = get_peft_model(base(), config).eval()
    model.save_pretrained(tmp_path)
    assert not judged(tmp_path).findings
    assert not torch.allclose(logits(model)[:, -8:], logits(base()), atol=1e-4)

    file = tmp_path / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"task_type": None}))

    (finding,) = judged(tmp_path).findings
    assert finding.code == "TG116"
    assert torch.equal(logits(PeftModel.from_pretrained(base(), tmp_path)), logits(base()))


def test_classification_heads_are_saved_under_one_of_two_names(tmp_path: Path) -> None:
    build("sequence classification", trained=True).save_pretrained(tmp_path)
    assert not judged(tmp_path).findings

    change(tmp_path, without("score"))

    (finding,) = judged(tmp_path).findings
    assert (finding.code, finding.severity) == ("TG117", Severity.WARNING)


def test_a_cached_base_gives_its_hub_id(copied: Path) -> None:
    name = "/gone/hub/models--meta-llama--Llama-3.1-8B/snapshots/0e9e39f"
    change(copied, having(base_model_name_or_path=name))

    (finding,) = judged(copied).findings
    assert finding.fix.endswith("meta-llama/Llama-3.1-8B")
