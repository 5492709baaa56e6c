"""Real adapters against the saved files of other base models; PEFT is the witness."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from peft import PeftModel, get_peft_model
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

from trainguard.engine import judge
from trainguard.facts.base_model import BaseModelFacts
from trainguard.findings import Report
from trainguard.gather.adapter import adapter_evidence
from trainguard.gather.base_model import with_base
from trainguard.registry import select

pytestmark = [
    pytest.mark.filterwarnings("ignore::UserWarning"),
    pytest.mark.filterwarnings("ignore::RuntimeWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]


def llama(layers: int = 2, width: int = 32, vocab: int = 64) -> Any:
    torch.manual_seed(0)
    sizes = {"vocab_size": vocab, "hidden_size": width, "intermediate_size": 64}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2}
    return LlamaForCausalLM(LlamaConfig(**sizes, **heads, num_hidden_layers=layers))


def gpt2() -> Any:
    torch.manual_seed(0)
    return GPT2LMHeadModel(GPT2Config(vocab_size=64, n_embd=32, n_layer=2, n_head=4))


def trained(model: Any, **options: Any) -> Any:
    config = peft.LoraConfig(**{"target_modules": ["q_proj", "v_proj"], "r": 4} | options)
    adapted = get_peft_model(model, config)
    with torch.no_grad():
        for parameter in adapted.parameters():
            if parameter.requires_grad:
                parameter += 0.02 * torch.randn_like(parameter)
    return adapted


def report(tmp_path: Path, adapted: Any, base: Any, **saving: Any) -> Report:
    adapted.save_pretrained(tmp_path / "adapter")
    base.save_pretrained(tmp_path / "base", **saving)
    evidence = with_base(adapter_evidence(tmp_path / "adapter"), tmp_path / "base")
    assert BaseModelFacts in evidence.facts
    return judge([evidence], select(["TG0", "TG1"]))


HEALTHY = {
    "llama": (llama, {}),
    "embeddings": (llama, {"target_modules": ["embed_tokens", "lm_head", "k_proj"]}),
    "gpt2": (gpt2, {"target_modules": ["c_attn", "c_proj"], "fan_in_fan_out": True}),
    "tied head": (gpt2, {"target_modules": ["lm_head"]}),
    "whole modules": (llama, {"modules_to_save": ["lm_head", "embed_tokens"]}),
    "replicated": (llama, {"layer_replication": [(0, 2), (0, 2)]}),
}


@pytest.mark.parametrize("name", HEALTHY)
@pytest.mark.parametrize("shard", ["1GB", "20KB"])
def test_an_adapter_on_its_own_base_is_quiet(name: str, shard: str, tmp_path: Path) -> None:
    build, options = HEALTHY[name]

    found = report(tmp_path, trained(build(), **options), build(), max_shard_size=shard)

    assert [finding.message for finding in found.findings] == []
    assert {"TG117", "TG151", "TG152"} <= set(found.checked)
    assert (shard == "20KB") == (tmp_path / "base" / "model.safetensors.index.json").exists()


def test_layers_that_the_base_has_not_are_found_and_dropped_by_peft(tmp_path: Path) -> None:
    (finding,) = report(tmp_path, trained(llama(4)), llama(2)).findings

    assert (finding.code, finding.evidence["count"]) == ("TG151", 4)
    assert "layers.2" in (finding.location.key or "")
    loaded = PeftModel.from_pretrained(llama(2), tmp_path / "adapter")
    assert not any("layers.2" in name for name, _ in loaded.named_parameters())


@pytest.mark.parametrize("other", [llama(2, 64), llama(2, 16)])
def test_another_width_is_found_and_stops_peft(other: Any, tmp_path: Path) -> None:
    (finding,) = report(tmp_path, trained(llama()), other).findings

    assert finding.code == "TG152"
    with pytest.raises(RuntimeError, match="size mismatch"):
        PeftModel.from_pretrained(other, tmp_path / "adapter")


@pytest.mark.parametrize(
    "options", [{"modules_to_save": ["lm_head"]}, {"target_modules": ["embed_tokens"]}]
)
def test_another_vocabulary_is_found(options: dict[str, Any], tmp_path: Path) -> None:
    (finding,) = report(tmp_path, trained(llama(vocab=72), **options), llama(vocab=64)).findings

    assert (finding.code, finding.severity.value) == ("TG152", "warning")
    assert "resize" in finding.fix


def test_another_architecture_is_found(tmp_path: Path) -> None:
    (finding,) = report(tmp_path, trained(llama()), gpt2()).findings

    assert (finding.code, finding.severity.value) == ("TG151", "warning")
    with pytest.raises(ValueError, match="not found in the base model"):
        PeftModel.from_pretrained(gpt2(), tmp_path / "adapter")


def test_a_whole_module_that_the_base_has_is_missed_for_certain(tmp_path: Path) -> None:
    adapted = trained(llama())
    adapted.peft_config["default"].modules_to_save = ["lm_head"]

    (finding,) = report(tmp_path, adapted, llama()).findings

    assert (finding.code, finding.severity.value) == ("TG117", "error")
    with pytest.raises(KeyError):
        PeftModel.from_pretrained(llama(), tmp_path / "adapter")


def test_a_module_that_the_base_has_not_costs_nothing(tmp_path: Path) -> None:
    adapted = trained(llama())
    adapted.peft_config["default"].modules_to_save = ["ghost"]

    assert not report(tmp_path, adapted, llama()).findings
    PeftModel.from_pretrained(llama(), tmp_path / "adapter")
