"""A watched `Trainer` run of the reference task, its score audited, its adapter checked.

OMP_NUM_THREADS=1 python examples/trainer.py [OUTPUT_DIR]
"""

from __future__ import annotations

import sys
from pathlib import Path

from trainguard import TrainGuardCallback, audit_evaluation, check
from trainguard.reference.benchmark import LLM, benchmark
from trainguard.reference.model import pretrained
from trainguard.reference.sft import train_sft
from trainguard.reference.units import splits


def main(output_dir: Path) -> None:
    train, valid, _ = splits(600, 100, 0, seed=0)
    model, tokenizer = pretrained(output_dir / "base")

    guard = TrainGuardCallback(on_finding="raise")
    trainer = train_sft(model, tokenizer, train, output_dir / "sft", callbacks=[guard])

    llm = LLM(trainer.model, tokenizer)
    references = [(question.text, question.answer) for question in valid]
    with audit_evaluation(llm, references=references, on_finding="raise") as audit:
        print(benchmark(llm, valid))

    for report in (guard.report, audit.report, check(output_dir)):
        assert report.exit_code == 0, report.to_json()


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "example-output"))
