"""Going on with a saved adapter that is loaded to be trained."""

from __future__ import annotations

import sys
from pathlib import Path

from datasets import Dataset
from peft import LoraConfig, PeftModel, get_peft_model
from tokenizers import Tokenizer, models
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
from trl import SFTConfig, SFTTrainer

from trainguard import Report, TrainGuardCallback

TINY = LlamaConfig(
    vocab_size=64, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4
)


def train(adapter: Path, output: Path) -> Report:
    model = PeftModel.from_pretrained(LlamaForCausalLM(TINY), adapter, is_trainable=True)
    words = Tokenizer(models.WordLevel({f"w{i}": i for i in range(64)}, unk_token="w0"))
    guard = TrainGuardCallback()
    trainer = SFTTrainer(
        model,
        args=SFTConfig(str(output), max_steps=4, logging_steps=1, use_cpu=True, bf16=False),
        train_dataset=Dataset.from_dict({"input_ids": [list(range(4, 20))] * 8}),
        processing_class=PreTrainedTokenizerFast(
            tokenizer_object=words, pad_token="w0", eos_token="w1"
        ),
        callbacks=[guard],
    )
    trainer.train()
    return guard.report


if __name__ == "__main__":
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "example-output")
    # Random instead of zero, as if it had been trained.
    config = LoraConfig(target_modules=["q_proj", "v_proj"], init_lora_weights=False)
    get_peft_model(LlamaForCausalLM(TINY), config).save_pretrained(folder / "first-stage")
    report = train(folder / "first-stage", folder / "second-stage")
    print([cause.code for cause in report.causes])
    sys.exit(report.exit_code)
