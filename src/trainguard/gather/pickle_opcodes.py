"""The opcodes of pickle's protocols 0 to 5 and what each does to the machine."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from trainguard.gather.pickle_machine import Machine, Result
from trainguard.gather.pickle_stream import ARGUMENTS, UNKNOWN, BoundsError, PickleError, Stream
from trainguard.gather.pickle_values import Name, Table, Uses

_NEWEST: Final = 5


def follow(stream: Stream, uses: Uses, result: Result) -> Any:
    """One pickle's value, as far as it is known; the stream stands behind it.

    Args:
        stream: at the pickle's first byte.
        uses: gets what the pickle refers to, up to the place where it breaks.
        result: what calls make.

    Raises:
        PickleError: no loader would get to the end, or the bounds were reached.
        OSError: reading failed.
    """
    machine = Machine(stream, uses, result)
    while (code := stream.byte()) != _STOP:
        stream.budget.spend_opcode()
        machine.steps += 1
        effect, read = _EFFECTS[code], _READERS[code]
        if effect is None:
            raise PickleError(f"has a pickle with the unknown opcode 0x{code:02x}")
        effect(machine, read(stream) if read else None)
    # A real loader makes room for every index below; no writer leaves any out.
    if machine.largest > machine.steps:
        raise BoundsError(f"asks its loader for a memo of {machine.largest} entries")
    return machine.pop()


def _start(machine: Machine, protocol: int) -> None:
    if protocol > _NEWEST:
        raise PickleError(f"has a pickle of protocol {protocol}; {_NEWEST} is the newest")
    machine.protocol = protocol


def _mark(machine: Machine, _: Any) -> None:
    machine.marked.append(machine.stack)
    machine.stack = []


def _drop(machine: Machine, _: Any) -> None:
    if machine.stack:
        machine.stack.pop()
    else:
        machine.pop_mark()


def _last(machine: Machine, count: int) -> None:
    if len(machine.stack) < count:
        raise PickleError("has a pickle that takes from an empty stack")
    items = tuple(machine.stack[len(machine.stack) - count :])
    del machine.stack[len(machine.stack) - count :]
    machine.push(items)


def _append(machine: Machine, items: list[Any]) -> None:
    target = machine.top()
    machine.change(target)
    if isinstance(target, list):
        target.extend(items)


def _put_items(machine: Machine, items: list[Any]) -> None:
    target = machine.top()
    machine.change(target)
    if isinstance(target, Table):
        target.pairs.extend(zip(items[::2], items[1::2], strict=False))


def _put_item(machine: Machine, _: Any) -> None:
    value, key = machine.pop(), machine.pop()
    _put_items(machine, [key, value])


def _dict(machine: Machine, _: Any) -> None:
    items = machine.pop_mark()
    machine.push(Table())
    _put_items(machine, items)


def _stack_global(machine: Machine, _: Any) -> None:
    name, module = machine.pop(), machine.pop()
    machine.load(module, name)


def _reduce(machine: Machine, _: Any) -> None:
    arguments, called = machine.pop(), machine.pop()
    machine.call(called, arguments)


def _inst(machine: Machine, names: tuple[Any, Any]) -> None:
    # Python's own unpickler imports before it looks for the mark.
    machine.load(*names)
    called = machine.pop()
    machine.call(called, tuple(machine.pop_mark()))


def _obj(machine: Machine, _: Any) -> None:
    items = machine.pop_mark()
    if not items:
        raise PickleError("has a pickle that takes from an empty stack")
    machine.call(items[0], tuple(items[1:]))


def _newobj(machine: Machine, _: Any) -> None:
    arguments, called = machine.pop(), machine.pop()
    machine.make(called, arguments if isinstance(arguments, tuple) else UNKNOWN)


def _newobj_ex(machine: Machine, _: Any) -> None:
    machine.pop()
    arguments, called = machine.pop(), machine.pop()
    machine.call(called, arguments)


def _build(machine: Machine, _: Any) -> None:
    machine.pop()
    machine.change(machine.top())


def _extension(machine: Machine, code: int) -> None:
    machine.uses.load(f"the copyreg extension {code}")
    machine.push(Name(f"the copyreg extension {code}"))


def _constant(value: Any) -> Callable[[Machine, Any], None]:
    return lambda machine, _: machine.push(value)


def _ignore(_: Any) -> None:
    """Change nothing."""


def _unknown(_: Any) -> Any:
    return UNKNOWN


def _nothing(machine: Machine, _: Any) -> None:
    """Change nothing."""


_STOP: Final = ord(".")
_Effect = Callable[[Machine, Any], None]
_BY_CODE: Final[Mapping[bytes, _Effect]] = {
    **{bytes([code]): Machine.push for code in b"IJKMLFGSTUVXBC\x8a\x8b\x8c\x8d\x8e\x96"},
    b"N": _constant(None),
    b"\x88": _constant(True),
    b"\x89": _constant(False),
    b")": _constant(()),
    b"\x8f": _constant(UNKNOWN),
    b"\x97": _constant(UNKNOWN),
    b"]": lambda machine, _: machine.push([]),
    b"}": lambda machine, _: machine.push(Table()),
    b"(": _mark,
    b"0": _drop,
    b"1": lambda machine, _: _ignore(machine.pop_mark()),
    b"2": lambda machine, _: machine.push(machine.top()),
    b"t": lambda machine, _: machine.push(tuple(machine.pop_mark())),
    b"\x85": lambda machine, _: _last(machine, 1),
    b"\x86": lambda machine, _: _last(machine, 2),
    b"\x87": lambda machine, _: _last(machine, 3),
    b"l": lambda machine, _: machine.push(machine.pop_mark()),
    b"\x91": lambda machine, _: machine.push(_unknown(machine.pop_mark())),
    b"a": lambda machine, _: _append(machine, [machine.pop()]),
    b"e": lambda machine, _: _append(machine, machine.pop_mark()),
    b"\x90": lambda machine, _: _append(machine, machine.pop_mark()),
    b"s": _put_item,
    b"u": lambda machine, _: _put_items(machine, machine.pop_mark()),
    b"d": _dict,
    b"c": lambda machine, names: machine.load(*names),
    b"\x93": _stack_global,
    b"R": _reduce,
    b"i": _inst,
    b"o": _obj,
    b"\x81": _newobj,
    b"\x92": _newobj_ex,
    b"b": _build,
    b"\x82": _extension,
    b"\x83": _extension,
    b"\x84": _extension,
    b"P": lambda machine, _: machine.find_outside(None),
    b"Q": lambda machine, _: machine.find_outside(machine.pop()),
    **{bytes([code]): Machine.remember for code in b"pqr"},
    **{bytes([code]): Machine.recall for code in b"ghj"},
    b"\x94": lambda machine, _: machine.remember(len(machine.memo)),
    b"\x80": _start,
    b"\x95": _nothing,
    b"\x98": _nothing,
}
_EFFECTS: Final = tuple(_BY_CODE.get(bytes([code])) for code in range(256))
_READERS: Final = tuple(ARGUMENTS.get(bytes([code])) for code in range(256))
