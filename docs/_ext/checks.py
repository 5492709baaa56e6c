"""The pages about the checks, written from the checks themselves before each build.

One page per check from its docstring and its declaration, one per family, and a table of all.
They stand in `docs/checks/`, which is not committed.
"""

from __future__ import annotations

import html
import inspect
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pygments.lexer import RegexLexer, bygroups
from pygments.lexers.python import PythonLexer
from pygments.lexers.special import TextLexer
from pygments.token import Comment, Keyword, Name, Number, Operator, Text
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from trainguard.facts.notation import CODE, examples
from trainguard.registry import Check, all_checks

FOLDER = "checks"
FAMILIES = {
    "TG0": "trainguard itself",
    "TG1": "Adapters, checkpoints and models on disk",
    "TG2": "Model, parameters, optimizer, precision",
    "TG3": "Batches and labels",
    "TG4": "Gradients and updates",
    "TG5": "Loss, log, schedule",
    "TG6": "Evaluation",
    "TG7": "Data sets",
    "TG8": "Training source code",
    "TG9": "Rewards, generation, ranks",
}
PRECISIONS = {
    "exact": "exact: a proof from the evidence",
    "high": "high: a pattern that no healthy run is known to show",
    "medium": "medium: a pattern that healthy runs show rarely",
}


class FactsLexer(RegexLexer):
    """Facts in one-line notation: `step=7 loss=nan   # TG501`."""

    name = "trainguard facts"
    tokens = {  # noqa: RUF012 - pygments declares it as an instance's attribute
        "root": [
            (r"#.*", Comment),
            (r"([\w./-]+)(=)", bygroups(Name.Attribute, Operator)),
            (r"\b(nan|inf|none|true|false|null)\b", Keyword),
            (r"-?\d[\d.e+-]*", Number),
            (r"\s+", Text),
            (r"[^\s#=]+", Text),
            (r".", Text),
        ]
    }


def pages(checks: Sequence[Check]) -> dict[str, str]:
    """The text of every generated page by its name without suffix."""
    explained_by: dict[str, list[Check]] = defaultdict(list)
    for one in checks:
        for code in one.explains:
            explained_by[code].append(one)
    by_code = {one.code: one for one in checks}
    written = {one.name: _page(one, by_code, explained_by[one.code]) for one in checks}
    families = {prefix: _members(prefix, checks) for prefix in FAMILIES}
    for prefix, members in families.items():
        if members:
            written[_family_page(prefix)] = _family(prefix, members)
    written["index"] = _index(checks, [prefix for prefix, members in families.items() if members])
    return written


def thresholds(one: Check) -> Mapping[str, Any]:
    """The numbers of a check that a configuration may set, with their defaults."""
    return getattr(one, "thresholds", {})


def _page(one: Check, by_code: Mapping[str, Check], causes: Sequence[Check]) -> str:
    summary, _, rest = one.doc.partition("\n")
    symptoms = [by_code[code] for code in one.explains]
    parts = [
        f"# {one.code} {one.name}",
        summary,
        _declared(one, symptoms, causes),
        rest.strip(),
        f"```{{check-source}} {one.code}\n```",
    ]
    return "\n\n".join(parts) + "\n"


def _declared(one: Check, symptoms: Sequence[Check], causes: Sequence[Check]) -> str:
    rows = {
        "Severity": one.severity.value,
        "Precision": PRECISIONS[one.precision.value],
        "Needs": ", ".join(_needs(one)),
        "Explains": _links(symptoms),
        "Explained by": _links(causes),
        "Thresholds": ", ".join(f"`{name}` = {value}" for name, value in thresholds(one).items()),
        "Suppress in source": f"`# trainguard: ignore[{one.name}] reason`",
    }
    if not one.code.startswith("TG8"):
        del rows["Suppress in source"]
    return "\n".join(f"{name}\n: {text}\n" for name, text in rows.items() if text).strip()


def _needs(one: Check) -> Iterator[str]:
    for need in one.needs:
        kind = inspect.cleandoc(need.kind.__doc__ or "").partition("\n")[0].rstrip(".")
        yield f"`{need.kind.__name__}`{' if there is one' if need.optional else ''} ({kind})"


def _links(checks: Sequence[Check]) -> str:
    return ", ".join(f"[{one.code} {one.name}]({one.name}.md)" for one in checks)


def _members(prefix: str, checks: Sequence[Check]) -> list[Check]:
    return [one for one in checks if one.code.startswith(prefix)]


def _family_page(prefix: str) -> str:
    return f"family-{prefix.lower()}"


def _family(prefix: str, members: Sequence[Check]) -> str:
    lines = "\n".join(f"- [{c.code} {c.name}]({c.name}.md): {c.summary}" for c in members)
    tree = "\n".join(one.name for one in members)
    return (
        f"# {prefix}xx {FAMILIES[prefix]}\n\n{lines}\n\n```{{toctree}}\n:hidden:\n\n{tree}\n```\n"
    )


def _index(checks: Sequence[Check], prefixes: Sequence[str]) -> str:
    rows = "\n".join(
        f"| {c.code} | [{c.name}]({c.name}.md) | {c.severity} | {c.precision} "
        f"| {_cell(c.summary)} |"
        for c in checks
    )
    tree = "\n".join(_family_page(prefix) for prefix in prefixes)
    return (
        f"# Checks\n\nAll {len(checks)} of them. A code's first digit is its family; codes and "
        "names both select (`--select TG5`, `--ignore constant-loss`). Severities and precisions "
        "are explained in [How trainguard works](../how-it-works.md).\n\n"
        f"```{{toctree}}\n:maxdepth: 1\n\n{tree}\n```\n\n"
        "::::{container} checks-table\n\n"
        f"| code | name | severity | precision | what is wrong |\n|-|-|-|-|-|\n{rows}\n\n::::\n"
    )


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


class CheckSource(SphinxDirective):
    """A link to the page that shows the code of a check."""

    required_arguments = 1

    def run(self) -> list[Any]:
        """The link, relative to the page it stands on."""
        from docutils import nodes

        one = next(c for c in all_checks() if c.code == self.arguments[0])
        link = f'<p><a href="../{_module_page(one)}.html">View the source of this check</a></p>'
        return [nodes.raw("", link, format="html")]


def _module_page(one: Check) -> str:
    return "_modules/" + one.judge.__module__.replace(".", "/")


def source_pages(app: Sphinx) -> Iterator[tuple[str, dict[str, Any], str]]:
    """One page of highlighted code for each check."""
    for one in all_checks():
        text = Path(inspect.getsourcefile(one.judge) or "").read_text(encoding="utf-8")
        body = app.builder.highlighter.highlight_block(text, "python", linenos=False)
        title = one.judge.__module__
        heading = f"<h1>{html.escape(title)}</h1>"
        yield _module_page(one), {"title": title, "body": heading + body}, "page.html"


def write(app: Sphinx) -> None:
    """Bring `docs/checks/` up to date; a page that has not changed keeps its time."""
    folder = Path(app.srcdir) / FOLDER
    folder.mkdir(exist_ok=True)
    texts = {folder / f"{name}.md": text for name, text in pages(all_checks()).items()}
    for old in set(folder.glob("*.md")) - set(texts):
        old.unlink()
    for path, text in texts.items():
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the pages, the notation of the examples, and the link to the code."""
    for fence in {example.kind for one in all_checks() for example in examples(one.doc)}:
        app.add_lexer(fence, PythonLexer if fence == CODE else FactsLexer)
    app.add_lexer("log", TextLexer)
    app.add_directive("check-source", CheckSource)
    app.connect("builder-inited", write)
    app.connect("html-collect-pages", source_pages)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
