"""What the pages mention exists, what they show runs, and what they claim of a log holds."""

from __future__ import annotations

import ast
import itertools
import json
import re
import shlex
import tomllib
from pathlib import Path

import click
import pytest
import yaml

from trainguard import check
from trainguard.cli import main
from trainguard.config import discover
from trainguard.registry import all_checks

from . import pages

ROOT = pages.ROOT
PAGES = pages.pages()
CODES = {one.code: one.name for one in all_checks()}
#: Codes that stand for a check that a reader is about to write, or has in a package.
INVENTED = {"TG388", "TG312", "TG390", "TG391", "TG399", "TG505"} - set(CODES)
_SPAN = re.compile(r"(?<!`)`(trainguard [^`\n]+)`(?!`)")


def commands() -> list[object]:
    """Each command in a fence or in running text, with the place where it stands."""
    shown = [
        (fence.name, match[1])
        for fence in pages.fences("", "bash", "console", "yaml")
        for line in fence.body.splitlines()
        if (match := re.match(r"^\s*(?:- )?(?:\$ )?(trainguard .*)$", line))
    ]
    said = [(page.name, span) for page in PAGES for span in _SPAN.findall(page.read_text("utf-8"))]
    return [pytest.param(text, id=f"{place} {text[:60]}") for place, text in (*shown, *said)]


def parse(words: list[str]) -> None:
    """Raises click.UsageError for a command, an option or a choice that does not exist."""
    command: click.Command = main
    context = click.Context(main)
    while isinstance(command, click.Group) and words and not words[0].startswith("-"):
        found = command.get_command(context, words[0])
        if found is None:
            raise click.UsageError(f"no command {words[0]}")
        command, words = found, words[1:]
        context = click.Context(command, parent=context)
    values, _, _ = command.make_parser(context).parse_args(words)
    for parameter in command.params:
        if isinstance(parameter.type, click.Choice) and (value := values.get(parameter.name)):
            for one in value if isinstance(value, list) else [value]:
                parameter.type.convert(one, parameter, context)


@pytest.mark.parametrize("command", commands())
def test_a_command_has_only_options_that_exist(command: str) -> None:
    words = shlex.split(command, comments=True)[1:]
    if "|" in words:
        words = words[: words.index("|")]

    parse([word for word in words if word not in ("...", "CODE")])


def test_a_command_that_does_not_exist_would_be_noticed() -> None:
    for wrong in (["chek"], ["check", "--statistic5"], ["check", "--fail-on", "sometimes"]):
        with pytest.raises(click.UsageError):
            parse(wrong)
    assert len(commands()) > 60


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_code_and_every_link_to_a_check_is_right(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    mentioned = set(re.findall(r"\bTG\d{3}\b", text))
    linked = re.findall(r"\[(TG\d{3})[^\]]*\]\((?:\.\./)?checks/([\w-]+)\.md\)", text)

    assert mentioned - set(CODES) <= INVENTED
    assert [(code, name) for code, name in linked if CODES[code] != name] == []
    named = re.findall(r"\[TG\d{3} ([\w-]+)\]", text)
    assert set(named) <= set(CODES.values())


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_example_that_is_mentioned_exists(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    paths = set(re.findall(r"(?<![\w/])(examples/[\w./-]*[\w])", text))

    assert [path for path in paths if not (ROOT / path).exists()] == []


@pytest.mark.parametrize("fence", pages.fences("python"), ids=lambda fence: fence.name)
def test_python_compiles(fence: pages.Fence) -> None:
    ast.parse(fence.body)


@pytest.mark.parametrize("fence", pages.fences("python"), ids=lambda fence: fence.name)
def test_what_python_imports_from_trainguard_exists(fence: pages.Fence) -> None:
    imports = [
        ast.unparse(node)
        for node in ast.walk(ast.parse(fence.body))
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("trainguard")
    ]

    exec("\n".join(imports), {})


@pytest.mark.parametrize("fence", pages.fences("yaml"), ids=lambda fence: fence.name)
def test_yaml_is_valid(fence: pages.Fence) -> None:
    assert yaml.safe_load(fence.body)


@pytest.mark.parametrize("fence", pages.fences("json"), ids=lambda fence: fence.name)
def test_json_is_valid(fence: pages.Fence) -> None:
    assert json.loads(fence.body)


@pytest.mark.parametrize("fence", pages.fences("toml"), ids=lambda fence: fence.name)
def test_settings_are_accepted(fence: pages.Fence, tmp_path: Path) -> None:
    assert tomllib.loads(fence.body)
    if "[tool.trainguard" in fence.body:
        file = tmp_path / "pyproject.toml"
        file.write_text(fence.body)
        assert discover(file=file).source == file


def test_the_inputs_of_the_action_in_the_guide_exist() -> None:
    inputs = set(yaml.safe_load((ROOT / "action.yml").read_text())["inputs"])
    guide = next(iter(pages.fences("yaml")))
    steps = yaml.safe_load(guide.body)["jobs"]["trainguard"]["steps"]

    assert {name for step in steps if step.get("id") for name in step["with"]} <= inputs


def test_the_hooks_in_the_guide_exist() -> None:
    hooks = {hook["id"] for hook in yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text())}
    shown = [
        hook["id"]
        for fence in pages.fences("yaml")
        for repo in yaml.safe_load(fence.body).get("repos", [])
        for hook in repo["hooks"]
    ]

    assert set(shown) == hooks


def test_the_options_of_the_pytest_guide_exist(pytestconfig: pytest.Config) -> None:
    text = (ROOT / "docs/guides/pytest.md").read_text(encoding="utf-8")
    options = set(re.findall(r"--trainguard[\w-]*", text))

    assert len(options) == 5
    for option in options:
        name = "paths" if option == "--trainguard" else option.removeprefix("--trainguard-")
        words = {"for": "purpose"}.get(name, name).replace("-", "_")
        assert f"trainguard_{words}" in vars(pytestconfig.option)


LOGS = list(pages.fences("log"))


@pytest.mark.parametrize("fence", LOGS, ids=lambda fence: fence.name)
def test_a_log_says_what_the_page_says_that_it_says(fence: pages.Fence, tmp_path: Path) -> None:
    log = tmp_path / "train.log"
    log.write_text(fence.body)

    report = check(log)

    assert [cause.code for cause in report.causes] == fence.info.split()[1:]
    assert report.subjects, "the log is recognised"


def test_the_page_of_logs_has_logs_that_decide_nothing() -> None:
    codes = [fence.info.split()[1:] for fence in LOGS]

    assert [] in codes
    assert set(itertools.chain(*codes)) >= {"TG402", "TG501", "TG502", "TG503", "TG504"}


def test_every_signature_of_the_table_has_a_section() -> None:
    text = (ROOT / "docs/what-does-my-log-mean.md").read_text(encoding="utf-8")
    wanted = re.findall(r"\]\(#([\w-]+)\)", text)
    targets = set(re.findall(r"^\(([\w-]+)\)=$", text, re.MULTILINE)) | {"grpo"}

    assert len(wanted) >= 19
    assert set(wanted) == targets
