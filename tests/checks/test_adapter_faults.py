"""One fault planted in an adapter that PEFT saved: its code is found, and no other cause.

Where the fault changes what PEFT loads, PEFT itself is the witness that it does.
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from peft import PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import LlamaConfig, LlamaForCausalLM

from trainguard.engine import judge
from trainguard.findings import Report, Severity
from trainguard.gather.adapter import adapter_evidence
from trainguard.registry import select

pytestmark = [
    pytest.mark.filterwarnings("ignore::UserWarning"),
    pytest.mark.filterwarnings("ignore::RuntimeWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]

Tensors = dict[str, torch.Tensor]
Config = dict[str, Any]
Q0 = "base_model.model.model.layers.0.self_attn.q_proj"
EMBEDDING = "base_model.model.model.embed_tokens.weight"
V1 = "base_model.model.model.layers.1.self_attn.v_proj"


def base() -> Any:
    torch.manual_seed(0)
    sizes = {"vocab_size": 64, "hidden_size": 32, "intermediate_size": 64}
    heads = {"num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 4}
    return LlamaForCausalLM(LlamaConfig(**sizes, **heads)).eval()


def save(folder: Path, config: peft.PeftConfig | None = None) -> None:
    """A trained adapter: every tensor that trains has moved."""
    config = config or lora()
    model = get_peft_model(base(), copy.deepcopy(config))
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter += 0.1 * torch.randn_like(parameter)
    model.save_pretrained(folder)


def lora(**options: Any) -> peft.LoraConfig:
    return peft.LoraConfig(**{"target_modules": ["q_proj", "v_proj"], "r": 4} | options)


def change(folder: Path, fault: Callable[[Config, Tensors], Any]) -> None:
    """Apply a fault to the two files; what it returns, if anything, replaces the tensors."""
    weights, settings = folder / "adapter_model.safetensors", folder / "adapter_config.json"
    config, tensors = json.loads(settings.read_text()), load_file(weights)
    replaced = fault(config, tensors)
    tensors = tensors if replaced is None else replaced
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, weights)
    settings.write_text(json.dumps(config, indent=2))


def judged(folder: Path) -> Report:
    return judge([adapter_evidence(folder)], select(["TG0", "TG1"]))


def renamed(pattern: str, by: str) -> Callable[[Config, Tensors], Tensors]:
    return lambda _, tensors: {re.sub(pattern, by, name): t for name, t in tensors.items()}


def without(pattern: str) -> Callable[[Config, Tensors], Tensors]:
    return lambda _, tensors: {n: t for n, t in tensors.items() if not re.search(pattern, n)}


def having(**values: Any) -> Callable[[Config, Tensors], None]:
    return lambda config, _: config.update(values)


def scaled(pattern: str, factor: float) -> Callable[[Config, Tensors], Tensors]:
    return lambda _, tensors: {
        n: t * factor if re.search(pattern, n) else t for n, t in tensors.items()
    }


def reshaped(pattern: str, *keep: slice) -> Callable[[Config, Tensors], Tensors]:
    return lambda _, tensors: {
        n: t[keep] if re.search(pattern, n) else t for n, t in tensors.items()
    }


def one_nan(_: Config, tensors: Tensors) -> None:
    tensors[f"{V1}.lora_A.weight"][2, 5] = float("nan")


def one_infinity_in_bfloat16(_: Config, tensors: Tensors) -> Tensors:
    tensors[f"{Q0}.lora_B.weight"][0, 0] = float("-inf")
    return {name: tensor.bfloat16() for name, tensor in tensors.items()}


#: Fault, code, where the finding points, and what PEFT makes of it.
FAULTS: dict[str, tuple[Callable[[Config, Tensors], Any], str, str, str]] = {
    "no prefix": (renamed("^base_model.model.", ""), "TG104", "lora_A", "no-op"),
    "half a prefix": (
        renamed("^base_model.model.model.", "base_model."),
        "TG104",
        "lora_A",
        "no-op",
    ),
    "double prefix": (renamed("^", "base_model.model."), "TG104", "lora_A", "no-op"),
    "compiled": (renamed(r"model\.layers", "_orig_mod.model.layers"), "TG104", Q0[-6:], "no-op"),
    "wrapped": (renamed("layers.(.)", r"layers.\1._fsdp_wrapped_module"), "TG104", "", "no-op"),
    "ddp": (renamed("^", "module."), "TG104", "module.", "no-op"),
    "lower case": (renamed("lora_([AB])", lambda m: m[0].lower()), "TG104", "lora_a", "no-op"),
    "infix": (renamed("(lora_.)", r"\1.mine"), "TG104", "lora_A.mine", "no-op"),
    "default infix": (renamed("(lora_.)", r"\1.default"), "TG104", "default", "works"),
    "target lost": (having(target_modules=["q_proj"]), "TG104", "v_proj", "changed"),
    "target as pattern": (having(target_modules=r".*\.q_proj"), "TG104", "v_proj", "changed"),
    "layer lost": (having(layers_to_transform=[1]), "TG104", "layers.0", "changed"),
    "layer excluded": (having(exclude_modules=r".*\.0\..*"), "TG104", "layers.0", "changed"),
    "no B in one layer": (without(r"layers\.1.*q_proj.lora_B"), "TG102", "layers.1", "changed"),
    "no A at all": (without("lora_A"), "TG102", "lora_B", "changed"),
    "rank of B": (reshaped("q_proj.lora_B", slice(None), slice(2)), "TG103", "q_proj", "raises"),
    "rank by config": (having(r=8), "TG103", "lora_A", "raises"),
    "rank forgotten": (lambda c, _: c.pop("r") and None, "TG103", "lora_A", "raises"),
    "rank by pattern": (having(rank_pattern={"v_proj": 2}), "TG103", "v_proj", "raises"),
    "a shard": (lambda _, t: {n: x.flatten()[:9] for n, x in t.items()}, "TG103", "", "raises"),
    "A is zero": (scaled("lora_A", 0.0), "TG105", "lora_A", "no-op"),
    "B is minus zero": (scaled("lora_B", -0.0), "TG105", "lora_B", "no-op"),
    "NaN": (one_nan, "TG106", f"{V1}.lora_A.weight", "NaN"),
    "infinity": (one_infinity_in_bfloat16, "TG106", f"{Q0}.lora_B.weight", "NaN"),
    "empty tensors": (lambda _, t: {n: x[:0] for n, x in t.items()}, "TG107", Q0, "raises"),
    "no tensors": (without(""), "TG107", "adapter_model", "no-op"),
    "alpha zero": (having(lora_alpha=0), "TG108", "lora_alpha", "no-op"),
    "alpha false": (having(lora_alpha=False), "TG108", "lora_alpha", "no-op"),
    "alpha NaN": (having(lora_alpha=float("nan")), "TG108", "lora_alpha", "NaN"),
    "alpha by pattern": (having(alpha_pattern={"q_proj": 0}), "TG108", "pattern", "changed"),
    "target not stored": (without("v_proj"), "TG110", "target_modules", "changed"),
}


def logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        return model(torch.arange(8)[None]).logits


def outcome(folder: Path, healthy: torch.Tensor) -> str:
    """What PEFT makes of the adapter."""
    try:
        found = logits(PeftModel.from_pretrained(base(), folder).eval())
    except (RuntimeError, ValueError):
        return "raises"
    if not found.isfinite().all():
        return "NaN"
    if torch.equal(found, logits(base())):
        return "no-op"
    return "works" if torch.allclose(found, healthy) else "changed"


@pytest.mark.parametrize("name", FAULTS)
def test_a_planted_fault_is_the_only_cause_that_is_found(name: str, tmp_path: Path) -> None:
    fault, code, place, consequence = FAULTS[name]
    save(tmp_path)
    healthy = logits(PeftModel.from_pretrained(base(), tmp_path).eval())
    assert not judged(tmp_path).findings

    change(tmp_path, fault)

    report = judged(tmp_path)
    assert [finding.code for finding in report.causes] == [code]
    assert place in (report.causes[0].location.key or "")
    assert re.search(r"\d|NaN", report.causes[0].message)
    assert len(report.causes[0].message) < 400
    assert outcome(tmp_path, healthy) == consequence


@pytest.mark.parametrize(
    ("config", "lost", "place"),
    [
        (lora(use_dora=True), {"use_dora": False}, "lora_magnitude_vector"),
        (lora(lora_bias=True), {"lora_bias": False}, "lora_B.bias"),
        (lora(trainable_token_indices=[1]), {"trainable_token_indices": None}, "trainable_tokens"),
        (
            peft.IA3Config(
                target_modules=["k_proj", "down_proj"], feedforward_modules=["down_proj"]
            ),
            {"target_modules": ["k_proj"], "feedforward_modules": []},
            "down_proj",
        ),
    ],
)
def test_a_lost_setting_drops_tensors(
    config: peft.PeftConfig, lost: Config, place: str, tmp_path: Path
) -> None:
    save(tmp_path, config)

    change(tmp_path, having(**lost))

    (finding,) = judged(tmp_path).findings
    assert finding.code == "TG104"
    assert place in (finding.location.key or "")


@pytest.mark.parametrize(
    ("config", "part"),
    [
        (peft.LoHaConfig(target_modules=["q_proj"], r=4), "hada_w1_b"),
        (peft.LoKrConfig(target_modules=["q_proj"], r=1, decompose_both=True), "lokr_w1_a"),
        (peft.VeraConfig(target_modules=["q_proj"], r=4), "vera_lambda_d"),
        (peft.AdaLoraConfig(target_modules=["q_proj"], total_step=9), "lora_E"),
        (peft.HiraConfig(target_modules=["q_proj"], r=4), "hira_A"),
        (lora(target_modules=["q_proj", "embed_tokens"]), "lora_embedding_B"),
    ],
)
def test_every_tuners_partner_is_missed(config: peft.PeftConfig, part: str, tmp_path: Path) -> None:
    save(tmp_path, config)

    change(tmp_path, without(part))

    (finding,) = judged(tmp_path).findings
    assert finding.code == "TG102"
    assert finding.evidence["missing"] == part


def test_the_spelling_that_works_somewhere_is_a_warning(tmp_path: Path) -> None:
    save(tmp_path)
    change(tmp_path, renamed("(lora_.)", r"\1.default"))

    (finding,) = judged(tmp_path).findings
    assert finding.severity is Severity.WARNING


@pytest.mark.parametrize(
    "fault",
    [
        having(inference_mode=False),
        having(inference_mode=True, task_type=None, peft_version="0.99.0.dev0@abc", unheard_of=1),
        having(rank_pattern={"nowhere": 2, "q_proj": 4}, alpha_pattern={"q_proj": 7}),
        having(target_modules=r"(?:.*?(?:model|language).*?(?:self_attn|mlp).*?(?:q_proj|v_proj))"),
        having(target_modules=None),
        lambda _, tensors: {name: tensor.half() for name, tensor in tensors.items()},
        lambda _, tensors: {name: tensor.double() for name, tensor in tensors.items()},
        lambda _, tensors: tensors | {EMBEDDING: torch.ones(64, 32)},
    ],
)
def test_what_is_unusual_but_healthy_is_quiet(
    fault: Callable[[Config, Tensors], Any], tmp_path: Path
) -> None:
    save(tmp_path)
    change(tmp_path, fault)

    assert not judged(tmp_path).findings


@pytest.mark.parametrize("pattern", ["(", "(?i).*Q_PROJ", r"(a)\1", "x" * 6000])
def test_a_pattern_that_cannot_be_decided_is_said_to_be_so(pattern: str, tmp_path: Path) -> None:
    save(tmp_path)
    change(tmp_path, having(target_modules=pattern, rank_pattern={pattern: 2}))

    report = judged(tmp_path)

    assert not report.findings
    undecided = {entry.code for entry in report.not_checked if entry.subject}
    assert undecided == {"TG103", "TG104"}


def test_a_tensor_of_bytes_is_not_called_untrained(tmp_path: Path) -> None:
    save(tmp_path)
    change(tmp_path, lambda _, t: {n: x.to(torch.float8_e4m3fn) for n, x in t.items()})

    report = judged(tmp_path)

    assert not report.findings
    assert "TG105" in {entry.code for entry in report.not_checked if entry.subject}


def test_a_pruned_adalora_is_quiet(tmp_path: Path) -> None:
    save(tmp_path, peft.AdaLoraConfig(target_modules=["q_proj"], total_step=9, init_r=4))
    change(
        tmp_path,
        lambda _, tensors: {
            name: (tensor[:, :0] if "lora_B" in name else tensor[:0])
            if "layers.0" in name
            else tensor
            for name, tensor in tensors.items()
        },
    )

    assert not judged(tmp_path).findings
