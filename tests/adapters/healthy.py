"""Adapters as PEFT saves them after real training steps: every type, and what LoRA alone can do.

The tests and the printed table share this list.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import peft
import torch
from peft import PeftMixedModel, get_peft_model
from peft.tuners.lora import config as lora_options
from peft.tuners.lora.eva import initialize_lora_eva_weights
from peft.tuners.lora.loraga import preprocess_loraga

from .bases import (
    BIASED,
    CLASSIFIER,
    GPT2,
    IMAGES,
    LLAMA,
    MIXTRAL,
    READER,
    T5,
    TAGGER,
    TIED,
    TOKENS,
    VOCABULARY,
    Base,
    Batch,
)

STEPS = 3
CONFIG = "adapter_config.json"
WEIGHTS = "adapter_model.safetensors"


def train(model: Any, batch: Batch) -> None:
    """A few steps of AdamW on one batch, after which the model is in evaluation mode."""
    torch.manual_seed(1)
    model.train()
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=0.01)
    for step in range(STEPS):
        model(**batch).loss.backward()
        optimizer.step()
        if isinstance(model.base_model, peft.AdaLoraModel):
            model.base_model.update_and_allocate(step)
        optimizer.zero_grad()
    model.eval()


@dataclass(frozen=True)
class Trained:
    """A model that was trained, and the names of the parameters that moved."""

    model: Any
    moved: list[str]


@dataclass(frozen=True)
class Recipe:
    """An adapter: the config and the base that it is made of.

    The config is made at each use: making some configs already needs packages that may be missing.
    """

    config: Callable[[], peft.PeftConfig]
    base: Base = LLAMA
    dtype: torch.dtype = torch.float32
    inputs: Batch = field(default_factory=dict)
    """What the batch holds besides that of the base."""
    deserves: Mapping[str, str] = field(default_factory=dict)
    """The checks that rightly fire at what PEFT writes, each with the reason."""

    def untrained(self, scratch: Path) -> Any:
        """A fresh PEFT model; the folder is for what it needs on disk."""
        del scratch
        return get_peft_model(self.base().to(self.dtype), self.config())

    def trained(self, scratch: Path) -> Trained:
        """A PEFT model after the training steps."""
        model = self.untrained(scratch)
        before = {n: p.detach().clone() for n, p in model.named_parameters() if p.requires_grad}
        train(model, self.base.batch | self.inputs)
        after = dict(model.named_parameters())
        return Trained(
            model, [name for name in before if not torch.equal(before[name], after[name])]
        )

    def save(self, model: Any, folder: Path) -> None:
        """Write the model as its user would."""
        model.save_pretrained(folder)


class Several(Recipe):
    """Two adapters of one model, saved to one folder; the second is trained."""

    def untrained(self, scratch: Path) -> Any:
        model = super().untrained(scratch)
        model.add_adapter("second", self.config())
        train(model, self.base.batch)
        model.set_adapter("second")
        return model


class Named(Recipe):
    """An adapter that has a name of its own, and therefore a sub-folder."""

    def untrained(self, scratch: Path) -> Any:
        return get_peft_model(self.base(), self.config(), adapter_name="mine")


class Mixed(Recipe):
    """Adapters of two types in one model."""

    def untrained(self, scratch: Path) -> PeftMixedModel:
        model = get_peft_model(self.base(), self.config(), mixed=True)
        model.add_adapter("second", peft.LoHaConfig(target_modules=["v_proj"], r=4))
        return model


class Experts(Recipe):
    """X-LoRA: a classifier over LoRA adapters that it reads from disk."""

    def untrained(self, scratch: Path) -> Any:
        expert = Recipe(lambda: lora(target_modules=QV))
        for number in range(2):
            expert.save(expert.trained(scratch).model, scratch / f"expert-{number}")
        config = self.config()
        config.adapters = {str(n): str(scratch / f"expert-{n}") for n in range(2)}
        base = self.base()
        base.config.use_cache = False
        return get_peft_model(base, config)


class Eva(Recipe):
    """LoRA that starts from the activations of a few batches."""

    def untrained(self, scratch: Path) -> Any:
        model = super().untrained(scratch)
        batches = [{"input_ids": TOKENS, "attention_mask": torch.ones_like(TOKENS)}] * 4
        initialize_lora_eva_weights(model, batches, show_progress_bar=False)
        return model


class Corda(Recipe):
    """LoRA that starts from the covariance of activations."""

    def untrained(self, scratch: Path) -> Any:
        # PEFT's module needs a package that PEFT does not require.
        from peft.tuners.lora.corda import preprocess_corda

        base, config = self.base(), self.config()

        def run_model() -> None:
            for row in range(len(TOKENS)):  # it takes one row at a time
                base(**{name: column[row : row + 1] for name, column in self.base.batch.items()})

        preprocess_corda(base, config, run_model=run_model)
        return get_peft_model(base, config)


class GradientAligned(Recipe):
    """LoRA that starts from the gradients of a batch."""

    def untrained(self, scratch: Path) -> Any:
        base, config = self.base(), self.config()
        preprocess_loraga(base, config, lambda: base(**self.base.batch).loss.backward())
        return get_peft_model(base, config)


class Converted(Recipe):
    """A decomposing initialisation, saved as the plain LoRA that it amounts to."""

    def untrained(self, scratch: Path) -> Any:
        model = super().untrained(scratch)
        model.peft_config["default"].init_lora_weights = True
        model.save_pretrained(scratch / "initial")
        model.peft_config["default"].init_lora_weights = self.config().init_lora_weights
        object.__setattr__(model, "initial", scratch / "initial")
        return model

    def save(self, model: Any, folder: Path) -> None:
        model.save_pretrained(folder, path_initial_model_for_weight_conversion=str(model.initial))


class Resized(Recipe):
    """An adapter whose vocabulary has grown, so that PEFT stores the embeddings too."""

    def untrained(self, scratch: Path) -> Any:
        base = self.base()
        base.resize_token_embeddings(VOCABULARY + 3)
        return get_peft_model(base, self.config())


class Native(Recipe):
    """An adapter that transformers adds and saves without PEFT's own model around it."""

    def untrained(self, scratch: Path) -> Any:
        model = self.base()
        model.add_adapter(self.config())
        return model


QV = ["q_proj", "v_proj"]
PROMPT: dict[str, Any] = {"task_type": "CAUSAL_LM", "num_virtual_tokens": 4}
TASKS = {"task_ids": torch.tensor([0, 1])}


def lora(**options: Any) -> peft.LoraConfig:
    """A LoRA config of rank 4 on the queries and values of a language model."""
    return peft.LoraConfig(**{"task_type": "CAUSAL_LM", "target_modules": QV, "r": 4} | options)


def plain(base: Base = LLAMA, dtype: torch.dtype = torch.float32, **options: Any) -> Recipe:
    """LoRA with some options."""
    return Recipe(lambda: lora(**options), base, dtype)


def on_images(config: Callable[[], peft.PeftConfig]) -> Recipe:
    """An adapter of a model that transformers does not know."""
    return Recipe(config, IMAGES, deserves=FOREIGN)


def tuner(config: type[peft.PeftConfig], **options: Any) -> Recipe:
    """Another type of PEFT, on the queries and values unless the options say otherwise."""
    return Recipe(lambda: config(**{"task_type": "CAUSAL_LM", "target_modules": QV} | options))


def prompt(config: type[peft.PeftConfig], **options: Any) -> Recipe:
    """A learned prompt."""
    return Recipe(lambda: config(**PROMPT | options))


def blocks() -> lora_options.BdLoraConfig:
    """Block-diagonal factors of which tensor-parallel servers hold one block each."""
    return lora_options.BdLoraConfig(
        target_modules_bd_b=["q_proj"], target_modules_bd_a=["o_proj"], nblocks=2
    )


RESIZED = {"shape-differs-from-base": "PEFT stops unless the base model is resized as well"}
FOREIGN = {"unsafe-config-import": "PEFT's list of libraries does not have the model's module"}
EXPERTS = ["mlp.experts.gate_up_proj", "mlp.experts.down_proj"]

#: What LoRA can do.
LORA: dict[str, Recipe] = {
    "lora": plain(),
    "dora": plain(use_dora=True),
    "rslora": plain(use_rslora=True),
    "lora, gaussian": plain(init_lora_weights="gaussian"),
    "lora, random": plain(init_lora_weights=False),
    "lora, orthogonal": plain(init_lora_weights="orthogonal"),
    "lora, mica": plain(init_lora_weights="mica"),
    "lora, olora": plain(init_lora_weights="olora"),
    "lora, pissa": plain(init_lora_weights="pissa"),
    "lora, olora, converted": Converted(lambda: lora(init_lora_weights="olora")),
    "lora, pissa, converted": Converted(lambda: lora(init_lora_weights="pissa")),
    "lora, pissa_niter, converted": Converted(lambda: lora(init_lora_weights="pissa_niter_4")),
    "lora, eva": Eva(
        lambda: lora(init_lora_weights="eva", eva_config=lora_options.EvaConfig(rho=1.0))
    ),
    "lora, lora_ga": GradientAligned(
        lambda: lora(init_lora_weights="lora_ga", lora_ga_config=lora_options.LoraGAConfig())
    ),
    "lora, corda": Corda(
        lambda: lora(init_lora_weights="corda", corda_config=lora_options.CordaConfig()),
        deserves={"nondeterministic-init": "PEFT stops unless the preprocessing is repeated"},
    ),
    "lora, loftq": Recipe(
        lambda: lora(init_lora_weights="loftq", loftq_config={"loftq_bits": 4}),
        deserves={"nondeterministic-init": "it fits the quantised base model only"},
    ),
    "lora with patterns": plain(
        rank_pattern={"layers.0.self_attn.q_proj": 2, r".*v_proj": 3}, alpha_pattern={"v_proj": 6}
    ),
    "lora on all linear layers": plain(target_modules="all-linear"),
    "lora by a pattern": plain(target_modules=r"(?!.*\.1\.).*\.self_attn\.(q|v)_proj"),
    "lora by PEFT's own table": plain(target_modules=None),
    "lora on one layer": plain(layers_to_transform=[1]),
    "lora but one layer": plain(exclude_modules=r".*layers\.0\..*"),
    "lora with dropout": plain(lora_dropout=0.1),
    "lora with biases, all": plain(BIASED, bias="all"),
    "lora with biases, lora_only": plain(BIASED, bias="lora_only"),
    "lora with its own biases": plain(BIASED, lora_bias=True),
    "lora with whole modules": plain(modules_to_save=["lm_head"]),
    "lora with whole modules and biases": plain(modules_to_save=["lm_head"], bias="all"),
    "lora with tokens": plain(trainable_token_indices=[3, 4]),
    "lora with tokens, tied": plain(TIED, trainable_token_indices=[3, 4]),
    "lora with embeddings": plain(target_modules=["q_proj", "embed_tokens"]),
    "lora with embeddings, tied": plain(TIED, target_modules=["q_proj", "embed_tokens"]),
    "lora with whole embeddings, tied": plain(
        TIED, modules_to_save=["embed_tokens"], ensure_weight_tying=True
    ),
    "lora with a head": plain(target_modules=["q_proj", "lm_head"]),
    "lora, resized embeddings": Resized(lora, deserves=RESIZED),
    "lora, resized and trained embeddings": Resized(
        lambda: lora(modules_to_save=["embed_tokens", "lm_head"]), deserves=RESIZED
    ),
    "lora on replicated layers": plain(layer_replication=[(0, 2), (0, 2)]),
    "lora, block-diagonal": Recipe(
        lambda: lora(target_modules=["q_proj", "o_proj"], use_bdlora=blocks())
    ),
    "lora, invoked by tokens": plain(alora_invocation_tokens=[5, 6]),
    "lora, kasa": Recipe(lambda: lora(kasa_config=lora_options.KasaConfig())),
    "lora, monteclora": Recipe(lambda: lora(monteclora_config=lora_options.MontecloraConfig())),
    "lora, velora": Recipe(lambda: lora(velora_config=lora_options.VeloraConfig(num_groups=4))),
    "lora, qalora": plain(use_qalora=True, qalora_group_size=8),
    "lora, megatron": plain(megatron_config={"hidden_size": 32}),
    "lora on experts": plain(MIXTRAL, target_modules=["q_proj"], target_parameters=EXPERTS),
    "lora on experts only": plain(MIXTRAL, target_modules=[], target_parameters=EXPERTS),
    "lora on experts by their old names": plain(
        MIXTRAL, target_modules=["q_proj", "w1", "w2", "w3"]
    ),
    "lora on all linear layers with experts": plain(MIXTRAL, target_modules="all-linear"),
    "lora, GPT-2": plain(GPT2, target_modules=["c_attn", "c_proj"], fan_in_fan_out=True),
    "lora, GPT-2 head": plain(GPT2, target_modules=["c_attn", "lm_head"], fan_in_fan_out=True),
    "lora, T5": plain(T5, target_modules=["q", "v"], task_type="SEQ_2_SEQ_LM"),
    "lora, sequence classification": plain(CLASSIFIER, task_type="SEQ_CLS"),
    "lora, token classification": plain(TAGGER, task_type="TOKEN_CLS"),
    "lora, question answering": plain(READER, task_type="QUESTION_ANS"),
    "lora, no task": plain(task_type=None),
    "lora on convolutions": on_images(
        lambda: lora(task_type=None, target_modules=["convolution"], modules_to_save=["head"])
    ),
    "lora on torch's attention": on_images(
        lambda: lora(task_type=None, target_modules=["attention"])
    ),
    "lora, bfloat16": plain(dtype=torch.bfloat16),
    "lora, float16": plain(dtype=torch.float16),
    "lora, named": Named(lora),
    "lora, two in a folder": Several(lora),
    "lora, saved by transformers": Native(lora),
}

#: Every other type.
OTHERS: dict[str, Recipe] = {
    "adalora": tuner(peft.AdaLoraConfig, total_step=10, init_r=4, target_r=2),
    "adamss": tuner(peft.AdamssConfig, r=8, num_subspaces=2),
    "adaption prompt": Recipe(
        lambda: peft.AdaptionPromptConfig(adapter_len=4, adapter_layers=2, task_type="CAUSAL_LM")
    ),
    "beft": Recipe(lambda: peft.BeftConfig(target_modules=QV, task_type="CAUSAL_LM"), BIASED),
    "boft": tuner(peft.BOFTConfig, boft_block_size=8),
    "c3a": tuner(peft.C3AConfig, block_size=8),
    "cartridge": prompt(peft.CartridgeConfig),
    "cpt": Recipe(
        lambda: peft.CPTConfig(
            task_type="CAUSAL_LM", cpt_token_ids=[3, 4, 5, 6], cpt_tokens_type_mask=[1, 2, 3, 4]
        ),
        inputs={"input_type_mask": torch.full_like(TOKENS, 4)},
    ),
    "deft": tuner(peft.DeftConfig, r=4),
    "delora": tuner(peft.DeloraConfig, r=4),
    "fourierft": tuner(peft.FourierFTConfig, n_frequency=20),
    "frod": tuner(peft.FrodConfig, progressbar=False),
    "glora": tuner(peft.GloraConfig, r=4),
    "gralora": tuner(peft.GraloraConfig, r=4, gralora_k=2),
    "hira": tuner(peft.HiraConfig, r=4),
    "hra": tuner(peft.HRAConfig, r=4),
    "ia3": tuner(
        peft.IA3Config, target_modules=["k_proj", "down_proj"], feedforward_modules=["down_proj"]
    ),
    "layer norms": tuner(peft.LNTuningConfig, target_modules=["input_layernorm"]),
    "lily": tuner(peft.LilyConfig, r=4),
    "loha": tuner(peft.LoHaConfig, r=4),
    "loha on convolutions": on_images(
        lambda: peft.LoHaConfig(target_modules=["convolution"], r=4, use_effective_conv2d=True)
    ),
    "lokr": tuner(peft.LoKrConfig, r=4),
    "lokr in factors": tuner(peft.LoKrConfig, r=1, decompose_both=True),
    "miss": tuner(peft.MissConfig, r=4),
    "multitask prompt": Recipe(
        lambda: peft.MultitaskPromptTuningConfig(num_tasks=2, **PROMPT), inputs=TASKS
    ),
    "oft": tuner(peft.OFTConfig, oft_block_size=8),
    "osf": tuner(peft.OSFConfig, effective_rank=28),
    "p-tuning": prompt(peft.PromptEncoderConfig),
    "peanut": tuner(peft.PeanutConfig, r=4),
    "poly": Recipe(
        lambda: peft.PolyConfig(target_modules=QV, r=4, n_tasks=2, task_type="CAUSAL_LM"),
        inputs=TASKS,
    ),
    "prefix": prompt(peft.PrefixTuningConfig),
    "prefix with an encoder": prompt(
        peft.PrefixTuningConfig, prefix_projection=True, encoder_hidden_size=32
    ),
    "prompt": prompt(peft.PromptTuningConfig),
    "psoft": tuner(peft.PsoftConfig, r=4),
    "pvera": tuner(peft.PveraConfig, r=4),
    "randlora": tuner(peft.RandLoraConfig, r=4),
    "road": tuner(peft.RoadConfig, group_size=8),
    "shadow": Recipe(lambda: peft.ShadowConfig(task_type="CAUSAL_LM", shadow_num_hidden_layers=1)),
    "shira": tuner(peft.ShiraConfig, r=2),
    "supertuning": tuner(peft.SupertuningConfig, sparsity=0.9),
    "tinylora": tuner(peft.TinyLoraConfig),
    "trainable tokens": Recipe(
        lambda: peft.TrainableTokensConfig(token_indices=[3, 4], task_type="CAUSAL_LM")
    ),
    "unilora": tuner(peft.UniLoraConfig),
    "vblora": tuner(peft.VBLoRAConfig, num_vectors=16, vector_length=16),
    "vblora, the chosen weights only": tuner(
        peft.VBLoRAConfig, num_vectors=16, vector_length=16, save_only_topk_weights=True
    ),
    "vera": tuner(peft.VeraConfig, r=4),
    "vera without projections": tuner(peft.VeraConfig, r=4, save_projection=False),
    "waveft": tuner(peft.WaveFTConfig, n_frequency=20),
    "xlora": Experts(
        lambda: peft.XLoraConfig(hidden_size=32, task_type="CAUSAL_LM"),
        deserves={
            "empty-tensors": "PEFT leaves the classifier out of the file and loads it random",
            "untargeted-tensors": "the folders of the experts hold the base model besides",
            "missing-tensors": "of expert 0 PEFT stores layer 0 alone, of expert 1 layer 1",
        },
    ),
    "two types at once": Mixed(lambda: peft.LoraConfig(target_modules=["q_proj"], r=4)),
}
HEALTHY = LORA | OTHERS


@dataclass(frozen=True)
class Saved:
    """One trained adapter on disk, as saved with no base model's name and with a folder for one."""

    alone: Path
    with_base: Path
    base: Path
    moved: int
    """Parameters that the training changed."""


class Saves:
    """Adapters that are trained and saved once, when they are first asked for."""

    def __init__(self, top: Path) -> None:
        self._top = top
        self._made: dict[str, Saved | Exception] = {}

    def __call__(self, name: str) -> Saved:
        """The save of this name.

        Raises:
            Exception: whatever PEFT raised while the adapter was made, each time.
        """
        if name not in self._made:
            try:
                self._made[name] = self._make(HEALTHY[name], self._top / str(len(self._made)))
            except Exception as error:
                self._made[name] = error
        made = self._made[name]
        if isinstance(made, Exception):
            raise made
        return made

    def _make(self, recipe: Recipe, folder: Path) -> Saved:
        scratch, base = folder / "scratch", folder / "base"
        scratch.mkdir(parents=True)
        trained = recipe.trained(scratch)
        recipe.save(trained.model, folder / "alone")
        if recipe.base is not IMAGES:
            recipe.base().to(recipe.dtype).save_pretrained(base)
            for config in trained.model.peft_config.values():
                config.base_model_name_or_path = str(base)
        recipe.save(trained.model, folder / "with base")
        return Saved(folder / "alone", folder / "with base", base, len(trained.moved))
