"""The source of a training project: a parsed module, what its names mean, and its neighbours."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, TypeVar, cast

from trainguard.findings import ExcerptLine, Location

Function = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda
Scope = Function | ast.Module
Node = TypeVar("Node", bound=ast.AST)


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class SourceFacts:
    """One module, parsed and never imported."""

    WANTED: ClassVar[str] = "Python source of a training project"

    path: str
    """As the user named it."""
    lines: tuple[str, ...]
    tree: ast.Module
    imported: Mapping[str, str]
    """Local name, and the qualified name that an import gives it."""
    parents: Mapping[ast.AST, ast.AST]
    nodes: Mapping[type[ast.AST], Sequence[ast.AST]]
    """By class, each in the order of the text."""
    project: ProjectFacts = field(default_factory=lambda: ProjectFacts())
    """The modules that were read together with this one."""

    def each(self, kind: type[Node]) -> Sequence[Node]:
        """The nodes of one class, in the order of the text."""
        return cast("Sequence[Node]", self.nodes.get(kind, ()))

    @property
    def calls(self) -> Sequence[ast.Call]:
        """In the order of the text."""
        return self.each(ast.Call)

    @property
    def functions(self) -> Sequence[ast.FunctionDef | ast.AsyncFunctionDef]:
        """The plain ones, then the asynchronous ones."""
        return [*self.each(ast.FunctionDef), *self.each(ast.AsyncFunctionDef)]

    def name(self, node: ast.AST) -> str:
        """The qualified name of an expression, such as `peft.PeftModel.from_pretrained`.

        A method of something without a name comes out as `.method`, everything else as "".
        """
        if isinstance(node, ast.Name):
            return self.imported.get(node.id, node.id)
        if isinstance(node, ast.Attribute):
            return f"{self.name(node.value)}.{node.attr}"
        return ""

    def calls_of(self, *names: str) -> Iterator[ast.Call]:
        """The calls whose qualified name is one of these, or ends in one that starts with a dot."""
        for call in self.calls:
            name = self.name(call.func)
            if any(name == one or (one[0] == "." and name.endswith(one)) for one in names):
                yield call

    def scope(self, node: ast.AST) -> Scope:
        """The function around a node, or the module; a function is not around itself."""
        for outer in self.around(node):
            if isinstance(outer, Function | ast.Module):
                return outer
        return self.tree

    def owner(self, node: ast.AST) -> ast.ClassDef | None:
        """The class around a node."""
        return next((one for one in self.around(node) if isinstance(one, ast.ClassDef)), None)

    def statement(self, node: ast.AST) -> ast.stmt:
        """The innermost statement that a node belongs to."""
        while not isinstance(node, ast.stmt):
            node = self.parents[node]
        return node

    def around(self, node: ast.AST) -> Iterator[ast.AST]:
        """What encloses a node, innermost first."""
        while node in self.parents:
            node = self.parents[node]
            yield node

    def exclusive(self, first: ast.AST, second: ast.AST) -> bool:
        """Whether two nodes are in different branches of one condition."""
        path = {second, *self.around(second)}
        inner: ast.AST = first
        for outer in self.around(first):
            if isinstance(outer, ast.If | ast.IfExp) and outer in path:
                return _branch(outer, inner) != _branch(outer, _child(outer, path))
            inner = outer
        return False

    def bound(self, node: ast.Name) -> ast.expr | None:
        """What the name was last assigned in the text before this use; None if unknown.

        Looked for in the function around the use, then in the module. A parameter, a loop
        variable and a name that is only imported are unknown.
        """
        scope = self.scope(node)
        for place in dict.fromkeys((scope, self.tree)):
            found = [
                value
                for target, value in self.assignments(place)
                if isinstance(target, ast.Name)
                and target.id == node.id
                and (place is not scope or target.lineno < node.lineno)
            ]
            if found:
                return found[-1]
            if node.id in parameters(place):
                return None
        return None

    def assignments(self, scope: Scope) -> Iterator[tuple[ast.expr, ast.expr]]:
        """Targets and values of the assignments in a scope, not in the functions inside it."""
        for node in walk(scope):
            if isinstance(node, ast.Assign):
                for target in node.targets:
                    yield from _unpacked(target, node.value)
            elif isinstance(node, ast.AnnAssign | ast.NamedExpr) and node.value is not None:
                yield node.target, node.value
            elif isinstance(node, ast.With | ast.AsyncWith):
                for item in node.items:
                    if item.optional_vars is not None:
                        yield item.optional_vars, item.context_expr

    def definition(self, call: ast.Call) -> tuple[SourceFacts, ast.FunctionDef] | None:
        """The function of this module or a neighbour that a call runs, if it can be told."""
        name = self.name(call.func)
        own = name.removeprefix("self.")
        if "." not in own:
            for function in self.each(ast.FunctionDef):
                if function.name == own:
                    return self, function
        return self.project.functions.get(tail(name))

    def at(self, node: ast.AST, key: str | None = None) -> Location:
        """The place of a node, with the line itself."""
        line = getattr(node, "lineno", 1)
        end_line = getattr(node, "end_lineno", None) or line
        shown = ExcerptLine(label=str(line), text=self._line(line).strip()[:160], marked=True)
        return Location(
            path=self.path,
            line=line,
            column=self._column(line, getattr(node, "col_offset", 0)),
            end_line=end_line,
            end_column=self._column(end_line, getattr(node, "end_col_offset", None) or 0),
            key=key,
            excerpt=(shown,),
        )

    def _line(self, number: int) -> str:
        return self.lines[number - 1] if number <= len(self.lines) else ""

    def _column(self, line: int, offset: int) -> int:
        """The character, from 1, at an offset that Python's parser counts in UTF-8 bytes."""
        return len(self._line(line).encode()[:offset].decode(errors="ignore")) + 1


@dataclass(frozen=True, slots=True, eq=False)
class ProjectFacts:
    """The modules of one project, linked by what they import from each other."""

    sources: list[SourceFacts] = field(default_factory=list)
    functions: dict[str, tuple[SourceFacts, ast.FunctionDef]] = field(default_factory=dict)
    """By module and name, such as `utils.load_adapter`; names that two modules share are left
    out."""

    def callers(self, function: ast.FunctionDef) -> Iterator[tuple[SourceFacts, ast.Call]]:
        """The calls of a function anywhere in the project."""
        for source in self.sources:
            for call in source.calls:
                if function.name in source.name(call.func):
                    found = source.definition(call)
                    if found is not None and found[1] is function:
                        yield source, call


def walk(scope: ast.AST) -> Iterator[ast.AST]:
    """The nodes of a scope in the order of the text, without the functions inside it."""
    for child in ast.iter_child_nodes(scope):
        yield child
        if not isinstance(child, Function | ast.ClassDef):
            yield from walk(child)


def parameters(scope: ast.AST) -> list[str]:
    """The names of a function's parameters, in order; none of a module."""
    if not isinstance(scope, Function):
        return []
    args = scope.args
    found = [*args.posonlyargs, *args.args, *args.kwonlyargs]
    return [arg.arg for arg in (*found, args.vararg, args.kwarg) if arg is not None]


def argument(call: ast.Call, name: str, position: int | None = None) -> ast.expr | None:
    """What a call passes under a name, or at a position from 0; None if neither is there."""
    for keyword in call.keywords:
        if keyword.arg == name:
            return keyword.value
    if position is not None and position < len(call.args):
        given = call.args[: position + 1]
        return None if any(isinstance(one, ast.Starred) for one in given) else given[-1]
    return None


def unpacks(call: ast.Call) -> bool:
    """Whether a call passes `**options` that are not known."""
    return any(keyword.arg is None for keyword in call.keywords)


def constant(node: ast.AST | None) -> object:
    """The value of a literal, its sign included; None for everything else, and for None."""
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        value = constant(node.operand)
        return -value if isinstance(value, int | float) else None
    return node.value if isinstance(node, ast.Constant) else None


def tail(name: str) -> str:
    """The last two parts of a qualified name."""
    return ".".join(name.split(".")[-2:])


def _child(outer: ast.AST, path: set[ast.AST]) -> ast.AST:
    """The part of a node that a path through it takes."""
    return next(child for child in ast.iter_child_nodes(outer) if child in path)


def _branch(outer: ast.If | ast.IfExp, part: ast.AST) -> str:
    for name in ("body", "orelse"):
        held = getattr(outer, name)
        if part is held or (isinstance(held, list) and part in held):
            return name
    return "test"


def _unpacked(target: ast.expr, value: ast.expr) -> Iterator[tuple[ast.expr, ast.expr]]:
    """`a, b = x, y` binds pairwise; `a, b = f()` binds both to the call."""
    if not isinstance(target, ast.Tuple | ast.List):
        yield target, value
        return
    pairwise = isinstance(value, ast.Tuple | ast.List) and len(value.elts) == len(target.elts)
    for index, part in enumerate(target.elts):
        yield from _unpacked(part, value.elts[index] if pairwise else value)  # type: ignore[attr-defined]
