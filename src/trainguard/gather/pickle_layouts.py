"""The files that hold pickles: torch's zip archive, its format before 1.6, and bare pickles."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, BinaryIO, Final

from trainguard.gather.pickle_names import SIZES, STORAGES, result
from trainguard.gather.pickle_opcodes import follow
from trainguard.gather.pickle_stream import UNKNOWN, Budget, PickleError, Stream
from trainguard.gather.pickle_values import Storage, Table, Uses
from trainguard.gather.pickle_zip import START, Member, open_member, read_directory

_MAGIC: Final = 0x1950A86A20F9469CFC6C
_PROTOCOLS: Final = tuple(bytes([0x80, number]) for number in range(6))
_PROBE: Final = 20_000
"""Opcodes that are followed where a pickle is only possible."""
_MOST_PICKLES: Final = 10_000


@dataclass(slots=True)
class Scan:
    """What a file turned out to hold, up to the place where it breaks."""

    uses: Uses = field(default_factory=Uses)
    budget: Budget = field(default_factory=Budget)
    layout: str = ""
    value: Any = UNKNOWN
    """Of the pickle that torch.load returns."""
    places: dict[Any, tuple[int, int]] = field(default_factory=dict)
    """Start and end of each storage that stands in the file as it is."""
    little_endian: bool = True

    def follow(self, stream: Stream) -> Any:
        """Follow one pickle on this scan's account."""
        return follow(stream, self.uses, result)


def scan(file: BinaryIO, size: int, found: Scan) -> None:
    """Follow every pickle of a file.

    Args:
        file: open for reading.
        size: of it, in bytes.
        found: gets what there is, also where an error ends the scan.

    Raises:
        PickleError: the file is broken, of another format, or larger than is looked at.
        OSError: reading failed.
    """
    file.seek(0)
    head = file.read(512)
    if head.startswith(START):
        _scan_archive(file, size, found)
        return
    if _is_tar(head):
        raise PickleError("is a tar archive, which torch.load reads without any protection")
    try:
        _scan_stream(file, size, found, head)
    finally:
        _refuse_archive_behind(file, size, found)


def _is_tar(head: bytes) -> bool:
    """By the checksum, which is all that tarfile asks for."""
    digits = head[148:156].strip(b"\0 ")
    if len(head) < 512 or not digits.isdigit():
        return False
    return digits.lstrip(b"0") == b"%o" % (sum(head[:148]) + 8 * ord(" ") + sum(head[156:]))


def _refuse_archive_behind(file: BinaryIO, size: int, found: Scan) -> None:
    """Some loaders look for an archive at the end of a file, whatever it begins with."""
    tail_start = max(0, size - 22)
    file.seek(tail_start)
    if file.read(4) != b"PK\x05\x06":
        return
    _scan_archive(file, size, found)
    raise PickleError("is a zip archive behind other bytes")


def _scan_stream(file: BinaryIO, size: int, found: Scan, head: bytes) -> None:
    stream = Stream(file, 0, size, found.budget)
    if head.startswith(_PROTOCOLS):
        found.layout = "pickle"
    first = found.follow(stream)
    found.layout = "pickle"
    if isinstance(first, int) and first == _MAGIC:
        found.layout = "legacy"
        _scan_legacy(stream, found)
        _place_legacy(stream, found)
        return
    found.value = first
    _follow_rest(stream, found)


def _follow_rest(stream: Stream, found: Scan) -> None:
    """More pickles may follow, for a reader that takes one after the other."""
    for _ in range(_MOST_PICKLES):
        if not stream.left:
            return
        found.follow(stream)
    raise PickleError(f"has more than {_MOST_PICKLES} pickles")


def _scan_legacy(stream: Stream, found: Scan) -> None:
    found.follow(stream)  # the format's version
    system = found.follow(stream)
    pairs = system.pairs if isinstance(system, Table) else ()
    found.little_endian = not any(
        isinstance(key, str) and key == "little_endian" and value is False for key, value in pairs
    )
    found.value = found.follow(stream)


def _place_legacy(stream: Stream, found: Scan) -> None:
    """Each storage follows as its count and its elements, in the order of a list of keys."""
    keys = found.follow(stream)
    storages = {s.key: s for s in found.uses.storages if isinstance(s.key, str)}
    for key in keys if isinstance(keys, list) else ():
        storage = storages.get(key) if isinstance(key, str) else None
        item = item_size(storage) if storage else None
        if storage is None or item is None:
            return
        count = stream.number(8)
        if count != storage.count:
            raise PickleError(
                f"stores {count} elements for storage {key!a}, its pickle states {storage.count}"
            )
        found.places[key] = (stream.position, stream.position + count * item)
        stream.skip(count * item)


def item_size(storage: Storage) -> int | None:
    """Bytes of an element; None for a type that trainguard does not know."""
    return SIZES.get(STORAGES.get(storage.type, ""))


def _scan_archive(file: BinaryIO, size: int, found: Scan) -> None:
    found.layout = "zip"
    members = read_directory(file, size)
    faults: list[PickleError] = []
    for member in members:
        # What is wrong with one member must not hide what another would do.
        try:
            _scan_member(file, member, found)
        except PickleError as error:
            faults.append(error)
    if faults:
        raise faults[0]
    _place_members(file, members, found)


def _scan_member(file: BinaryIO, member: Member, found: Scan) -> None:
    name = member.name.lower()
    if not member.stored:
        found.budget.spend_unpacked(member.size)
    if name.endswith(".pkl"):
        source, start, end = open_member(file, member)
        stream = Stream(source, start, end, found.budget)
        value = found.follow(stream)
        if name.rpartition("/")[2] == "data.pkl":
            found.value = value
        _follow_rest(stream, found)
    elif "/data/" not in name or member.stored:
        _probe(file, member, found)


def _probe(file: BinaryIO, member: Member, found: Scan) -> None:
    """Look into a member that no loader would unpickle, but that some program may."""
    source, start, end = open_member(file, member)
    source.seek(start)
    head = source.read(min(4, end - start))
    is_raw = "/data/" in member.name.lower()
    if head == START and not is_raw:
        raise PickleError(f"holds another zip archive, {member.name!a}")
    if is_raw and not head.startswith(_PROTOCOLS):
        return
    uses = Uses()
    try:
        follow(Stream(source, start, end, Budget(_PROBE)), uses, result)
    except PickleError:
        # Random bytes may spell a name, but hardly a call.
        if not any(use.calls for use in uses.values()):
            return
    for path, use in uses.items():
        found.uses.setdefault(path, use)


def _place_members(file: BinaryIO, members: list[Member], found: Scan) -> None:
    tables = [m for m in members if m.name.lower().rpartition("/")[2] == "data.pkl"]
    if len(tables) != 1:
        raise PickleError(f"is a zip archive with {len(tables)} data.pkl; torch.save writes one")
    root = tables[0].name[: -len("data.pkl")]
    by_name = {member.name: member for member in members}
    if any(name.startswith(f"{root}code/") for name in by_name):
        raise PickleError("is a TorchScript archive, which holds a program, not tensors alone")
    if f"{root}byteorder" in by_name:
        source, start, end = open_member(file, by_name[f"{root}byteorder"])
        source.seek(start)
        found.little_endian = source.read(min(8, end - start)) == b"little"
    for storage in found.uses.storages:
        _place(storage, by_name.get(f"{root}data/{_text(storage.key)}"), found)


def _text(key: Any) -> str:
    return key if isinstance(key, str) else ""


def _place(storage: Storage, member: Member | None, found: Scan) -> None:
    """The place of one storage; its pickle and the archive must agree about its size."""
    if member is None:
        raise PickleError(f"has no member for storage {_text(storage.key)!a}")
    item = item_size(storage)
    stated = storage.count if type(storage.count) is int else -1
    if item is not None and stated * item != member.size:
        raise PickleError(
            f"stores {member.size} bytes for storage {_text(storage.key)!a}; "
            f"its pickle states {stated} elements of {item} bytes"
        )
    if member.stored:
        found.places[storage.key] = (member.start, member.end)
