"""Damage to a pickle by its instructions, inside of what torch.save puts around it."""

from __future__ import annotations

import io
import pickletools
import zipfile
from collections.abc import Callable
from random import Random

from .errors import NotApplicableError
from .payloads import PAYLOADS

_MOST_PICKLES = 8
"""Pickles that are looked for in one file; the old layout of torch.save has five."""


def plant_a_payload(content: bytes, random: Random, donor: bytes) -> bytes:
    """Code that runs when the file is loaded; what the file holds stays the same."""
    payload = random.choice(list(PAYLOADS.values())) + b"0"

    def planted(program: bytes, places: list[int]) -> bytes:
        at = random.choice(places[1:])  # behind the protocol
        return program[:at] + payload + program[at:]

    return _changed(content, random, planted)


def swap_instructions(content: bytes, random: Random, donor: bytes) -> bytes:
    def swapped(program: bytes, places: list[int]) -> bytes:
        ends = [*places[1:], len(program)]
        i, j = sorted(random.choices(range(len(places)), k=2))
        a, b = program[places[i] : ends[i]], program[places[j] : ends[j]]
        if i == j:
            return program[: ends[i]] + a + program[ends[i] :]
        return program[: places[i]] + b + program[ends[i] : places[j]] + a + program[ends[j] :]

    return _changed(content, random, swapped)


def delete_an_instruction(content: bytes, random: Random, donor: bytes) -> bytes:
    def deleted(program: bytes, places: list[int]) -> bytes:
        ends = [*places[1:], len(program)]
        at = random.randrange(len(places))
        return program[: places[at]] + program[ends[at] :]

    return _changed(content, random, deleted)


def replace_an_opcode(content: bytes, random: Random, donor: bytes) -> bytes:
    def replaced(program: bytes, places: list[int]) -> bytes:
        at = random.choice(places)
        code = random.choice(pickletools.opcodes).code.encode("latin-1")
        return program[:at] + code + program[at + random.randint(0, 1) :]

    return _changed(content, random, replaced)


def make_a_storage_nonfinite(content: bytes, random: Random, donor: bytes) -> bytes:
    """Every float of one storage becomes NaN."""
    members = _members(content)
    names = [name for name in members if "/data/" in name and len(members[name]) >= 4]
    if not names:
        raise NotApplicableError
    name = random.choice(names)
    members[name] = b"\xff" * len(members[name])
    return _archive(members)


PICKLE_WISE = (
    plant_a_payload,
    swap_instructions,
    delete_an_instruction,
    replace_an_opcode,
)

_Change = Callable[[bytes, list[int]], bytes]


def _changed(content: bytes, random: Random, change: _Change) -> bytes:
    """The file with one of its pickles changed; `change` gets the places of its instructions."""
    if not content.startswith(b"PK\x03\x04"):
        return _one_changed(content, random, change)
    members = _members(content)
    names = [name for name in members if name.endswith("data.pkl")]
    if not names:
        raise NotApplicableError
    members[names[0]] = _one_changed(members[names[0]], random, change)
    return _archive(members)


def _one_changed(content: bytes, random: Random, change: _Change) -> bytes:
    programs = _programs(content)
    if not programs:
        raise NotApplicableError
    places, end = random.choice(programs)
    start = places[0]
    program = change(content[start:end], [place - start for place in places])
    return content[:start] + program + content[end:]


def _programs(content: bytes) -> list[tuple[list[int], int]]:
    """The places of the instructions of each pickle at the file's beginning, and where it ends."""
    stream = io.BytesIO(content)
    found = []
    while len(found) < _MOST_PICKLES:
        try:
            places = [at for _, _, at in pickletools.genops(stream) if at is not None]
        except Exception:  # it raises almost anything on foreign bytes
            break
        if len(places) < 2:
            break
        found.append((places, stream.tell()))
    return found


def _members(content: bytes) -> dict[str, bytes]:
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            return {name: archive.read(name) for name in archive.namelist()}
    except Exception:  # a damaged archive makes it raise almost anything
        raise NotApplicableError from None


def _archive(members: dict[str, bytes]) -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        for name, member in members.items():
            archive.writestr(zipfile.ZipInfo(name), member)
    return target.getvalue()
