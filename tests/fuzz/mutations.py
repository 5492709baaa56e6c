"""Ways to damage one file of an input: its bytes, its meaning, or what stands under its name.

Files of an input may be hard links to the valid ones: a file is replaced, never written in place.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

from .byte_wise import BYTE_WISE
from .errors import NotApplicableError
from .json_wise import JSON_WISE, damage_a_line
from .pickle_wise import PICKLE_WISE, make_a_storage_nonfinite, plant_a_payload
from .tensor_wise import HEADER_WISE, VALUE_WISE, plant_nonfinite, zero_the_updates

_OnContent = Callable[[bytes, Random, bytes], bytes]
_OnFile = Callable[[Path, Random], None]

_LARGEST = 2**21
"""Bytes of a file that is read to be changed; the run's own memory must not count."""
_PICKLES = (".bin", ".pt", ".pth")
#: What is known of a file's content by the end of its name.
_MEANINGS: Mapping[tuple[str, ...], Sequence[_OnContent]] = {
    (".json",): JSON_WISE,
    (".jsonl",): (damage_a_line,),
    (".safetensors",): (*HEADER_WISE, *VALUE_WISE),
    _PICKLES: PICKLE_WISE,
    ("adapter_model.bin",): (*PICKLE_WISE, make_a_storage_nonfinite),
}
#: Codes of which the report must have one where nothing else was changed.
_EXPECTED: Mapping[_OnContent, frozenset[str]] = {
    plant_nonfinite: frozenset({"TG106", "TG144"}),
    make_a_storage_nonfinite: frozenset({"TG106"}),
    zero_the_updates: frozenset({"TG105", "TG118"}),
    plant_a_payload: frozenset({"TG120"}),
}


@dataclass(frozen=True, slots=True)
class Change:
    """One thing that was done to an input."""

    what: str
    where: str
    """The file, from the input's folder on."""
    expected: frozenset[str] = frozenset()
    """Codes of which the report must have one, if nothing else was changed."""


def damage(folder: Path, random: Random, donor: bytes) -> Change:
    """Damage one file of an input.

    Args:
        folder: of the input.
        random: decides which file and how.
        donor: bytes of another file, to splice in.
    """
    path = random.choice(files_of(folder))
    where = os.fsencode(path.relative_to(folder)).decode("ascii", "backslashreplace")
    while True:
        if path.is_symlink() or not path.is_file() or random.random() < 0.1:
            change = random.choice(_FILE_WISE)
            change(path, random)
            return Change(change.__name__, where)
        try:
            return _change_content(path, where, random, donor)
        except NotApplicableError:
            continue


def files_of(folder: Path) -> list[Path]:
    """What may be damaged: everything but folders and prose."""
    found = [path for path in sorted(folder.rglob("*")) if path.suffix != ".md"]
    return [path for path in found if path.is_symlink() or not path.is_dir()]


def _change_content(path: Path, where: str, random: Random, donor: bytes) -> Change:
    if not 0 < path.stat().st_size <= _LARGEST:
        raise NotApplicableError
    content = path.read_bytes()
    known = [changes for ends, changes in _MEANINGS.items() if path.name.endswith(ends)]
    change = random.choice(known[-1] if known and random.random() < 0.75 else BYTE_WISE)
    replacement = change(content, random, donor)
    path.unlink()
    path.write_bytes(replacement)
    return Change(change.__name__, where, _EXPECTED.get(change, frozenset()))


def remove(path: Path, random: Random) -> None:
    path.unlink()


def make_empty(path: Path, random: Random) -> None:
    path.unlink()
    path.touch()


def make_a_folder(path: Path, random: Random) -> None:
    path.unlink()
    path.mkdir()


def make_a_loop_of_links(path: Path, random: Random) -> None:
    path.unlink()
    path.symlink_to(path.name)


def make_a_fifo(path: Path, random: Random) -> None:
    path.unlink()
    os.mkfifo(path)


def make_a_device(path: Path, random: Random) -> None:
    path.unlink()
    path.symlink_to(random.choice(("/dev/zero", "/dev/random", "/dev/stdin")))


def link_to_nothing(path: Path, random: Random) -> None:
    path.unlink()
    path.symlink_to(random.choice(("nowhere", "x" * 255, "../" * 50 + "nowhere")))


def exchange(path: Path, random: Random) -> None:
    """The file takes the name of another one of its folder, and the other way round."""
    other = random.choice(sorted(path.parent.iterdir()))
    aside = path.with_name("aside")
    for source, target in ((path, aside), (other, path), (aside, other)):
        if os.path.lexists(source):
            source.rename(target)


def copy_under_another_name(path: Path, random: Random) -> None:
    """Another name of the same kind, or one that is not text."""
    other = path.with_name(os.fsdecode(random.choice(_OTHER_NAMES)))
    if path.is_file() and not other.is_dir():
        content = path.read_bytes()
        other.unlink(missing_ok=True)
        other.write_bytes(content)


def move_into_odd_folder(path: Path, random: Random) -> None:
    """The folder around it gets a name that is not text, or one that a terminal obeys."""
    odd = path.parent / os.fsdecode(random.choice((b"\xff\xfe", b"a\x1b[2Jb", b"line\nfeed")))
    odd.mkdir(exist_ok=True)
    path.rename(odd / path.name)


def grow(path: Path, random: Random) -> None:
    """A long hole at its end, which takes no space on disk."""
    if path.is_file():
        content = path.read_bytes()
        path.unlink()
        path.write_bytes(content)
        os.truncate(path, random.choice((2**20, 2**24, 2**26)))


_OTHER_NAMES = (
    *(b"adapter_model.bin", b"adapter_model.safetensors", b"adapter_config.json"),
    *(b"model.safetensors", b"model.safetensors.index.json", b"trainer_state.json"),
    *(b"x.pkl", b"\xff\xfe.pt", b"\x1b[2J.bin", b"new\nline.pth"),
)
_FILE_WISE: Sequence[_OnFile] = (
    remove,
    make_empty,
    make_a_folder,
    make_a_loop_of_links,
    make_a_fifo,
    make_a_device,
    link_to_nothing,
    exchange,
    copy_under_another_name,
    move_into_odd_folder,
    grow,
)
