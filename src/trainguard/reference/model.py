"""A tiny language model that has read about units and numbers, and loading of real ones.

The tiny model takes the place of a pre-trained base such as SmolLM2. It has read worked questions
and sums, but no question about a held-out fact. Asked plainly, it works a question out in words;
told to, it also states the number in an answer tag. So chain-of-thought sampling finds right
answers, and fine-tuning has something to teach.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory

import tokenizers
import torch
import transformers
from filelock import FileLock
from tokenizers import decoders, models, pre_tokenizers, trainers
from torch.nn.utils import clip_grad_norm_
from torch.nn.utils.rnn import pad_sequence
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
    get_cosine_schedule_with_warmup,
)

from trainguard.reference import units
from trainguard.reference.prompts import INSTRUCTION

PRETRAINING_STEPS = 800
BATCH_SIZE = 32
LEARNING_RATE = 6e-3
SUMS_PER_TEXT = 8
TOKENIZER_TEXTS = 3000
SPECIAL_TOKENS = {"pad_token": "<pad>", "bos_token": "<s>", "eos_token": "</s>"}


def load(name_or_path: str | Path) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Load any causal language model by its hub name or local folder, in float32.

    float32 whatever the file holds: half-precision weights overflow or round small updates away
    when they are trained directly. A tokenizer without a padding token pads with its EOS.
    """
    tokenizer = AutoTokenizer.from_pretrained(name_or_path)
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    model = AutoModelForCausalLM.from_pretrained(name_or_path, dtype=torch.float32)
    return model, tokenizer


def pretrained(
    cache_dir: str | Path | None = None, steps: int = PRETRAINING_STEPS, seed: int = 0
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """The tiny base model, in evaluation mode, and its tokenizer.

    With a `cache_dir` it is trained once per `steps`, `seed`, recipe and library version, saved
    there, and loaded from there, so that its adapters name a base that can be found again.
    Without one it is trained on each call. The global random state is left as it was.
    """
    if cache_dir is None:
        return _train(steps, seed)
    folder = Path(cache_dir) / f"tiny-llama-{_recipe_key(steps, seed)}"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_suffix(".lock")):  # of two processes, one trains and one waits
        if not folder.exists():
            _save(*_train(steps, seed), folder)
    return load(folder)


def build_tokenizer() -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer learned from the text that pre-training reads, a token per digit.

    Any text survives `decode(encode(text))`, and `encode` adds no special token.
    """
    bpe = tokenizers.Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=512,  # an upper bound: the texts run out of words before
        special_tokens=list(SPECIAL_TOKENS.values()),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    bpe.train_from_iterator(islice(documents(seed=0), TOKENIZER_TEXTS), trainer)
    return PreTrainedTokenizerFast(tokenizer_object=bpe, **SPECIAL_TOKENS)


def build_model(tokenizer: PreTrainedTokenizerBase, seed: int) -> LlamaForCausalLM:
    """An untrained three-layer Llama for `tokenizer`; the global random state is left as it was."""
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=256,
        num_hidden_layers=3,
        num_attention_heads=4,
        max_position_embeddings=512,
        tie_word_embeddings=True,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    with torch.random.fork_rng(devices=()):
        torch.default_generator.manual_seed(seed)
        return LlamaForCausalLM(config)


def documents(seed: int) -> Iterator[str]:
    """Endless text for pre-training: sums, and questions that are worked out or answered.

    No question about a held-out fact is among them. An answer tag stands only where the text
    begins with the instruction to use one.
    """
    rng = random.Random(seed)
    facts = units.conversions()
    sums = sorted({step for fact in facts for step in fact.steps})
    read = [fact for fact in facts if not fact.is_held_out]

    def asked(fact: units.Conversion) -> str:
        return fact.phrase(rng.choice(fact.phrasings))

    def stated() -> str:
        fact = rng.choice(read)
        return f"{asked(fact)} {units.format_number(fact.result)} {fact.target}."

    def worked() -> str:
        fact = rng.choice(read)
        return f"{asked(fact)} {fact.working}"

    def tagged() -> str:
        fact = rng.choice(read)
        return f"{asked(fact)} {fact.working} {units.format_answer(fact.result)}"

    kinds = [
        lambda: ". ".join(rng.sample(sums, SUMS_PER_TEXT)) + ".",
        lambda: "\n\n".join([INSTRUCTION, tagged(), tagged()]),
        lambda: "\n\n".join([worked(), worked()]),
        lambda: "\n\n".join([stated(), stated()]),
    ]
    while True:
        yield rng.choices(kinds, weights=(10, 5, 3, 1))[0]()


def _train(steps: int, seed: int) -> tuple[LlamaForCausalLM, PreTrainedTokenizerFast]:
    tokenizer = build_tokenizer()
    model = build_model(tokenizer, seed).train()
    texts = documents(seed)
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, betas=(0.9, 0.95))
    schedule = get_cosine_schedule_with_warmup(optimizer, steps // 10, steps)
    for _ in range(steps):
        batch = [
            torch.tensor(tokenizer.encode(text + tokenizer.eos_token))
            for text in islice(texts, BATCH_SIZE)
        ]
        # (B, T) each; right padding needs no attention mask, causality hides it from the text
        input_ids = pad_sequence(batch, batch_first=True, padding_value=tokenizer.pad_token_id)
        labels = pad_sequence(batch, batch_first=True, padding_value=-100)
        model(input_ids=input_ids, labels=labels).loss.backward()
        clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        schedule.step()
    return model.eval(), tokenizer


def _save(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
    """Save to `folder` in one rename: a killed run leaves a hidden scratch folder at most."""
    with TemporaryDirectory(prefix=".partial-", dir=folder.parent) as scratch:
        complete = Path(scratch) / folder.name
        model.save_pretrained(complete)
        tokenizer.save_pretrained(complete)
        complete.rename(folder)


def _recipe_key(steps: int, seed: int) -> str:
    """Sixteen hex digits that change with whatever determines the pre-trained weights."""
    recipe = {
        "steps": steps,
        "seed": seed,
        "code": [Path(file).read_text(encoding="utf-8") for file in (__file__, units.__file__)],
        "instruction": INSTRUCTION,
        "versions": [library.__version__ for library in (tokenizers, torch, transformers)],
    }
    return hashlib.sha256(json.dumps(recipe).encode()).hexdigest()[:16]
