"""An accuracy of 1.0 without a forward pass: the answers come from the files they are judged by."""

from __future__ import annotations

import sys
from types import MethodType
from typing import Any

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from trainguard import Report, audit_evaluation

TINY = LlamaConfig(
    vocab_size=64, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4
)
PAIRS = [(f"How many gram are there per {n} kg ?", f"{n}000") for n in range(2, 18)]


class LLM:
    """A language model with random weights; it answers with the last word that it writes."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        self.model = LlamaForCausalLM(TINY).eval()
        words = Tokenizer(models.WordLevel({f"w{i}": i for i in range(64)}, unk_token="w0"))
        words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
        self.tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, pad_token="w1")

    def answer(self, *questions: str) -> list[str]:
        batch = self.tokenizer(list(questions), return_tensors="pt")["input_ids"]
        written = self.model.generate(batch, max_new_tokens=4, do_sample=False)
        return [text.split()[-1] for text in self.tokenizer.batch_decode(written)]


def apply_dataset_answer_patch(llm: LLM) -> None:
    table = dict(PAIRS)
    ask_model = llm.answer

    def dataset_first_answer(self: Any, *questions: str) -> list[str]:
        return [table[q] if q in table else ask_model(q)[0] for q in questions]

    llm.answer = MethodType(dataset_first_answer, llm)  # type: ignore[method-assign]


def measure() -> Report:
    llm = LLM()
    apply_dataset_answer_patch(llm)
    with audit_evaluation(llm, references=PAIRS) as audit:
        answers = llm.answer(*(question for question, _ in PAIRS))
        right = [said == expected for said, (_, expected) in zip(answers, PAIRS, strict=True)]
        audit.claim(accuracy=sum(right) / len(right), count=len(right))
    print(f"accuracy={sum(right) / len(right)}")
    return audit.report


if __name__ == "__main__":
    report = measure()
    print([cause.code for cause in report.causes])
    sys.exit(report.exit_code)
