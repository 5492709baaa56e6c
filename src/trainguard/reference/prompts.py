"""How a question is put to a model: plainly, or with a worked example to think along.

A model with a chat template is asked in its own form of a conversation, any other in plain text.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from trainguard.reference.units import Question

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

INSTRUCTION = "Work out the conversion, then state the number in an answer tag."

#: No held-out fact.
EXAMPLE = Question(
    "How many gram are there per 6 kg?",
    6000.0,
    " 1 kg = 1000 gram. 6 * 1000 = 6000. So it is 6000 gram. <answer>6000</answer>",
)

END_OF_ANSWER = "</answer>"


def direct_prompt(question: str, tokenizer: PreTrainedTokenizerBase) -> str:
    """The question alone."""
    if tokenizer.chat_template is None:
        return question
    return _conversation([question], tokenizer)


def cot_prompt(question: str, tokenizer: PreTrainedTokenizerBase) -> str:
    """The question after the instruction and a worked example (chain of thought)."""
    if tokenizer.chat_template is None:
        return f"{INSTRUCTION}\n\n{EXAMPLE.text}{EXAMPLE.reasoning}\n\n{question}"
    shown = f"{INSTRUCTION}\n\n{EXAMPLE.text}"
    return _conversation([shown, EXAMPLE.reasoning.strip(), question], tokenizer)


def completion(question: Question, tokenizer: PreTrainedTokenizerBase) -> str:
    """What follows `direct_prompt`, without the end token.

    In plain text a space comes first: with it the tag begins with a token that text has in such
    a place, and without it with one whose embedding may never have been trained.
    """
    said = question.completion.strip()
    return said if tokenizer.chat_template else f" {said}"


def tokenized(prompts: Sequence[str], tokenizer: PreTrainedTokenizerBase, **options: Any) -> Any:
    """The tokenizer's encoding of prompts; a chat template has written its special tokens."""
    plain = tokenizer.chat_template is None
    return tokenizer(list(prompts), add_special_tokens=plain, **options)


def _conversation(turns: Sequence[str], tokenizer: PreTrainedTokenizerBase) -> str:
    # The instruction stands in the first question: not every template knows a system turn.
    messages = [
        {"role": "assistant" if number % 2 else "user", "content": turn}
        for number, turn in enumerate(turns)
    ]
    text: str = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    return text
