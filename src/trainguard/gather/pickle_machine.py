"""A pickle machine that makes nothing: it follows the opcodes and notes what they refer to.

It keeps a stack, marks and a memo as the real one does, so that a name that is put together from
the memo is known. It never imports and never calls; what a call would make stays unknown, except
for the tensors and tables that a torch file consists of.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from trainguard.gather.pickle_stream import UNKNOWN, PickleError, Stream
from trainguard.gather.pickle_values import (
    COMPUTED,
    COMPUTED_CALL,
    OUTSIDE,
    Name,
    Table,
    Uses,
    View,
    as_storage,
    resolve,
)

TABLE: Final = "collections.OrderedDict"

Result = Callable[[str, Any], Any]
"""What a call of a name with these arguments makes; None if it does not matter."""


class Machine:
    """Follows one pickle."""

    def __init__(self, stream: Stream, uses: Uses, result: Result) -> None:
        self.stream = stream
        self.uses = uses
        self.result = result
        self.stack: list[Any] = []
        self.marked: list[list[Any]] = []
        self.memo: dict[int, Any] = {}
        self.protocol = 0
        self.steps = 0
        self.largest = 0
        """Index in the memo."""

    def push(self, value: Any) -> None:
        """Put a value on the stack."""
        self.stack.append(value)

    def pop(self) -> Any:
        """Take the top of the stack."""
        if not self.stack:
            raise PickleError("has a pickle that takes from an empty stack")
        return self.stack.pop()

    def top(self) -> Any:
        """The top of the stack, which stays."""
        if not self.stack:
            raise PickleError("has a pickle that takes from an empty stack")
        return self.stack[-1]

    def pop_mark(self) -> list[Any]:
        """What was put on the stack since the last mark."""
        if not self.marked:
            raise PickleError("has a pickle without a mark where it needs one")
        items, self.stack = self.stack, self.marked.pop()
        return items

    def remember(self, index: int) -> None:
        """Put the top of the stack into the memo."""
        if index < 0:
            raise PickleError(f"has a pickle with the memo index {index}")
        self.largest = max(self.largest, index)
        self.memo[index] = self.top()

    def recall(self, index: int) -> None:
        """Push what the memo has."""
        if index not in self.memo:
            raise PickleError(f"has a pickle that recalls entry {index}, which it never stored")
        self.push(self.memo[index])

    def load(self, module: Any, name: Any) -> None:
        """Push a name."""
        if isinstance(module, str) and isinstance(name, str):
            path = resolve(module, name, self.protocol)
        else:
            path = COMPUTED
        self.uses.load(path)
        self.push(Name(path))

    def call(self, called: Any, arguments: Any) -> None:
        """Push what a call makes."""
        path = called.path if isinstance(called, Name) else COMPUTED_CALL
        self.uses.call(path, arguments)
        made = Table() if path == TABLE and arguments == () else self.result(path, arguments)
        self.push(UNKNOWN if made is None else made)

    def make(self, called: Any, arguments: Any) -> None:
        """Push a new object; without arguments, only the class's own `__new__` would run."""
        if arguments != () or not isinstance(called, Name):
            self.call(called, arguments)
        else:
            self.push(Table() if called.path == TABLE else UNKNOWN)

    def change(self, target: Any) -> None:
        """Note where a name itself, not an object of it, gets attributes or items."""
        if isinstance(target, Name):
            self.uses.change(target.path)
        if isinstance(target, View):
            raise PickleError("changes a tensor after it made it, which torch.save does not write")

    def find_outside(self, key: Any) -> None:
        """Push what a persistent id stands for."""
        storage = as_storage(key)
        if storage is None:
            self.uses.load(OUTSIDE)
        else:
            self.uses.storages.append(storage)
        self.push(storage or UNKNOWN)
