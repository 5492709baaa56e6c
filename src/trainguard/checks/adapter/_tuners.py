"""What each tuner stores for a module, by the spelling of `peft_type`.

Only tuners whose stored tensors were seen in adapters that PEFT saved are listed; the checks
leave the others alone.
"""

from __future__ import annotations

LORA_PAIRS = (("lora_A", "lora_B"), ("lora_embedding_A", "lora_embedding_B"))

#: Parts that are useless without one another.
TOGETHER: dict[str, tuple[tuple[str, ...], ...]] = {
    "LORA": LORA_PAIRS,
    "ADALORA": (("lora_A", "lora_B", "lora_E"),),
    "LOHA": (("hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b"),),
    "LOKR": (("lokr_w1_a", "lokr_w1_b"), ("lokr_w2_a", "lokr_w2_b")),
    "VERA": (("vera_lambda_b", "vera_lambda_d"),),
    "HIRA": (("hira_A", "hira_B"),),
}

#: The dimension of each part that is the rank; parts of one group share it.
RANK_AXES: dict[str, tuple[dict[str, int], ...]] = {
    "LORA": ({"lora_A": 0, "lora_B": 1}, {"lora_embedding_A": 0, "lora_embedding_B": 1}),
    "ADALORA": ({"lora_A": 0, "lora_B": 1, "lora_E": 0},),
    "LOHA": ({"hada_w1_a": 1, "hada_w1_b": 0, "hada_w2_a": 1, "hada_w2_b": 0},),
    "LOKR": ({"lokr_w1_a": 1, "lokr_w1_b": 0}, {"lokr_w2_a": 1, "lokr_w2_b": 0}),
}

#: Parts that a module's update is a product of: if all of one is zero, so is the update. The
#: part that starts at zero comes first.
FACTORS: dict[str, tuple[str, ...]] = {
    "LORA": ("lora_B", "lora_A", "lora_embedding_A", "lora_embedding_B"),
    "ADALORA": ("lora_E", "lora_A", "lora_B"),
    "VERA": ("vera_lambda_b", "vera_lambda_d"),
    "LOHA": ("hada_w2_b", "hada_w1_a", "hada_w1_b", "hada_w2_a"),
    "LOKR": (
        "lokr_w1",
        "lokr_w1_a",
        "lokr_w1_b",
        "lokr_w2",
        "lokr_w2_a",
        "lokr_w2_b",
    ),
    "OFT": ("oft_R",),
    "HIRA": ("hira_B", "hira_A", "hira_embedding_A", "hira_embedding_B"),
    "MISS": ("miss_block",),
    "RANDLORA": ("randlora_lambda", "randlora_gamma"),
    "SHIRA": ("shira_weight",),
    "WAVEFT": ("waveft_spectrum",),
}

#: Parts that a module's output is multiplied by: if all of one is one, nothing changes.
MULTIPLIERS: dict[str, tuple[str, ...]] = {"IA3": ("ia3_l",)}

#: Tuners whose modules are found by `target_modules` and stored under their own path.
BY_MODULE = frozenset(FACTORS | MULTIPLIERS) - {"RANDLORA"}

#: Tuners whose tensors `PeftModel.from_pretrained` leaves without gradients. Prompt learning is
#: not among them: it stays trainable.
FROZEN_ON_LOAD = BY_MODULE | {
    "BOFT",
    "DELORA",
    "FOURIERFT",
    "GRALORA",
    "HRA",
    "LN_TUNING",
    "RANDLORA",
    "TINYLORA",
    "TRAINABLE_TOKENS",
    "VBLORA",
}
