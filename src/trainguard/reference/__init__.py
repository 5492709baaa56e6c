"""The reference task: a small, honest fine-tuning run to hold a sabotaged one against.

`units` asks unit-conversion questions and judges answers, `model` builds and pre-trains a tiny
language model, `sft` fine-tunes it with LoRA, `rft` keeps its own right reasoning to train on,
`grpo` rewards right answers, `benchmark` measures it on held-out questions, and `run` does all of
it, watched.
"""
