"""`trainguard datagen`, `train`, `benchmark` and `generate`: the reference trainer."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from trainguard.cli.output import has_colour, print_report
from trainguard.reference.plan import TINY, Plan

REAL_MODEL = "HuggingFaceTB/SmolLM2-360M-Instruct"

_model = click.option(
    "--model",
    default=TINY,
    show_default=True,
    metavar="NAME",
    help=f"A hub name such as {REAL_MODEL}, a local folder, or tiny for the embedded model.",
)
_adapter = click.option(
    "--adapter",
    default="",
    metavar="DIR",
    help="An adapter of the model, such as the folder of a run.",
)
_seed = click.option("--seed", type=int, default=0, show_default=True)
_cot = click.option("--cot", is_flag=True, help="Put a worked example before each question.")
_tokens = click.option(
    "--max-new-tokens", type=click.IntRange(min=1), default=Plan.max_new_tokens, show_default=True
)


def cache_folder() -> Path:
    """Where the embedded model is kept once it is pre-trained."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("TRAINGUARD_CACHE") or Path(home) / "trainguard")


@contextmanager
def _told() -> Iterator[None]:
    """What the user can mend is one line, not a traceback."""
    try:
        yield
    except ModuleNotFoundError as error:
        extra = "trl" if error.name == "trl" else "train"
        raise click.ClickException(
            f"the reference trainer needs {error.name}: pip install 'trainguard[{extra}]'"
        ) from None
    except (OSError, ValueError) as error:
        raise click.ClickException(str(error)) from None


def _count(name: str, default: int, text: str = "") -> Callable[..., Any]:
    return click.option(
        name, type=click.IntRange(min=1), default=default, show_default=True, help=text
    )


def _temperature(default: float) -> Callable[..., Any]:
    positive = click.FloatRange(min=0, min_open=True)
    return click.option("--temperature", type=positive, default=default, show_default=True)


def _sizes(command: Callable[..., Any]) -> Callable[..., Any]:
    for option in (
        _count("--test", Plan.test, "Test questions."),
        _count("--valid", Plan.valid, "Validation questions."),
        _count("--train", Plan.train, "Training questions."),
    ):
        command = option(command)
    return command


@click.command()
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
@_sizes
@_seed
def datagen(folder: Path, train: int, valid: int, test: int, seed: int) -> None:
    """Write unit-conversion questions to FOLDER: train.json, valid.json, test.json.

    No question of one file is in another, in no wording; trainguard checks them. The same command
    writes the same files, so a killed one is started again.
    """
    with _told():
        from trainguard.reference.data import datagen as generate_data

        report = generate_data(folder, train=train, valid=valid, test=test, seed=seed)
    print_report(report)
    sys.exit(report.exit_code)


@click.group()
def train() -> None:
    """Fine-tune a model with LoRA to convert units, watched and audited."""


def _training(command: Callable[..., Any]) -> Callable[..., Any]:
    for option in (
        click.option("--fault", default="", metavar="NAME", help="Plant a fault, to see it named."),
        _seed,
        _tokens,
        _count("--save-steps", Plan.save_steps, "Steps between checkpoints."),
        click.option("--gradient-checkpointing", is_flag=True),
        click.option(
            "--megabytes",
            type=click.FloatRange(min=0, min_open=True),
            default=Plan.megabytes,
            show_default=True,
            help="What the adapter may weigh; its rank is lowered until it fits.",
        ),
        _count("--rank", Plan.rank),
        _count("--batch-size", Plan.batch_size),
        click.option(
            "--learning-rate",
            type=click.FloatRange(min=0, min_open=True),
            help="By default what suits model and method.",
        ),
        _count("--steps", Plan.steps),
        _sizes,
        click.option(
            "--data",
            type=click.Path(exists=True, file_okay=False),
            default=None,
            metavar="DIR",
            help="A folder that datagen has written; by default the run writes its own.",
        ),
        _adapter,
        _model,
        click.argument("folder", type=click.Path(file_okay=False, path_type=Path)),
    ):
        command = option(command)
    return command


@train.command()
@_training
def sft(**options: Any) -> None:
    """Supervised fine-tuning on questions and their bare answers.

    FOLDER receives everything: data, adapter, metrics, diagnosis, curves. A run that was killed
    is started again with the same command and goes on.
    """
    _run("sft", **options)


@train.command()
@_training
@click.option("--sampler", default="", metavar="NAME", help="Another model to sample from.")
@_count("--samples", Plan.samples, "Samples of reasoning for each question.")
@_temperature(Plan.temperature)
def rft(**options: Any) -> None:
    """Rejection-sampling fine-tuning: sample reasoning, keep what is right, train on it.

    FOLDER receives everything: data, samples, rft.json, adapter, metrics, diagnosis, curves. A run
    that was killed is started again with the same command and goes on.
    """
    _run("rft", **options)


@train.command()
@_training
@_count("--samples", 8, "Answers to each question of a batch.")
@_temperature(1.0)
def grpo(**options: Any) -> None:
    """Group-relative policy optimization through TRL, rewarded for right answers.

    A further step: start from an adapter that states answers (--adapter), such as one of train
    rft. --batch-size counts answers. FOLDER receives everything, and a run that was killed is
    started again with the same command and goes on.
    """
    _run("grpo", **options)


def _run(method: str, *, folder: Path, data: str | None, fault: str, **options: Any) -> None:
    with _told():
        from trainguard.reference.faults import named
        from trainguard.reference.run import run
        from trainguard.reference.terminal import quiet

        if fault:
            if options["adapter"]:
                raise ValueError("--fault and --adapter: a fault is planted into a new adapter")
            click.echo(f"planted: {named(fault, method).summary}")
        plan = Plan(method=method, data=data or "", fault=fault, **options)  # type: ignore[arg-type]
        with quiet(one_thread=plan.model == TINY):
            results = run(plan, folder, cache_folder(), say=click.echo)
    click.echo(f"\nbefore: {results.before}\n   cot: {results.before_cot}\nafter:  {results.after}")
    click.echo(f"\nEverything is in {folder}: metrics.json, report.html, wrong.txt, curves.svg\n")
    print_report(results.report)
    sys.exit(results.report.exit_code)


@click.command()
@_model
@_adapter
@click.option(
    "--data",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    required=True,
    metavar="FILE",
    help="Questions and answers, such as data/test.json of a run.",
)
@_count("--limit", 100, "Questions of the benchmark, from the top of the file.")
@_cot
@_tokens
@click.option("--wrong", is_flag=True, help="Show the wrong answers.")
def benchmark(
    model: str, adapter: str, data: Path, limit: int, cot: bool, max_new_tokens: int, wrong: bool
) -> None:
    """Measure the accuracy of a model on questions of a file, audited."""
    with _told():
        from trainguard.reference.benchmark import LLM
        from trainguard.reference.data import read_questions
        from trainguard.reference.run import audited_score, load_model
        from trainguard.reference.terminal import quiet

        with quiet(one_thread=model == TINY):
            loaded = load_model(model, cache_folder(), adapter)
            llm = LLM(*loaded, cot=cot, max_new_tokens=max_new_tokens)
            report, score = audited_score(llm, read_questions(data)[:limit])
    click.echo(score)
    if wrong:
        click.echo(f"\n{score.wrong()}", nl=False)
    click.echo()
    print_report(report)
    sys.exit(report.exit_code)


@click.command()
@click.argument("questions", nargs=-1, required=True, metavar="QUESTION...")
@_model
@_adapter
@_cot
@_tokens
@_count("--samples", 1, "Continuations of each question; more than one are drawn at random.")
@_temperature(Plan.temperature)
@_seed
def generate(
    questions: tuple[str, ...],
    model: str,
    adapter: str,
    cot: bool,
    max_new_tokens: int,
    samples: int,
    temperature: float,
    seed: int,
) -> None:
    """Show what a model says to each QUESTION, and the answer that it states."""
    with _told():
        from transformers import set_seed

        from trainguard.reference.benchmark import LLM
        from trainguard.reference.run import load_model
        from trainguard.reference.terminal import quiet
        from trainguard.reference.units import format_number

        with quiet(one_thread=model == TINY):
            loaded = load_model(model, cache_folder(), adapter)
            llm = LLM(*loaded, cot=cot, max_new_tokens=max_new_tokens)
            if samples > 1:
                set_seed(seed)
                said = llm.sample(*questions, count=samples, temperature=temperature)
            else:
                said = [[text] for text in llm.generate(*llm.prompts(questions))]
    for question, texts in zip(questions, said, strict=True):
        click.echo(click.style(question, bold=True) if has_colour(sys.stdout) else question)
        for text in texts:
            answer = llm.parse_answer(text)
            stated = "no answer" if answer != answer else format_number(answer)
            click.echo(f"  {text.strip()}\n  = {stated}")
