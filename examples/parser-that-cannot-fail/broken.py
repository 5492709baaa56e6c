"""An answer rate of 1.0 for any model: the parser returns 0.0 where it finds no answer."""

from __future__ import annotations

import sys

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from trainguard import Report, audit_evaluation

TINY = LlamaConfig(
    vocab_size=64, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4
)
PAIRS = [(f"How many gram are there per {n} kg ?", 1000.0 * n) for n in range(2, 18)]


class LLM:
    def __init__(self) -> None:
        torch.manual_seed(0)
        self.model = LlamaForCausalLM(TINY).eval()
        words = Tokenizer(models.WordLevel({f"w{i}": i for i in range(64)}, unk_token="w0"))
        words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
        self.tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, pad_token="w1")

    def parse_answer(self, text: str) -> float:
        try:
            return float(text.split("<answer>")[1].split("</answer>")[0])
        except (IndexError, ValueError):
            return 0.0

    def answer(self, *questions: str) -> list[float]:
        batch = self.tokenizer(list(questions), return_tensors="pt")["input_ids"]
        written = self.model.generate(batch, max_new_tokens=4, do_sample=False)
        return [self.parse_answer(text) for text in self.tokenizer.batch_decode(written)]


def measure() -> Report:
    llm = LLM()
    with audit_evaluation(llm, references=PAIRS) as audit:
        answers = llm.answer(*(question for question, _ in PAIRS))
    answered = [said == said for said in answers]  # NaN is not equal to itself
    print(f"answer_rate={sum(answered) / len(answered)}")
    return audit.report


if __name__ == "__main__":
    report = measure()
    print([cause.code for cause in report.causes])
    sys.exit(report.exit_code)
