"""Rejection-sampling fine-tuning: draw reasoning from a model, keep what leads to the answer.

Yuan et al. (2023), https://arxiv.org/abs/2308.01825: several chains of thought are drawn for each
training question, those with a right answer are kept, and of these one for each distinct way of
calculating. The model is then trained on question, reasoning and answer.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from tqdm import tqdm

from trainguard.reference.benchmark import LLM
from trainguard.reference.units import Question, is_right, parse_answer

_NUMBER = r"[0-9]+(?:\.[0-9]+)?"
_SUM = re.compile(rf"{_NUMBER} [-+*/] {_NUMBER} = {_NUMBER}")


class OtherSamplesError(ValueError):
    """A file already holds samples that were drawn in another way."""


@dataclass(frozen=True)
class Kept:
    """What rejection has left of the samples."""

    questions: tuple[Question, ...]
    """The training rows, each with its reasoning."""
    samples: int
    right: int
    """Samples with a right answer."""
    covered: int
    """Questions with at least one of them."""
    asked: int

    @property
    def coverage(self) -> float:
        """The share of the questions that are left with reasoning."""
        return self.covered / self.asked if self.asked else 0.0

    def __str__(self) -> str:
        return (
            f"{self.right} of {self.samples} samples right, {self.covered} of {self.asked} "
            f"questions covered ({self.coverage:.0%}), {len(self.questions)} distinct kept"
        )


def draw(
    llm: LLM,
    questions: Sequence[Question],
    path: Path,
    *,
    count: int = 12,
    temperature: float = 0.8,
    seed: int = 0,
) -> list[list[str]]:
    """Draw `count` continuations for each question, batch by batch, and keep them in `path`.

    A batch is `llm.batch_size // count` questions and one flushed write; it has a random state of
    its own. So a run that was killed, started again, drops a half-written batch, goes on with the
    next, and ends with the same file as one that was not. Raises `OtherSamplesError` if the file
    was drawn in another way.
    """
    width = max(1, llm.batch_size // count)
    header = {
        "model": str(llm.model.name_or_path),
        "count": count,
        "temperature": temperature,
        "seed": seed,
        "questions": len(questions),
        "width": width,
    }
    done = _open_samples(path, header, questions, width)
    bar = tqdm(total=len(questions), initial=len(done), desc="samples", leave=False, disable=None)
    with path.open("ab") as file, bar:
        for start in range(len(done), len(questions), width):
            batch = questions[start : start + width]
            devices = [llm.model.device] if llm.model.device.type == "cuda" else []
            with torch.random.fork_rng(devices):
                torch.manual_seed(seed * 1_000_003 + start)
                texts = [question.text for question in batch]
                drawn = llm.sample(*texts, count=count, temperature=temperature)
            rows = zip(texts, drawn, strict=True)
            file.write(b"".join(_line({"question": q, "samples": s}) for q, s in rows))
            file.flush()
            os.fsync(file.fileno())
            done += drawn
            bar.update(len(batch))
    return done


def _open_samples(
    path: Path, header: dict[str, object], questions: Sequence[Question], width: int
) -> list[list[str]]:
    """The samples of whole batches; what was written after them is cut off."""
    first = _line(header)
    path.touch()
    lines = [line for line in path.read_bytes().splitlines(keepends=True) if line[-1:] == b"\n"]
    if not lines:
        path.write_bytes(first)
        return []
    if lines[0] != first:
        raise OtherSamplesError(f"{path} was drawn in another way; delete it or use another folder")
    rows = [json.loads(line) for line in lines[1:]]
    whole = len(rows) if len(rows) == len(questions) else len(rows) // width * width
    asked = [question.text for question in questions[:whole]]
    if [row["question"] for row in rows[:whole]] != asked:
        raise OtherSamplesError(f"{path} holds other questions; delete it or use another folder")
    with path.open("r+b") as file:
        file.truncate(sum(map(len, lines[: whole + 1])))
    return [row["samples"] for row in rows[:whole]]


def _line(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode() + b"\n"


def reject(questions: Sequence[Question], samples: Sequence[Sequence[str]], most: int = 4) -> Kept:
    """Keep at most `most` samples of each question: right ones that calculate differently."""
    kept = [list(_distinct(q, texts))[:most] for q, texts in zip(questions, samples, strict=True)]
    right = [
        sum(is_right(parse_answer(text), question.answer) for text in texts)
        for question, texts in zip(questions, samples, strict=True)
    ]
    return Kept(
        questions=tuple(row for rows in kept for row in rows),
        samples=sum(map(len, samples)),
        right=sum(right),
        covered=sum(map(bool, right)),
        asked=len(questions),
    )


def _distinct(question: Question, texts: Sequence[str]) -> Iterator[Question]:
    seen = set()
    for text in texts:
        sums = tuple(_SUM.findall(text))
        if is_right(parse_answer(text), question.answer) and sums not in seen:
            seen.add(sums)
            yield replace(question, reasoning=text)
