"""Faults planted in real tiny models, and their healthy twins."""

from __future__ import annotations

import copy
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from datasets import Dataset
from peft import LoraConfig, get_peft_model
from torch import Tensor
from transformers import (
    AutoModelForCausalLM,
    DataCollatorForLanguageModeling,
    DataCollatorForSeq2Seq,
    GPT2Config,
    LlamaConfig,
    MixtralConfig,
    OPTConfig,
    PretrainedConfig,
    Qwen2Config,
    RobertaConfig,
    RobertaForMaskedLM,
    T5Config,
    T5ForConditionalGeneration,
    Trainer,
    get_linear_schedule_with_warmup,
    set_seed,
)
from trl import SFTTrainer

from trainguard import Report, preflight

import tiny

SHARED: dict[str, Any] = {
    "vocab_size": tiny.VOCABULARY,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
GATED = {**SHARED, "intermediate_size": 64, "num_key_value_heads": 2}
EXPERTS = {"num_local_experts": 4, "num_experts_per_tok": 2}
SMALL = {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64}
CONFIGS: dict[str, PretrainedConfig] = {
    "llama": LlamaConfig(**GATED, attention_dropout=0.1),
    "qwen2": Qwen2Config(**GATED),
    "mixtral": MixtralConfig(**GATED, **EXPERTS),
    "gpt2": GPT2Config(vocab_size=64, **SMALL, pad_token_id=0, bos_token_id=1, eos_token_id=2),
    "opt": OPTConfig(**SHARED, ffn_dim=64, word_embed_proj_dim=32),
}


def built(kind: str = "llama", attention: str = "sdpa", dtype: torch.dtype = torch.float32) -> Any:
    set_seed(0)
    return AutoModelForCausalLM.from_config(
        copy.deepcopy(CONFIGS[kind]), attn_implementation=attention, dtype=dtype
    )


def batch(
    side: str = "right", rows: int = 4, width: int = 16, prompt: int = 3
) -> dict[str, Tensor]:
    """Rows of falling length: BOS, a prompt that is ignored, a supervised answer, EOS."""
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(4, tiny.VOCABULARY, (rows, width), generator=generator)
    mask = torch.zeros_like(tokens)
    labels = torch.full_like(tokens, -100)
    for row in range(rows):
        length = width - 3 * row
        start = 0 if side == "right" else width - length
        tokens[row, start], tokens[row, start + length - 1] = 1, 2
        mask[row, start : start + length] = 1
        labels[row, start + prompt : start + length] = tokens[row, start + prompt : start + length]
    return {"input_ids": tokens * mask, "attention_mask": mask, "labels": labels}


def packed() -> dict[str, Tensor]:
    """Two documents of eight tokens in one row, as a padding-free collator passes them."""
    tokens = torch.cat(
        [batch(rows=1, width=8)["input_ids"], batch(rows=1, width=8)["input_ids"]], 1
    )
    tokens[0, 1:7] = torch.arange(10, 16)
    return {"input_ids": tokens, "labels": tokens, "position_ids": torch.arange(16)[None] % 8}


def lora(model: Any, **options: Any) -> Any:
    targets = "all-linear"
    return get_peft_model(
        model, LoraConfig(r=4, target_modules=targets, lora_dropout=0.1, **options)
    )


def codes(report: Report) -> set[str]:
    return {finding.code for finding in report.findings}


def reason(report: Report, code: str) -> str:
    return next(entry.reason for entry in report.not_checked if entry.code == code)


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("kind", CONFIGS)
def test_a_healthy_model_is_clean(kind: str, attention: str, side: str) -> None:
    report = preflight(built(kind, attention), batch(side), probes="all")

    assert not report.findings
    decided = {"TG210", "TG211", "TG212", "TG213", "TG215", "TG302", "TG304", "TG305", "TG306"}
    assert decided <= set(report.checked)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("kind", CONFIGS)
def test_rounding_in_16_bits_is_no_fault(kind: str, dtype: torch.dtype) -> None:
    for side in ("right", "left"):
        report = preflight(built(kind, dtype=dtype), batch(side), probes="all")

        assert not report.findings
        assert {"TG211", "TG212", "TG213"} <= set(report.checked)


@pytest.mark.parametrize("options", [{}, {"use_dora": True}, {"init_lora_weights": "gaussian"}])
def test_a_fresh_adapter_whose_a_matrices_have_zero_gradients_is_clean(options: Any) -> None:
    model = lora(built(), **options)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-4)

    report = preflight(model, batch(), optimizer, tiny.tokenizer(), probes="all")

    assert not report.findings
    assert "TG210" in report.checked


@pytest.mark.parametrize("reentrant", [True, False])
def test_checkpointing_is_judged_by_a_real_backward_pass(reentrant: bool) -> None:
    healthy, broken = lora(built()), lora(built())
    for model in (healthy, broken):
        options = {"use_reentrant": reentrant}
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs=options)
    healthy.enable_input_require_grads()
    # What a wrapper that replaces the embeddings does to the hook of PEFT.
    broken.disable_input_require_grads()

    assert "TG210" not in codes(preflight(healthy, batch()))
    assert ("TG210" in codes(preflight(broken, batch()))) == reentrant


def test_detached_modules_are_named() -> None:
    model = built()
    model.model.layers[1].mlp.register_forward_hook(lambda module, args, output: output.detach())

    (finding,) = preflight(model, batch()).findings

    assert finding.code == "TG210"
    projections = [f"mlp.{name}_proj" for name in ("gate", "up", "down")]
    cut = [*projections, "post_attention_layernorm"]
    assert finding.evidence["unreached"] == [f"model.layers.1.{name}.weight" for name in cut]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_missing_causal_mask_is_found(dtype: torch.dtype) -> None:
    model = built(dtype=dtype)
    for layer in model.model.layers:
        layer.self_attn.is_causal = False

    full = batch(rows=1)

    assert "TG211" in codes(preflight(model, full))


def test_a_faint_leak_is_found() -> None:
    model = built()
    model.model.layers[0].mlp.register_forward_hook(
        lambda module, args, output: output + 0.01 * output.mean(dim=1, keepdim=True)
    )

    assert "TG211" in codes(preflight(model, batch(rows=1)))


class Normed(torch.nn.Module):
    def __init__(self, inner: Any) -> None:
        super().__init__()
        self.inner = inner
        self.norm = torch.nn.BatchNorm1d(32)

    def forward(self, hidden: Tensor) -> Tensor:
        return self.norm(self.inner(hidden).transpose(1, 2)).transpose(1, 2)


def test_batch_normalization_ties_the_rows_together() -> None:
    model = built()
    model.model.layers[0].mlp = Normed(model.model.layers[0].mlp)

    assert "TG212" in codes(preflight(model, batch(), probes="all"))
    cheap = preflight(model, batch())
    assert "TG212" not in codes(cheap)
    assert "not asked for" in reason(cheap, "TG212")


@pytest.mark.parametrize("kind", CONFIGS)
def test_left_padding_without_a_mask_is_found(kind: str) -> None:
    unmasked = batch("left")
    del unmasked["attention_mask"]

    assert "TG213" in codes(preflight(built(kind), unmasked))


@pytest.mark.parametrize("kind", CONFIGS)
def test_right_padding_without_a_mask_harms_no_earlier_token(kind: str) -> None:
    unmasked = batch("right")
    del unmasked["attention_mask"]

    report = preflight(built(kind), unmasked)

    assert "TG213" not in codes(report)
    assert "TG213" in report.checked


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("kind", ["llama", "qwen2", "mixtral"])
def test_packed_documents_are_isolated_unless_a_mask_is_passed(kind: str, attention: str) -> None:
    model = built(kind, attention)
    model.config.use_cache = False
    masked = {**packed(), "attention_mask": torch.ones(1, 16, dtype=torch.long)}

    healthy, broken = preflight(model, packed()), preflight(model, masked)

    assert not healthy.findings
    assert "TG214" in healthy.checked
    assert codes(broken) == {"TG214"}


def test_a_cache_that_undoes_the_isolation_is_a_warning() -> None:
    (finding,) = preflight(built(), packed()).findings

    assert (finding.code, finding.severity) == ("TG214", "warning")
    assert "use_cache on" in finding.message


def test_a_head_that_is_surely_wrong_is_found() -> None:
    model = built()
    with torch.no_grad():
        model.lm_head.weight.mul_(100)

    assert "TG215" in codes(preflight(model, batch()))


@pytest.mark.parametrize(
    ("dtype", "rate", "found"),
    [
        (torch.bfloat16, 1e-6, True),
        (torch.bfloat16, 1e-3, False),
        (torch.float32, 1e-6, False),
    ],
)
def test_a_rate_below_the_precision_of_the_weights(
    dtype: torch.dtype, rate: float, found: bool
) -> None:
    model = built(dtype=dtype)
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate)

    report = preflight(model, batch(), optimizer)

    assert ("TG216" in codes(report)) == found


def test_what_is_said_to_be_immovable_does_not_move() -> None:
    model = built(dtype=torch.bfloat16)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5, weight_decay=0.0)
    (finding,) = preflight(model, batch(), optimizer).findings
    before = torch.cat([p.detach().flatten().clone() for p in model.parameters()])

    model(**batch()).loss.backward()
    optimizer.step()

    after = torch.cat([p.detach().flatten() for p in model.parameters()])
    assert float((before == after).float().mean()) >= finding.evidence["immovable"] - 0.01


def test_a_schedule_that_ends_before_the_run_is_found() -> None:
    model = built()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    scheduler = get_linear_schedule_with_warmup(optimizer, 2, 20)

    short = preflight(model, batch(), optimizer, scheduler=scheduler, steps=60)
    right = preflight(model, batch(), optimizer, scheduler=scheduler, steps=20)

    assert codes(short) == {"TG218"}
    assert short.findings[0].evidence == {"zero_from": 21, "steps": 60}
    assert not right.findings
    assert "TG218" in right.checked


def test_a_warm_up_beyond_the_run_is_found(tmp_path: Path) -> None:
    long = tiny.trainer(built(), tmp_path, warmup_steps=100, max_steps=8)
    share = tiny.trainer(built(), tmp_path, warmup_steps=0.25, max_steps=8)
    single = tiny.trainer(built(), tmp_path, warmup_steps=10, max_steps=1)

    (finding,) = preflight(long).findings
    assert finding.code == "TG217"
    assert finding.evidence["peak"] == pytest.approx(7e-5)
    assert not preflight(share).findings
    assert codes(preflight(single)) == {"TG217"}


class Forgetful(Trainer):
    def compute_loss(self, model: Any, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        return model(**inputs).loss


class Divided(Forgetful):
    loss_is_scaled_for_ga = False


@pytest.mark.parametrize(("kind", "found"), [(Trainer, False), (Forgetful, True), (Divided, False)])
def test_a_loss_that_ignores_the_accumulation_is_found(
    kind: type, found: bool, tmp_path: Path
) -> None:
    trainer = tiny.trainer(built(), tmp_path, kind, gradient_accumulation_steps=4)

    assert ("TG219" in codes(preflight(trainer, probes="all"))) == found


def test_a_collator_that_masks_the_ends_is_found() -> None:
    tokenizer = tiny.tokenizer()
    texts = [f"<s> {'w5 w6 ' * count}w7 </s>" for count in (2, 3, 4)]
    rows = [{"input_ids": tokenizer(text)["input_ids"]} for text in texts]
    healthy = DataCollatorForLanguageModeling(tokenizer, mlm=False)(rows)
    report = preflight(built(), healthy, tokenizer=tokenizer)
    assert not report.findings
    assert "TG302" in report.checked

    tokenizer.pad_token = tokenizer.eos_token
    broken = DataCollatorForLanguageModeling(tokenizer, mlm=False)(rows)
    report = preflight(built(), broken, tokenizer=tokenizer)

    (cause,) = report.causes
    assert cause.code == "TG302"
    assert cause.evidence == {"ends": 3, "rows": 3}


def test_padding_with_the_end_token_is_no_fault_where_labels_end_in_it() -> None:
    tokenizer = tiny.tokenizer()
    tokenizer.pad_token = tokenizer.eos_token
    rows = [
        {"input_ids": [1, *range(5, 5 + length), 2], "labels": [-100, *range(5, 5 + length), 2]}
        for length in (3, 6, 9)
    ]

    report = preflight(built(), DataCollatorForSeq2Seq(tokenizer)(rows), tokenizer=tokenizer)

    assert not report.findings
    assert {"TG302", "TG304", "TG306"} <= set(report.checked)


@pytest.mark.parametrize("masked", [True, False])
def test_supervised_padding_is_found(masked: bool) -> None:
    copied = batch()
    copied["labels"] = copied["input_ids"].clone()
    if not masked:
        del copied["attention_mask"]

    (finding,) = preflight(built(), copied).findings

    assert finding.code == "TG304"
    assert finding.evidence["supervised_padding"] == 18


def test_labels_that_are_shifted_already_are_found() -> None:
    shifted = batch()
    shifted["labels"] = shifted["labels"].roll(-1, dims=1)
    shifted["labels"][:, -1] = -100

    report = preflight(built(), shifted)

    assert {cause.code for cause in report.causes} == {"TG305"}


def test_answers_without_an_end_are_found() -> None:
    endless = batch()
    ends = endless["input_ids"] == 2
    endless["input_ids"][ends], endless["labels"][ends] = 9, 9

    assert codes(preflight(built(), endless)) == {"TG306"}


def test_text_of_pre_training_needs_no_end() -> None:
    text = batch(prompt=0)
    ends = text["input_ids"] == 2
    text["input_ids"][ends], text["labels"][ends] = 9, 9

    assert not preflight(built(), text).findings


@pytest.mark.parametrize("side", ["right", "left"])
def test_two_beginnings_are_found(side: str) -> None:
    doubled = batch(side)
    first = doubled["attention_mask"].argmax(dim=1)
    doubled["input_ids"][torch.arange(4), first + 1] = 1

    assert codes(preflight(built(), doubled)) == {"TG303"}


@pytest.mark.parametrize(
    "model",
    [
        RobertaForMaskedLM(RobertaConfig(**SHARED, intermediate_size=64)),
        T5ForConditionalGeneration(T5Config(**SHARED, d_ff=64, d_kv=8, decoder_start_token_id=0)),
    ],
    ids=["masked", "encoder-decoder"],
)
def test_labels_that_are_no_continuation_are_not_judged_as_one(model: Any) -> None:
    report = preflight(model, batch(), probes="all")

    assert not report.findings
    assert "TG210" in report.checked
    assert "not the tokens of its input" in reason(report, "TG302")


@pytest.mark.parametrize("packing", [True, False])
def test_sft_with_documents_side_by_side_is_clean(packing: bool, tmp_path: Path) -> None:
    rows = {"prompt": ["w5 w6", "w5"] * 8, "completion": [" w7 w8", " w9 w10 w11"] * 8}
    options = {"packing": True, "max_length": 16} if packing else {"max_length": None}
    trainer = tiny.trainer(
        tiny.model(),
        tmp_path,
        SFTTrainer,
        train_dataset=Dataset.from_dict(rows),
        padding_free=not packing,
        **options,
    )

    report = preflight(trainer)

    assert not report.findings
    assert {"TG214", "TG302"} <= set(report.checked)


def test_labels_that_are_all_ignored_lead_the_report() -> None:
    ignored = batch()
    ignored["labels"][:] = -100

    report = preflight(built(), ignored)

    assert [cause.code for cause in report.causes] == ["TG301"]


def test_a_model_that_cannot_run_the_batch_gives_reasons_and_no_exception() -> None:
    report = preflight(built(), {"input_ids": torch.tensor([[10**6, 5, 6, 7]])}, probes="all")

    assert not report.findings
    assert "IndexError" in reason(report, "TG211")
    assert "labels" in reason(report, "TG305")


def test_without_a_batch_the_model_is_judged_all_the_same() -> None:
    frozen = built().requires_grad_(False)

    report = preflight(frozen)

    assert codes(report) == {"TG202"}
    assert reason(report, "TG304") == "no batch was given"


def test_wrong_arguments_are_refused() -> None:
    with pytest.raises(ValueError, match="no probe is called 'casual'"):
        preflight(built(), batch(), probes=("casual",))
    with pytest.raises(TypeError, match="neither a module nor a Trainer"):
        preflight("model", batch())
    with pytest.raises(TypeError, match="not a mapping"):
        preflight(built(), [batch()])


def state(model: torch.nn.Module) -> dict[str, Any]:
    tensors = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    gradients = {n: p.grad for n, p in model.named_parameters()}
    return {
        "values": {name: tensor.detach().numpy().tobytes() for name, tensor in tensors.items()},
        "places": {name: tensor.data_ptr() for name, tensor in tensors.items()},
        "gradients": {n: None if g is None else g.numpy().tobytes() for n, g in gradients.items()},
        "gradient objects": {name: id(gradient) for name, gradient in gradients.items()},
        "requires_grad": [p.requires_grad for p in model.parameters()],
        "training": [module.training for module in model.modules()],
        "hooks": [len(module._forward_hooks) for module in model.modules()],
        "use_cache": model.config.use_cache,
        "python": random.getstate(),
        "numpy": np.random.get_state()[1].tolist(),
        "torch": torch.get_rng_state().tolist(),
    }


@pytest.mark.parametrize("wrap", [lora, lambda model: model], ids=["lora", "full"])
def test_nothing_of_the_model_is_changed(wrap: Any) -> None:
    model = built()
    model.model.layers[0].mlp = Normed(model.model.layers[0].mlp)
    model = wrap(model)
    # A parameter without a gradient calls for a real backward pass.
    model.register_parameter("unused", torch.nn.Parameter(torch.zeros(3)))
    model(**batch()).loss.backward()
    model.train()
    next(m for m in model.modules() if isinstance(m, torch.nn.BatchNorm1d)).eval()
    before = state(model)

    for _ in range(2):
        preflight(model, batch(), probes="all")
        preflight(model, {"input_ids": torch.tensor([[10**6, 5, 6, 7]])}, probes="all")

    after = state(model)
    for part, value in before.items():
        assert value == after[part], part


def looped(look: bool) -> dict[str, Any]:
    """A loop over a model with dropout, batch normalization and LoRA."""
    model = built()
    model.model.layers[0].mlp = Normed(model.model.layers[0].mlp)
    model = lora(model)
    model.train()
    optimizer = torch.optim.AdamW((p for p in model.parameters() if p.requires_grad), lr=1e-3)
    for step in range(4):
        if look and step % 2 == 0:
            preflight(model, batch(), optimizer, probes="all")
        model(**batch()).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    moments = [entry["exp_avg_sq"].numpy().tobytes() for entry in optimizer.state.values()]
    without_places = {
        k: v for k, v in state(model).items() if k not in ("places", "gradient objects")
    }
    return {**without_places, "moments": moments}


def test_a_loop_with_looks_in_between_is_bit_identical() -> None:
    assert looped(look=True) == looped(look=False)


@pytest.mark.parametrize("kind", [Trainer, SFTTrainer])
def test_a_trainer_that_was_looked_at_trains_the_same_to_the_bit(
    kind: type, tmp_path: Path
) -> None:
    runs = []
    for look in (False, True):
        trainer = tiny.trainer(
            tiny.lora(tiny.model()), tmp_path, kind, gradient_accumulation_steps=2, max_steps=3
        )
        if look:
            report = preflight(trainer, probes="all")
            assert not report.findings
            assert {"TG210", "TG217", "TG304"} <= set(report.checked)
        trainer.train()
        logs = [(log.get("loss"), log.get("grad_norm")) for log in trainer.state.log_history]
        metrics = [log.get("entropy") for log in trainer.state.log_history]
        weights = {n: p.detach().numpy().tobytes() for n, p in trainer.model.named_parameters()}
        runs.append((logs, metrics, weights, torch.get_rng_state().tolist()))

    assert runs[0] == runs[1]


def test_the_first_batch_is_the_one_that_training_begins_with(tmp_path: Path) -> None:
    seen: list[Tensor] = []

    class Noting(Trainer):
        def training_step(self, model: Any, inputs: Any, *args: Any, **kwargs: Any) -> Any:
            seen.append(inputs["input_ids"].clone())
            return super().training_step(model, inputs, *args, **kwargs)

    without, looked = (tiny.trainer(tiny.model(), tmp_path, Noting, max_steps=2) for _ in range(2))
    set_seed(7)
    without.train()
    set_seed(7)
    preflight(looked)
    looked.train()

    assert torch.equal(torch.cat(seen[:2]), torch.cat(seen[2:]))
