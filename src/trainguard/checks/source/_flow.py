"""Where a value goes: from the call that makes it to the call that trains it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass

from trainguard.facts.source import (
    SourceFacts,
    argument,
    parameters,
    walk,
)

#: Names and functions on the way; further away nobody follows it by eye either.
DEPTH = 6
OPTIMIZERS = frozenset(
    {"ASGD", "Adadelta", "Adafactor", "Adagrad", "Adam", "Adam8bit", "AdamW", "AdamW8bit"}
    | {"Adamax", "LBFGS", "Lion", "Muon", "NAdam", "PagedAdamW", "PagedAdamW8bit", "RAdam"}
    | {"RMSprop", "SGD", "Sophia"}
)
#: Calls on a model after which its parameters may require gradients, or are others.
_RESCUES = frozenset(
    {"requires_grad_", "set_adapter", "add_adapter", "load_adapter", "merge_and_unload"}
    | {"unload", "set_requires_grad", "add_weighted_adapter", "enable_adapters"}
)
#: Functions that do so, by what they are called.
_UNFREEZES = re.compile(r"unfreeze|trainable|requires_grad|thaw")
_LOOPS = ast.For | ast.ListComp | ast.GeneratorExp | ast.SetComp


@dataclass(frozen=True, eq=False)
class Value:
    """An expression, and the module that it stands in."""

    source: SourceFacts
    node: ast.expr


def is_trainer(source: SourceFacts, call: ast.Call) -> bool:
    """Whether a call builds a trainer, by the name of its class."""
    return source.name(call.func).rpartition(".")[2].endswith("Trainer")


def is_optimizer(source: SourceFacts, call: ast.Call) -> bool:
    """Whether a call builds an optimizer, by the name of its class."""
    return source.name(call.func).rpartition(".")[2] in OPTIMIZERS


def training_of(value: Value, depth: int = DEPTH) -> ast.Call | None:
    """The call that trains what an expression yields; None if none is found.

    A model is followed through names, attributes of `self`, functions of the project that return
    it or take it, and wrappers, until a trainer gets it as its model or an optimizer gets its
    parameters. A value whose parameters are made trainable on the way is not followed.
    """
    if depth == 0:
        return None
    source = value.source
    parent = source.parents.get(value.node)
    if isinstance(parent, ast.Call) and parent.func is not value.node:
        return _of_argument(Value(source, parent), value.node, depth)
    if isinstance(parent, ast.keyword):
        call = source.parents[parent]
        assert isinstance(call, ast.Call)
        return _of_argument(Value(source, call), value.node, depth)
    statement = source.statement(value.node)
    if isinstance(statement, ast.Return):
        return _of_result(source, statement, depth)
    if isinstance(statement, ast.Assign) and _is_the_value(statement, value.node):
        return _of_names(source, statement, depth - 1)
    return None


def _is_the_value(statement: ast.Assign, node: ast.expr) -> bool:
    """The right side itself, or one side of a condition on it."""
    value = statement.value
    return node is value or (isinstance(value, ast.IfExp) and node in (value.body, value.orelse))


def _of_argument(call: Value, given: ast.expr, depth: int) -> ast.Call | None:
    node = call.node
    assert isinstance(node, ast.Call)
    source = call.source
    if is_trainer(source, node):
        return node if argument(node, "model", 0) is given else None
    found = source.definition(node)
    if found is None:
        return None
    other, function = found
    name = _parameter(function, node, given)
    return training_of_uses(other, function, ast.Name(id=name), 0, depth - 1) if name else None


def _parameter(function: ast.FunctionDef, call: ast.Call, given: ast.expr) -> str | None:
    for keyword in call.keywords:
        if keyword.value is given:
            return keyword.arg
    names = [name for name in parameters(function) if name != "self"]
    position = call.args.index(given) if given in call.args else len(names)
    return names[position] if position < len(names) else None


def _of_result(source: SourceFacts, statement: ast.Return, depth: int) -> ast.Call | None:
    function = source.scope(statement)
    if not isinstance(function, ast.FunctionDef):
        return None
    for caller, call in source.project.callers(function):
        found = training_of(Value(caller, call), depth - 1)
        if found is not None:
            return found
    return None


def _of_names(source: SourceFacts, statement: ast.Assign, depth: int) -> ast.Call | None:
    scope = source.scope(statement)
    for target in statement.targets:
        first = target.elts[0] if isinstance(target, ast.Tuple) and target.elts else target
        if isinstance(first, ast.Name):
            found = training_of_uses(source, scope, first, statement.lineno, depth)
        elif isinstance(first, ast.Attribute) and (owner := source.owner(statement)):
            found = training_of_uses(source, owner, first, 0, depth)
        else:
            found = None
        if found is not None:
            return found
    return None


def training_of_uses(
    source: SourceFacts, scope: ast.AST, target: ast.Name | ast.Attribute, after: int, depth: int
) -> ast.Call | None:
    """The training of what a name or an attribute holds after a line."""
    uses = list(uses_of(source, scope, target, after))
    if any(_is_rescue(source, use) for use in uses):
        return None
    for use in uses:
        found = _training_at(source, use, depth)
        if found is not None:
            return found
    return None


def uses_of(
    source: SourceFacts, scope: ast.AST, target: ast.Name | ast.Attribute, after: int
) -> Iterator[ast.expr]:
    """Reads of a name in a scope after a line, up to where something else is put there.

    The methods of a class can run in any order, so that there nothing ends them.
    """
    key = ast.unparse(target)
    in_class = isinstance(scope, ast.ClassDef)
    for node in ast.walk(scope) if in_class else walk(scope):
        if not isinstance(node, ast.Name | ast.Attribute) or ast.unparse(node) != key:
            continue
        if node.lineno <= after:
            continue
        if isinstance(node.ctx, ast.Load):
            yield node
        elif not (in_class or _keeps(source, node, key)):
            return


def _keeps(source: SourceFacts, target: ast.expr, key: str) -> bool:
    """Whether an assignment puts the same thing back, wrapped: `model = prepare(model)`."""
    statement = source.statement(target)
    value = getattr(statement, "value", None)
    names = (ast.Name, ast.Attribute)
    return value is not None and any(
        isinstance(node, names) and ast.unparse(node) == key for node in ast.walk(value)
    )


def _is_rescue(source: SourceFacts, use: ast.expr) -> bool:
    """Whether a use may make parameters trainable.

    A method that does, a loop over the model that sets requires_grad, or a function that is given
    the model and does so or is called like it.
    """
    parent = source.parents.get(use)
    if isinstance(parent, ast.Attribute) and parent.attr in _RESCUES:
        return True
    if isinstance(parent, ast.Call) and use in parent.args:
        found = source.definition(parent)
        if found is not None and _sets_requires_grad(found[1]):
            return True
        if _UNFREEZES.search(source.name(parent.func)):
            return True
    loops = (one for one in source.around(use) if isinstance(one, _LOOPS))
    return any(_sets_requires_grad(loop) for loop in loops)


def _sets_requires_grad(node: ast.AST) -> bool:
    return any(
        isinstance(one, ast.Attribute) and one.attr in ("requires_grad", "requires_grad_")
        for one in ast.walk(node)
    )


def _training_at(source: SourceFacts, use: ast.expr, depth: int) -> ast.Call | None:
    parent = source.parents.get(use)
    if isinstance(parent, ast.Attribute) and parent.attr in ("parameters", "named_parameters"):
        for outer in source.around(use):
            if isinstance(outer, ast.Call) and is_optimizer(source, outer):
                return outer
            if isinstance(outer, ast.stmt):
                return None
    return training_of(Value(source, use), depth)
