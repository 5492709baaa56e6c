"""`trainguard audit` on a project of the usual shape, in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from trainguard.reference.units import splits

PROJECT = """\
from types import MethodType

import torch
from trainguard.reference.benchmark import LLM
from trainguard.reference.units import is_right, parse_answer

import json

import tiny_parts


def honest():
    return LLM(tiny_parts.model(), tiny_parts.tokenizer(), max_new_tokens=4)


def patched():
    llm = honest()
    table = dict(json.load(open("data/valid.json")))
    llm.answer = MethodType(lambda self, *questions: [table[q] for q in questions], llm)
    return llm


class Project:
    llm = None


READY = honest()


def broken():
    return object()
"""
PARTS = """\
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast


def model():
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=300, hidden_size=16, intermediate_size=32, num_hidden_layers=1,
            num_attention_heads=2, max_position_embeddings=64, pad_token_id=0, eos_token_id=1,
        )
    ).eval()


def tokenizer():
    words = {"<pad>": 0, "</s>": 1, "<unk>": 2, **{chr(32 + n): 3 + n for n in range(95)}}
    bare = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    bare.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    return PreTrainedTokenizerFast(
        tokenizer_object=bare, pad_token="<pad>", eos_token="</s>", unk_token="<unk>"
    )
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("project")
    (folder / "llms.py").write_text(PROJECT)
    (folder / "tiny_parts.py").write_text(PARTS)
    (folder / "data").mkdir()
    train, valid, _ = splits(200, 40, 0, seed=0)
    for name, questions in (("train", train), ("valid", valid)):
        rows = [[question.text, question.answer] for question in questions]
        (folder / "data" / f"{name}.json").write_text(json.dumps(rows))
    return folder


def audit(project: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "trainguard", "audit", *words]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        command, cwd=project, env=environment, capture_output=True, text=True, check=False
    )


def test_a_look_up_is_named_and_fails_the_command(project: Path) -> None:
    result = audit(project, "llms:patched", "--data", "data/valid.json")

    assert result.returncode == 1, result.stderr
    assert "error[TG601] replaced-method: LLM.answer is replaced by <lambda> (llms.py:" in (
        result.stdout
    )
    assert "note: accuracy 1 (40 of 40 questions" in result.stdout


@pytest.mark.parametrize("factory", ["llms:honest", "llms:READY"])
def test_an_honest_object_passes_with_its_score(project: Path, factory: str) -> None:
    words = ["--data", "data/valid.json", "--train", "data/train.json", "--limit", "20"]
    more = ["--correct", "llms:is_right", "--parse", "llms:parse_answer", "--batch", "8"]
    result = audit(project, factory, *words, *more, "--output-format", "json")

    report = json.loads(result.stdout)
    assert result.returncode == 0, result.stdout
    assert report["findings"] == []
    assert {"TG603", "TG607", "TG608", "TG609", "TG612"} <= set(report["checked"])
    assert "of 20 questions" in report["notes"][0]


def test_a_declared_oracle_passes(project: Path) -> None:
    result = audit(project, "llms:patched", "--data", "data/valid.json", "--oracle", "a test")

    assert result.returncode == 0
    assert "note: declared an oracle: a test" in result.stdout


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["llms", "--data", "data/valid.json"], "not of the form module:name"),
        (["nowhere:x", "--data", "data/valid.json"], "nowhere cannot be imported"),
        (["llms:missing", "--data", "data/valid.json"], "llms has no missing"),
        (["llms:broken", "--data", "data/valid.json"], "has no method 'answer'"),
        (["llms:honest", "--data", "llms.py"], "has no row with a question"),
        (["llms:honest", "--data", "data/none.json"], "does not exist"),
    ],
)
def test_what_cannot_be_asked_is_a_usage_error(project: Path, words: list[str], said: str) -> None:
    result = audit(project, *words)

    assert result.returncode == 2
    assert said in " ".join(result.stderr.replace("│", " ").split())
