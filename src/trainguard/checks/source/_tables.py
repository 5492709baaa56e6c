"""Functions that look their own question up instead of asking a model."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass

from trainguard.facts.source import Function, SourceFacts, parameters

_QUESTION = re.compile(
    r"(^|\W|_)(q|question|prompt|problem|query|input|instruction)s?(\W|_|$)", re.IGNORECASE
)
_ANSWER = re.compile(
    r"(^|\W|_)(a|answer|expected|target|label|solution|output|completion|reference|gold)s?(\W|_|$)",
    re.IGNORECASE,
)
#: Calls between a table and where it is used, and between a question and its key.
DEPTH = 3


@dataclass(frozen=True, eq=False)
class LookUp:
    """A place where a function reads a table at its own question."""

    node: ast.expr
    table: ast.expr


def look_ups(source: SourceFacts, function: Function) -> Iterator[LookUp]:
    """The reads `table[question]`, `table.get(question)` and `question in table` of a function.

    A table that the function also writes to is a cache, and no look-up.
    """
    keys = _keys(function)
    if not keys:
        return
    written = {
        ast.unparse(node.value)
        for node in ast.walk(function)
        if isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Store)
    }
    for node in ast.walk(function):
        table = _table(node, keys)
        if table is None or not isinstance(node, ast.expr):
            continue
        if ast.unparse(table) not in written and not _mentions(table, keys):
            yield LookUp(node, table)


def _keys(function: Function) -> set[str]:
    """Names that hold the question: the first parameter, what runs over it, what is made of it."""
    given = [name for name in parameters(function) if name not in ("self", "cls", "args", "kwargs")]
    star = function.args.vararg
    keys = {star.arg} if star else set(given[:1])
    for _ in range(DEPTH):
        for node in ast.walk(function):
            if isinstance(node, ast.comprehension | ast.For) and _mentions(node.iter, keys):
                keys |= {one.id for one in ast.walk(node.target) if isinstance(one, ast.Name)}
            elif isinstance(node, ast.Assign) and _is_made_of(node.value, keys):
                keys |= {one.id for one in node.targets if isinstance(one, ast.Name)}
    return keys


def _is_made_of(value: ast.expr, keys: set[str]) -> bool:
    """`question.strip().lower()` or `normalise(question)`: the same question in another form."""
    while isinstance(value, ast.Call):
        if isinstance(value.func, ast.Attribute) and not value.args:
            value = value.func.value
        elif len(value.args) == 1 and isinstance(value.func, ast.Name):
            value = value.args[0]
        else:
            return False
    return isinstance(value, ast.Name) and value.id in keys


def _table(node: ast.AST, keys: set[str]) -> ast.expr | None:
    if isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Load):
        return node.value if _is_key(node.slice, keys) else None
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        is_get = node.func.attr in ("get", "pop") and bool(node.args)
        return node.func.value if is_get and _is_key(node.args[0], keys) else None
    if isinstance(node, ast.Compare) and isinstance(node.ops[0], ast.In | ast.NotIn):
        return node.comparators[0] if _is_key(node.left, keys) else None
    return None


def _is_key(node: ast.expr, keys: set[str]) -> bool:
    return (isinstance(node, ast.Name) and node.id in keys) or (
        isinstance(node, ast.Call) and _is_made_of(node, keys)
    )


def _mentions(node: ast.AST, keys: set[str]) -> bool:
    return any(isinstance(one, ast.Name) and one.id in keys for one in ast.walk(node))


def is_answer_table(source: SourceFacts, table: ast.expr, depth: int = DEPTH) -> bool:
    """Whether an expression is a table from questions to their answers, wherever it is built."""
    if _is_built_from_rows(table):
        return True
    if depth == 0:
        return False
    if isinstance(table, ast.Call):
        found = source.definition(table)
        if found is None:
            return False
        other, function = found
        return any(_returns_table(other, node, depth) for node in ast.walk(function))
    return any(is_answer_table(source, value, depth - 1) for value in _values(source, table)) or (
        _is_filled_from_rows(source, table)
    )


def _returns_table(source: SourceFacts, node: ast.AST, depth: int) -> bool:
    return (
        isinstance(node, ast.Return)
        and node.value is not None
        and is_answer_table(source, node.value, depth - 1)
    )


def _is_built_from_rows(table: ast.expr) -> bool:
    """`{row["question"]: row["answer"] for row in rows}`"""
    if not isinstance(table, ast.DictComp):
        return False
    return _is_pair(table.key, table.value)


def _is_pair(key: ast.expr, value: ast.expr) -> bool:
    return bool(_QUESTION.search(ast.unparse(key)) and _ANSWER.search(ast.unparse(value)))


def _values(source: SourceFacts, table: ast.expr) -> Iterator[ast.expr]:
    """What was assigned to a name in any scope around, or to an attribute of the class."""
    key = ast.unparse(table)
    if not isinstance(table, ast.Name | ast.Attribute):
        return
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Assign):
            yield from (node.value for one in node.targets if ast.unparse(one) == key)
        elif isinstance(node, ast.AnnAssign) and node.value and ast.unparse(node.target) == key:
            yield node.value


def _is_filled_from_rows(source: SourceFacts, table: ast.expr) -> bool:
    """`table[row["question"]] = row["answer"]` in a loop over rows."""
    key = ast.unparse(table)
    return any(
        isinstance(node, ast.Assign)
        and isinstance(node.targets[0], ast.Subscript)
        and ast.unparse(node.targets[0].value) == key
        and _is_pair(node.targets[0].slice, node.value)
        and any(isinstance(outer, ast.For) for outer in source.around(node))
        for node in ast.walk(source.tree)
    )
