"""Adapters as PEFT saves them: the trained ones are quiet, the untrained ones are told apart."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from peft import PeftModel, get_peft_model
from peft.tuners.lora.config import BdLoraConfig
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    LlamaForSequenceClassification,
    MixtralConfig,
    MixtralForCausalLM,
)

from trainguard.checks.adapter._tuners import FROZEN_ON_LOAD
from trainguard.engine import judge
from trainguard.facts.intent import Intent
from trainguard.findings import Report
from trainguard.gather.adapter import adapter_evidence
from trainguard.registry import select

pytestmark = [
    pytest.mark.filterwarnings("ignore::UserWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::RuntimeWarning"),
]

SIZES: dict[str, Any] = {
    "vocab_size": 64,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "pad_token_id": 0,
}
QV = ["q_proj", "v_proj"]


def llama() -> Any:
    torch.manual_seed(0)
    return LlamaForCausalLM(LlamaConfig(**SIZES)).eval()


def classifier() -> Any:
    torch.manual_seed(0)
    return LlamaForSequenceClassification(LlamaConfig(**SIZES, num_labels=3)).eval()


def mixtral() -> Any:
    torch.manual_seed(0)
    return MixtralForCausalLM(MixtralConfig(**SIZES, num_local_experts=4)).eval()


def lora(**options: Any) -> peft.LoraConfig:
    return peft.LoraConfig(**{"task_type": "CAUSAL_LM", "target_modules": QV, "r": 4} | options)


BLOCKS = BdLoraConfig(target_modules_bd_b=["q_proj"], target_modules_bd_a=["o_proj"], nblocks=2)

#: Adapters whose first state is the base model itself.
NEUTRAL: dict[str, peft.PeftConfig] = {
    "lora": lora(),
    "dora": lora(use_dora=True),
    "rslora": lora(use_rslora=True),
    "gaussian": lora(init_lora_weights="gaussian"),
    "lora with patterns": lora(
        rank_pattern={"layers.0.self_attn.q_proj": 2, r".*v_proj": 3}, alpha_pattern={"v_proj": 6}
    ),
    "lora on all linear layers": lora(target_modules="all-linear"),
    "lora by a pattern": lora(target_modules=r"(?!.*\.1\.).*\.self_attn\.(q|v)_proj"),
    "lora on one layer": lora(layers_to_transform=[1]),
    "lora but one layer": lora(exclude_modules=r".*layers\.0\..*"),
    "lora with whole modules and biases": lora(modules_to_save=["lm_head"], bias="all"),
    "lora with embeddings": lora(target_modules=["q_proj", "embed_tokens"]),
    "lora with tokens": lora(trainable_token_indices=[1, 2]),
    "lora with its own biases": lora(lora_bias=True),
    "lora on replicated layers": lora(layer_replication=[(0, 2), (0, 2)]),
    "block-diagonal lora": lora(target_modules=["q_proj", "o_proj"], use_bdlora=BLOCKS),
    "adalora": peft.AdaLoraConfig(target_modules=QV, total_step=10, init_r=4, target_r=2),
    "ia3": peft.IA3Config(
        target_modules=["k_proj", "down_proj"], feedforward_modules=["down_proj"]
    ),
    "vera": peft.VeraConfig(target_modules=QV, r=4),
    "loha": peft.LoHaConfig(target_modules=QV, r=4),
    "lokr": peft.LoKrConfig(target_modules=QV, r=4),
    "lokr in factors": peft.LoKrConfig(target_modules=QV, r=1, decompose_both=True),
    "oft": peft.OFTConfig(target_modules=QV, oft_block_size=8),
    "hira": peft.HiraConfig(target_modules=QV, r=4),
    "miss": peft.MissConfig(target_modules=QV, r=4),
    "randlora": peft.RandLoraConfig(target_modules=QV, r=4),
    "shira": peft.ShiraConfig(target_modules=QV, r=2),
    "waveft": peft.WaveFTConfig(target_modules=QV, n_frequency=20),
}
#: Adapters whose first state cannot be told from a trained one.
OPEN: dict[str, peft.PeftConfig] = {
    "pissa": lora(init_lora_weights="pissa"),
    "random lora": lora(init_lora_weights=False),
    "boft": peft.BOFTConfig(target_modules=QV, boft_block_size=8),
    "fourierft": peft.FourierFTConfig(target_modules=QV, n_frequency=20),
    "layer norms": peft.LNTuningConfig(target_modules=["input_layernorm"]),
    "trainable tokens": peft.TrainableTokensConfig(token_indices=[1, 2]),
    "delora": peft.DeloraConfig(target_modules=QV, r=4),
    "gralora": peft.GraloraConfig(target_modules=QV, r=4, gralora_k=2),
    "hra": peft.HRAConfig(target_modules=QV, r=4),
    "vblora": peft.VBLoRAConfig(target_modules=QV, num_vectors=16, vector_length=16),
    "tinylora": peft.TinyLoraConfig(target_modules=QV),
    "prompt": peft.PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=4),
    "prefix": peft.PrefixTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=4),
}
#: Adapters of other base models.
ELSEWHERE: dict[str, tuple[Callable[[], Any], peft.PeftConfig]] = {
    "experts by parameter": (
        mixtral,
        lora(target_parameters=["mlp.experts.gate_up_proj", "mlp.experts.down_proj"]),
    ),
    "experts by their old names": (mixtral, lora(target_modules=["q_proj", "w1", "w2", "w3"])),
    "all linear layers with experts": (mixtral, lora(target_modules="all-linear")),
    "sequence classification": (classifier, lora(task_type="SEQ_CLS")),
}
ALL = {name: (llama, config) for name, config in (NEUTRAL | OPEN).items()} | ELSEWHERE


def build(name: str, *, trained: bool) -> Any:
    base, config = ALL[name]
    model = get_peft_model(base(), copy.deepcopy(config))
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            if trained and parameter.requires_grad:
                parameter += 0.02 * torch.randn_like(parameter)
    return model.eval()


def report_on(folder: Path, purpose: Any = None) -> Report:
    return judge([adapter_evidence(folder, Intent(purpose))], select(["TG1"]))


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["f32", "bf16"])
def test_a_trained_adapter_gives_no_finding(name: str, dtype: torch.dtype, tmp_path: Path) -> None:
    build(name, trained=True).to(dtype).save_pretrained(tmp_path)

    report = report_on(tmp_path)

    assert [finding.message for finding in report.findings] == []
    assert not [entry for entry in report.not_checked if entry.subject]
    assert {f"TG1{number:02}" for number in range(1, 11)} <= set(report.checked)


@pytest.mark.parametrize("name", NEUTRAL)
def test_an_untrained_adapter_is_found_and_nothing_else(name: str, tmp_path: Path) -> None:
    build(name, trained=False).save_pretrained(tmp_path)

    assert [finding.code for finding in report_on(tmp_path).findings] == ["TG105"]


@pytest.mark.parametrize("name", sorted(NEUTRAL.keys() - {"lora on replicated layers"}))
def test_an_untrained_adapter_really_adds_nothing(name: str) -> None:
    inputs = torch.arange(8)[None]
    with torch.no_grad():
        expected = llama()(inputs).logits
        found = build(name, trained=False)(inputs).logits
        trained = build(name, trained=True)(inputs).logits

    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(trained, expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", [*OPEN, *ELSEWHERE])
def test_what_cannot_be_told_from_a_trained_state_is_not_judged(name: str, tmp_path: Path) -> None:
    build(name, trained=False).save_pretrained(tmp_path)

    expected = ["TG105"] if name in ELSEWHERE else []
    assert [finding.code for finding in report_on(tmp_path).findings] == expected


@pytest.mark.parametrize("name", sorted(NEUTRAL | OPEN))
def test_what_loads_frozen_is_known_and_told_to_whoever_trains(name: str, tmp_path: Path) -> None:
    build(name, trained=True).save_pretrained(tmp_path)

    model = PeftModel.from_pretrained(llama(), tmp_path)
    part = "bias" if name == "lora with whole modules and biases" else ""
    trainable = [
        n for n, p in model.named_parameters() if p.requires_grad and not (part and part in n)
    ]

    peft_type = ALL[name][1].peft_type
    codes = [finding.code for finding in report_on(tmp_path, "train").findings]
    assert codes == (["TG109"] if peft_type in FROZEN_ON_LOAD else [])
    if peft_type in FROZEN_ON_LOAD:
        assert not trainable
    assert not report_on(tmp_path, "infer").findings


def test_an_adapter_that_transformers_saved_is_quiet(tmp_path: Path) -> None:
    model = llama()
    model.add_adapter(lora(init_lora_weights=False))
    model.save_pretrained(tmp_path)

    assert not report_on(tmp_path).findings
