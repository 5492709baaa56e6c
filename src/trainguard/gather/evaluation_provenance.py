"""Where the code behind a callable comes from.

`functools.wraps` forges a function's name and module, but not the file it was compiled from, so
every judgement rests on code objects: which ones a callable leads to, and who owns their files.
"""

from __future__ import annotations

import ast
import functools
import inspect
import itertools
import os
import sys
import sysconfig
import time
from collections.abc import Collection, Iterator
from functools import lru_cache
from pathlib import Path
from types import CodeType, FunctionType, MethodType
from typing import Any

#: A callable that leads to more things than this is not followed further.
LARGEST_WALK = 500
LARGEST_LIST = 100
#: Packages that replace methods for good reasons; they count as installed from a checkout too.
FRAMEWORKS = frozenset(
    {"accelerate", "bitsandbytes", "deepspeed", "kernels", "liger_kernel", "optimum", "peft"}
    | {"torch", "transformers", "trl", "unsloth", "unsloth_zoo", "vllm"}
    | {"axolotl", "llamafactory", "verl"}
)
#: unsloth writes the methods that it installs into the project's own folder.
_INSTALLED_PARTS = frozenset({"site-packages", "dist-packages", "unsloth_compiled_cache"})
#: Frozen standard library, and the code that torch.fx generates.
_GENERATED_NAMES = ("<frozen", "<eval_with_key>")
_LINKS = ("__wrapped__", "_torchdynamo_orig_callable", "__func__", "fget")
_STARTED = time.time()


def is_installed(code: CodeType) -> bool:
    """Whether the code belongs to Python, to an installed package or to trainguard."""
    file = code.co_filename
    if file.startswith(_GENERATED_NAMES) or _INSTALLED_PARTS & set(Path(file).parts):
        return True
    return file.startswith(_installed_folders(len(sys.modules)))


@lru_cache(maxsize=1)
def _installed_folders(_: int) -> tuple[str, ...]:
    """Looked up again when further modules have been imported."""
    paths = sysconfig.get_paths()
    folders = {paths[name] for name in ("stdlib", "platstdlib", "purelib", "platlib")}
    folders.add(str(Path(__file__).parents[1]))
    for name in FRAMEWORKS & sys.modules.keys():
        file = getattr(sys.modules[name], "__file__", None)
        if file:
            folders.add(str(Path(file).parent))
    return tuple(folder + os.sep for folder in folders)


def is_mock(thing: Any) -> bool:
    """Whether it is an object of unittest.mock, or of the package it was taken from."""
    return any(base.__module__ in ("unittest.mock", "mock.mock") for base in type(thing).__mro__)


def reached(target: Any, owner: Any = None, stop: frozenset[CodeType] = frozenset()) -> list[Any]:
    """The callable and every callable that it leads to, nearest first.

    Followed are bound functions, partials, caches, closures, defaults, callable instances and,
    from project code, globals and attributes of `owner` by the names that the code uses.
    What `stop` holds is found, but not followed.
    """
    found: list[Any] = [target]
    seen = {id(target)}
    for thing in found:
        if isinstance(thing, FunctionType) and thing.__code__ in stop:
            continue
        for next_one in _led_to(thing, owner):
            if id(next_one) not in seen and len(found) < LARGEST_WALK:
                seen.add(id(next_one))
                found.append(next_one)
    return found


def home(thing: Any) -> tuple[str, str | None, int | None]:
    """The name of a callable, and the file and line of the first code that it leads to."""
    found = codes(reached(thing))
    name = getattr(thing, "__qualname__", type(thing).__qualname__).rpartition("<locals>.")[2]
    if not found:
        return name, None, None
    return name, shown(found[0].co_filename), found[0].co_firstlineno


def shown(file: str) -> str:
    """The path as messages give it: relative where it lies below the working directory."""
    path = Path(file)
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)


def codes(things: list[Any]) -> list[CodeType]:
    """The code objects of the functions among the things."""
    return [thing.__code__ for thing in things if isinstance(thing, FunctionType)]


def _led_to(thing: Any, owner: Any) -> Iterator[Any]:
    if isinstance(thing, type):
        return
    if isinstance(thing, functools.partial):
        yield from _callables([thing.func, *thing.args, *thing.keywords.values()])
    if isinstance(thing, FunctionType):
        yield from _callables(list(_held(thing)))
        if not is_installed(thing.__code__):
            yield from _callables(list(_named(thing, owner)))
    elif not isinstance(thing, MethodType) and hasattr(thing, "__dict__"):
        yield from _of_instance(thing)
    if not isinstance(thing, FunctionType):  # there it is a remark, and anyone can write it
        for link in _LINKS:
            yield from _callables([inspect.getattr_static(thing, link, None)])
    yield from _callables([thing.__func__] if isinstance(thing, MethodType) else [])


def _held(function: FunctionType) -> Iterator[Any]:
    yield from function.__defaults__ or ()
    yield from (function.__kwdefaults__ or {}).values()
    for cell in function.__closure__ or ():
        try:
            yield cell.cell_contents
        except ValueError:  # not filled yet
            continue


def _of_instance(thing: Any) -> Iterator[Any]:
    """A callable object of the project, or a mock with what it stands for."""
    call = inspect.getattr_static(type(thing), "__call__", None)
    if is_mock(thing) or (isinstance(call, FunctionType) and not is_installed(call.__code__)):
        yield from _callables([call, *vars(thing).values()])


def _named(function: FunctionType, owner: Any) -> Iterator[Any]:
    names = names_of(function.__code__)
    yield from (function.__globals__[name] for name in names if name in function.__globals__)
    own = getattr(owner, "__dict__", {})
    for name in names:
        # An instance attribute hides what its class has under the same name.
        yield own[name] if name in own else inspect.getattr_static(type(owner), name, None)


def names_of(code: CodeType) -> list[str]:
    """Global and attribute names that the code uses, functions inside it included."""
    inner = [const for const in code.co_consts if isinstance(const, CodeType)]
    return [*code.co_names, *(name for part in inner for name in names_of(part))]


def constants_of(code: CodeType) -> list[Any]:
    """Constants of the code, functions inside it included."""
    inner = [const for const in code.co_consts if isinstance(const, CodeType)]
    return [*code.co_consts, *(const for part in inner for const in constants_of(part))]


def _members(thing: Any) -> list[Any]:
    """What a short list holds, such as the logits processors of a call."""
    return list(thing) if isinstance(thing, list | tuple) and len(thing) <= LARGEST_LIST else []


def _callables(things: Collection[Any]) -> Iterator[Any]:
    """Modules are callable too, but what a layer computes is not where code was put."""
    for thing in itertools.chain(things, *map(_members, things)):
        if isinstance(thing, staticmethod | classmethod):
            yield thing.__func__
        elif callable(thing) and not hasattr(type(thing), "register_buffer"):
            yield thing


def is_own(code: CodeType, owner: type) -> bool:
    """Whether the code was written in the body of the class."""
    return code.co_qualname.startswith(f"{owner.__qualname__}.") and _is_file_of(code, owner)


def _is_file_of(code: CodeType, owner: type) -> bool:
    file = getattr(sys.modules.get(owner.__module__), "__file__", None)
    # A notebook compiles every cell from a file of its own.
    return file is None or Path(file).stem == Path(code.co_filename).stem


@lru_cache(maxsize=64)
def declared_otherwise(owner: type, name: str) -> bool:
    """Whether the source of the class gives the name by an assignment or a decorated function.

    Then code from elsewhere stands there by the author's own choice.
    """
    for statement in class_body(owner):
        if isinstance(statement, ast.Assign | ast.AnnAssign):
            bound = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
            if any(isinstance(target, ast.Name) and target.id == name for target in bound):
                return True
        elif isinstance(statement, ast.FunctionDef) and statement.name == name:
            return bool(statement.decorator_list)
    return False


def class_body(owner: type) -> list[ast.stmt]:
    """The statements of the class in its source; empty where there is none to read."""
    tree = _parsed(getattr(sys.modules.get(owner.__module__), "__file__", None) or "")
    found: list[ast.AST] = [tree] if tree else []
    for part in owner.__qualname__.split("."):
        if part != "<locals>":
            found = [
                node
                for scope in found
                for node in ast.walk(scope)
                if isinstance(node, ast.ClassDef | ast.FunctionDef) and node.name == part
            ]
    return [statement for node in found for statement in getattr(node, "body", [])]


@lru_cache(maxsize=16)
def _parsed(file: str) -> ast.Module | None:
    try:
        return ast.parse(Path(file).read_bytes())
    except (OSError, SyntaxError, ValueError):
        return None


def differs_from_source(function: FunctionType) -> bool:
    """Whether another code was put into the function than its file holds at its name.

    False where nothing can be said: no source, a source edited since, or code that pytest has
    rewritten.
    """
    code, path = function.__code__, Path(function.__code__.co_filename)
    rewritten = any(name.startswith("@py_") for name in (*code.co_names, *code.co_varnames))
    try:
        edited = path.stat().st_mtime > _STARTED
        if rewritten or edited:
            return False
        module = compile(path.read_bytes(), str(path), "exec", dont_inherit=True)
    except (OSError, SyntaxError, ValueError):
        return False
    written = [one for one in _all_codes(module) if one.co_qualname == code.co_qualname]
    return bool(written) and all(_differ(one, code) for one in written)


def _all_codes(code: CodeType) -> Iterator[CodeType]:
    yield code
    for const in code.co_consts:
        if isinstance(const, CodeType):
            yield from _all_codes(const)


def _differ(left: CodeType, right: CodeType) -> bool:
    parts = ("co_code", "co_names", "co_varnames")
    return any(getattr(left, part) != getattr(right, part) for part in parts)
