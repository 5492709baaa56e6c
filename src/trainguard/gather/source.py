"""Python files and notebooks of a project: parsed, linked, never imported."""

from __future__ import annotations

import ast
import json
import re
import tokenize
import warnings
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from operator import attrgetter
from pathlib import Path

from trainguard.facts.evidence import Evidence
from trainguard.facts.failure import Failure
from trainguard.facts.source import ProjectFacts, SourceFacts, tail
from trainguard.facts.suppression import Suppression, UnusedSuppression
from trainguard.gather.suppressions import suppressions

KIND = "source file"
ALONE = "what a comment covers may take the rest of the project to be found"
#: Generated code is larger; what people write is not.
LARGEST = 2_000_000
#: Characters that are parsed and linked at a time; a parsed text takes some thirty times as much.
LARGEST_PROJECT = 8_000_000
_ANSWERING = "(?:answer|ask|batch_decode|batched_generate|decode|generate|predict)"
#: A text without any of these holds nothing that a check looks for, and is not parsed.
_WORDS = re.compile(
    r"PeftModel|get_peft_model|prepare_model_for_kbit|merge_and_unload|\.backward\(|\.train\(|"
    r"compute_loss|Trainer\b|metric_for_best_model|DataCollatorForLanguageModeling|"
    r"isnan|isinf|isfinite|nan_to_num|cross_entropy|logs\[|metrics\[|"
    r"\.half\(|from_pretrained\([^#]{0,400}?(?:float16|torch\.half)|"
    rf"\.answer\b|def {_ANSWERING}\(|\.{_ANSWERING}\s*=[^=]|"
    rf"setattr\([^#)]{{0,200}}['\"]{_ANSWERING}\b|"
    r"load_dataset|is_(?:right|correct)|answers?_(?:match|equal)|(?:check|grade)_answer|"
    r"def _?(?:parse|extract|read|get)_(?:\w+_)?(?:answer|prediction)"
)
_MAGIC = re.compile(r"^(\s*)[%!?].*$")


@dataclass
class _Read:
    """A file's text, and what could not be read of it."""

    path: Path
    text: str = ""
    problem: str = ""
    unread: str = ""
    """Why it is left out, which is no fault of its own."""


def source_evidence(
    paths: Sequence[Path], root: Path, *, alone: bool = False
) -> Iterator[Evidence]:
    """The facts of every file, read together: what one imports from another is known.

    Args:
        paths: Python files and notebooks, neighbours next to each other.
        root: the project's folder; the findings of its files belong together.
        alone: whether the rest of the project is not among them.

    Of a very large project so many files are linked at a time as `LARGEST_PROJECT` allows.
    """
    for reads in _together(map(_read, paths)):
        project = ProjectFacts()
        sources = [_parsed(read, project) for read in reads]
        link(project, [source for source in sources if source is not None])
        for read, source in zip(reads, sources, strict=True):
            yield _evidence(read, source, str(root), alone=alone)


def _together(reads: Iterable[_Read]) -> Iterator[list[_Read]]:
    part: list[_Read] = []
    size = 0
    for read in reads:
        size += len(read.text)
        if size > LARGEST_PROJECT and part:
            yield part
            part, size = [], len(read.text)
        part.append(read)
    if part:
        yield part


def evidence_from_text(text: str, path: str = "train.py") -> Evidence:
    """The facts of one source text, as documentation and standard input have it."""
    read, project = _Read(Path(path), text), ProjectFacts()
    source = _parsed(read, project, always=True)
    link(project, [source] if source is not None else [])
    return _evidence(read, source, path, alone=True)


def _evidence(read: _Read, source: SourceFacts | None, scope: str, *, alone: bool) -> Evidence:
    facts: dict[type, object] = {Suppression: tuple(suppressions(read.text))}
    absent: dict[type, str] = {SourceFacts: read.unread} if read.unread else {}
    if alone:
        absent[UnusedSuppression] = ALONE
    if read.problem:
        facts[Failure] = (Failure(f"reading {read.path}", read.problem),)
    elif source is not None:
        facts[SourceFacts] = source
    return Evidence(subject=str(read.path), kind=KIND, facts=facts, scope=scope, absent=absent)


def _read(path: Path) -> _Read:
    try:
        if path.stat().st_size > LARGEST:
            return _Read(path, unread=f"a source of more than {LARGEST} bytes is not read")
        data = path.read_bytes()
        if path.suffix == ".ipynb":
            return _Read(path, notebook_text(data))
        encoding, _ = tokenize.detect_encoding(BytesIO(data).readline)
        return _Read(path, data.decode(encoding))
    except (OSError, SyntaxError, ValueError, LookupError, RecursionError) as error:
        return _Read(path, problem=f"{type(error).__name__}: {' '.join(str(error).split())}")


def notebook_text(data: bytes) -> str:
    """The code cells of a notebook as one text; lines of magic and shell are left blank.

    Raises:
        ValueError: it is no JSON, or has no cells.
    """
    notebook = json.loads(data)
    if not isinstance(notebook, dict) or not isinstance(notebook.get("cells"), list):
        raise ValueError("no cells")
    parts = []
    for cell in notebook["cells"]:
        if isinstance(cell, dict) and cell.get("cell_type") == "code":
            source = cell.get("source", "")
            text = "".join(map(str, source)) if isinstance(source, list) else str(source)
            parts.append("" if text.startswith("%%") else text)
    lines = (line for text in parts for line in text.splitlines())
    return "\n".join(_MAGIC.sub(r"\1pass", line) for line in lines) + "\n"


def _parsed(read: _Read, project: ProjectFacts, *, always: bool = False) -> SourceFacts | None:
    """The module; None if it could not be parsed or holds nothing that a check looks for."""
    if read.problem or not (always or _WORDS.search(read.text)):
        return None
    try:
        with warnings.catch_warnings():  # about the user's escapes, which are no business of ours
            warnings.simplefilter("ignore")
            tree = ast.parse(read.text)
        return _module(read, tree, project)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        read.problem = f"{type(error).__name__}: {' '.join(str(error).split())}"
        return None


def _module(read: _Read, tree: ast.Module, project: ProjectFacts) -> SourceFacts:
    parents: dict[ast.AST, ast.AST] = {}
    nodes: defaultdict[type[ast.AST], list[ast.AST]] = defaultdict(list)
    stack: list[ast.AST] = [tree]
    while stack:
        node = stack.pop()
        nodes[type(node)].append(node)
        children = list(ast.iter_child_nodes(node))
        for child in children:
            parents[child] = node
        stack.extend(reversed(children))
    # In the order of the text: of two imports under one name the later one holds.
    imports = sorted((*nodes[ast.Import], *nodes[ast.ImportFrom]), key=attrgetter("lineno"))
    return SourceFacts(
        path=str(read.path),
        lines=tuple(read.text.splitlines()),
        tree=tree,
        imported=dict(pair for one in imports for pair in _names(one)),
        parents=parents,
        nodes=dict(nodes),
        project=project,
    )


def _names(node: ast.AST) -> Iterator[tuple[str, str]]:
    """The local names that an import binds, each with its qualified name."""
    if isinstance(node, ast.Import):
        for alias in node.names:
            # `import a.b` binds `a`, and what is written after it is already qualified
            yield (alias.asname, alias.name) if alias.asname else (alias.name.split(".")[0],) * 2
    elif isinstance(node, ast.ImportFrom):
        for alias in node.names:
            yield alias.asname or alias.name, ".".join(filter(None, (node.module, alias.name)))


def link(project: ProjectFacts, sources: Iterable[SourceFacts]) -> None:
    """Fill the project with its modules and their functions, by module and name."""
    project.sources.extend(sources)
    shared = set()
    for source in project.sources:
        for node in source.tree.body:
            if not isinstance(node, ast.FunctionDef):
                continue
            key = tail(f"{Path(source.path).stem}.{node.name}")
            if key in project.functions:
                shared.add(key)
            project.functions[key] = (source, node)
    for key in shared:
        del project.functions[key]
