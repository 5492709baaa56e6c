"""Code that looks for NaN, as the checks of what it does then need it."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from trainguard.facts.source import SourceFacts

_TESTS = frozenset({"isnan", "isinf", "isfinite", "isposinf"})
_REPLACES = frozenset({"nan_to_num", "nan_to_num_"})


def tests_of(node: ast.AST, source: SourceFacts) -> Iterator[ast.expr]:
    """What `isnan`, `isinf` or `isfinite` is asked about inside a node."""
    for call in ast.walk(node):
        if isinstance(call, ast.Call) and _last(source, call) in _TESTS:
            yield from call.args[:1] or _owner(call)


def replacements_of(node: ast.AST, source: SourceFacts) -> Iterator[tuple[ast.Call, ast.expr]]:
    """Calls of `nan_to_num` inside a node, with what they replace the NaN of."""
    for call in ast.walk(node):
        if isinstance(call, ast.Call) and _last(source, call) in _REPLACES:
            yield from ((call, replaced) for replaced in (call.args[:1] or _owner(call)))


def _last(source: SourceFacts, call: ast.Call) -> str:
    return call.func.attr if isinstance(call.func, ast.Attribute) else source.name(call.func)


def _owner(call: ast.Call) -> list[ast.expr]:
    return [call.func.value] if isinstance(call.func, ast.Attribute) else []


def is_loss(node: ast.AST) -> bool:
    """Whether an expression is called a loss."""
    name = ast.unparse(node).rpartition(".")[2].lower()
    return name == "loss" or name.endswith(("_loss", "loss_value"))


def is_gradient(node: ast.AST) -> bool:
    """Whether an expression is the gradient of something: `parameter.grad`."""
    return isinstance(node, ast.Attribute) and node.attr == "grad"
