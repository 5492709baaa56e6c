"""Hostile pickles are named, never executed. The corpus is built here, by hand."""

from __future__ import annotations

import contextlib
import io
import os
import pickle
import pickletools
import resource
import struct
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from trainguard.engine import judge
from trainguard.facts.pickles import PickleFacts
from trainguard.gather.adapter import adapter_evidence
from trainguard.gather.adapter_files import UnreadableError
from trainguard.gather.pickles import UnplainError, read_tensors, scan_file
from trainguard.registry import select

FLAG = Path(tempfile.gettempdir()) / f"trainguard-executed-{os.getpid()}"
COMMAND = f"touch {FLAG}"


@pytest.fixture(autouse=True)
def nothing_runs() -> Iterator[None]:
    """Every payload would leave this file behind, and import a module that is absent here."""
    FLAG.unlink(missing_ok=True)
    assert "antigravity" not in sys.modules
    yield
    assert not FLAG.exists()
    assert "antigravity" not in sys.modules


def binary(text: str) -> bytes:
    return b"X" + struct.pack("<I", len(text.encode())) + text.encode()


def short(text: str) -> bytes:
    return b"\x8c" + bytes([len(text.encode())]) + text.encode()


ARGUMENT = binary(COMMAND) + b"\x85"
SYSTEM = b"cos\nsystem\n"

#: Each way to import or to call, and the name that it comes to.
PAYLOADS: dict[str, tuple[bytes, str]] = {
    "global-reduce": (SYSTEM + ARGUMENT + b"R.", "os.system"),
    "global-alone": (b"cantigravity\nfly\n.", "antigravity.fly"),
    "global-dropped": (SYSTEM + b"0N.", "os.system"),
    "global-in-a-dict": (b"}" + binary("key") + SYSTEM + b"s.", "os.system"),
    "global-behind-a-mark": (b"(" + SYSTEM + b"1N.", "os.system"),
    "inst": (b"(" + binary(COMMAND) + b"ios\nsystem\n.", "os.system"),
    "obj": (b"(" + SYSTEM + binary(COMMAND) + b"o.", "os.system"),
    "newobj": (b"\x80\x02csubprocess\nPopen\n" + ARGUMENT + b"\x81.", "subprocess.Popen"),
    "newobj-empty": (b"\x80\x02csubprocess\nPopen\n)\x81.", "subprocess.Popen"),
    "newobj-ex": (b"\x80\x04csubprocess\nPopen\n" + ARGUMENT + b"}\x92.", "subprocess.Popen"),
    "build": (b"ccollections\nOrderedDict\n)Rcbuiltins\neval\nb.", "builtins.eval"),
    "stack-global": (b"\x80\x04" + short("os") + short("system") + b"\x93" + ARGUMENT + b"R.",
                     "os.system"),
    "stack-global-memo": (
        b"\x80\x04" + short("system") + b"\x94" + short("os") + b"\x940" + b"0"
        + b"h\x01h\x00\x93" + ARGUMENT + b"R.", "os.system"),
    "stack-global-memo-put-twice": (
        b"\x80\x04" + short("torch") + b"q\x00" + b"0" + short("os") + b"q\x000"
        + b"h\x00" + short("system") + b"\x93.", "os.system"),
    "stack-global-memo-text": (
        b"Vos\np0\n0Vsystem\np1\n0g0\ng1\n\x93.", "os.system"),
    "stack-global-quoted": (b"S'\\x6fs'\nS'sys\\x74em'\n\x93.", "os.system"),
    "stack-global-escaped": (b"V\\u006fs\nVsystem\n\x93.", "os.system"),
    "stack-global-binstring": (b"U\x02osT\x06\0\0\0system\x93.", "os.system"),
    "stack-global-long": (
        b"\x80\x04\x8d" + struct.pack("<Q", 2) + b"os" + binary("system") + b"\x93.", "os.system"),
    "stack-global-dup": (b"\x80\x04" + short("os") + b"2\x93.", "os.os"),
    "stack-global-dotted": (
        b"\x80\x04" + short("torch") + short("hub.load") + b"\x93" + ARGUMENT + b"R.",
        "torch.hub.load"),
    "stack-global-dotted-through-allowed": (
        b"\x80\x04" + short("collections") + short("OrderedDict.__class__") + b"\x93.",
        "collections.OrderedDict.__class__"),
    "stack-global-computed": (
        b"\x80\x04" + short("os") + b"ccollections\nOrderedDict\n)R\x93.",
        "a name that is computed while loading"),
    "stack-global-from-bytes": (b"\x80\x04C\x02os" + short("system") + b"\x93.",
                                "a name that is computed while loading"),
    "frame-that-lies": (b"\x80\x04\x95" + struct.pack("<Q", 3) + SYSTEM + ARGUMENT + b"R.",
                        "os.system"),
    "long-name": (b"c" + b"a" * 5000 + b"\nb\n.", "a name that is computed while loading"),
    "hexadecimal-number": (b"I0x10\n0" + SYSTEM + ARGUMENT + b"R.", "os.system"),
    "padded-index": (
        b"Vos\np" + b"0" * 30 + b"1\n0VsystemX\n0g1\nVsystem\n\x93.", "os.system"),
    "long-text-first": (b"V" + b"a" * 9000 + b"\n0" + SYSTEM + ARGUMENT + b"R.", "os.system"),
    "large-memo-first": (b"Nr\0\0\x10\x000" + SYSTEM + ARGUMENT + b"R.", "os.system"),
    "ext1": (b"\x80\x02\x82\x07.", "the copyreg extension 7"),
    "ext2": (b"\x80\x02\x83\x07\x01.", "the copyreg extension 263"),
    "ext4": (b"\x80\x02\x84\x07\0\0\0.", "the copyreg extension 7"),
    "persid": (b"Pos.system\n.", "an object by a persistent id that torch does not write"),
    "binpersid": (binary("os.system") + b"Q.",
                  "an object by a persistent id that torch does not write"),
    "python-2-module": (b"ccommands\ngetoutput\n" + ARGUMENT + b"R.", "subprocess.getoutput"),
    "python-2-builtin": (b"\x80\x02c__builtin__\neval\n" + ARGUMENT + b"R.", "builtins.eval"),
    "python-2-copy-reg": (b"ccopy_reg\n_reconstructor\n.", "copyreg._reconstructor"),
    "import": (b"cimportlib\nimport_module\n(V" + b"antigravity\ntR.", "importlib.import_module"),
    "getattr": (b"c__builtin__\ngetattr\n(cos\nVsystem\n.", "builtins.getattr"),
    "getattr-of-an-allowed-name": (
        b"c__builtin__\ngetattr\n(ccollections\nOrderedDict\nV__init__\ntR.", "builtins.getattr"),
    "nested-pickle": (
        b"\x80\x04cpickle\nloads\nC\x05cos\n.\x85R.", "pickle.loads"),
    "nested-torch": (b"ctorch.storage\n_load_from_bytes\n" + ARGUMENT + b"R.",
                     "torch.storage._load_from_bytes"),
    "call-of-a-result": (
        b"ccollections\nOrderedDict\n)R" + ARGUMENT + b"R.",
        "an object that is computed while loading"),
    "handed-to-a-function": (
        b"ctorch._tensor\n_rebuild_from_type_v2\n(" + SYSTEM + b"ctorch\nTensor\n"
        + ARGUMENT + b"NtR.", "os.system"),
    "codec": (b"c_codecs\nencode\n(Vx\nVantigravity\ntR.", "_codecs.encode"),
    "changes-a-function": (
        b"ctorch._utils\n_rebuild_tensor_v2\n}" + binary("__code__") + b"Nsb.",
        "torch._utils._rebuild_tensor_v2"),
    "changes-a-class": (b"ccollections\nOrderedDict\nVkey\nNs.", "collections.OrderedDict"),
}  # fmt: skip


def archive(pickled: bytes, name: str = "archive/data.pkl", **options: Any) -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", **options) as file:
        file.writestr(name, pickled)
        file.writestr("archive/version", "3\n")
        file.writestr("archive/byteorder", "little")
    return target.getvalue()


def legacy(pickled: bytes) -> bytes:
    head = [0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}]
    return b"".join(pickle.dumps(one, 2) for one in head) + pickled + pickle.dumps([], 2)


def scanned(folder: Path, content: bytes, name: str = "optimizer.pt") -> PickleFacts:
    (folder / name).write_bytes(content)
    return scan_file(folder / name)


def refused(facts: PickleFacts) -> list[str]:
    return [reference.name for reference in facts.refused]


WRAPPERS = {
    "bare": lambda pickled: pickled,
    "zip": archive,
    "deflated": lambda pickled: archive(pickled, compression=zipfile.ZIP_DEFLATED),
    "legacy": legacy,
    "second": lambda pickled: pickle.dumps({"a": 1}) + pickled,
    "legacy-key-list": lambda pickled: legacy(pickle.dumps({}, 2))[:-4] + pickled,
    "odd-name": lambda pickled: archive(pickled, "archive/DATA.PKL"),
    "other-pickle": lambda pickled: archive(pickled, "archive/extra/more.pkl"),
}


@pytest.mark.parametrize("wrapper", WRAPPERS)
@pytest.mark.parametrize("payload", PAYLOADS)
def test_every_way_to_import_or_call_is_named(payload: str, wrapper: str, tmp_path: Path) -> None:
    pickled, name = PAYLOADS[payload]

    facts = scanned(tmp_path, WRAPPERS[wrapper](pickled))

    assert name in refused(facts), (facts.references, facts.problem)


@pytest.mark.parametrize(
    "name", ["adapter_model.bin", "rng_state_0.pth", "training_args.bin", "else.pkl", "a.CKPT"]
)
@pytest.mark.parametrize("payload", ["global-reduce", "newobj", "stack-global-memo", "getattr"])
def test_no_kind_of_file_may_hold_code(payload: str, name: str, tmp_path: Path) -> None:
    pickled, wanted = PAYLOADS[payload]

    assert wanted in refused(scanned(tmp_path, archive(pickled), name))


@pytest.mark.parametrize("protocol", range(6))
def test_what_pickle_itself_writes_is_named_in_every_protocol(
    protocol: int, tmp_path: Path
) -> None:
    class Payload:
        def __reduce__(self) -> Any:
            return os.system, (COMMAND,)

    content = pickle.dumps({"weights": [1, Payload()]}, protocol)

    for written in (content, pickletools.optimize(content)):
        assert refused(scanned(tmp_path, written)) == ["posix.system"]


@pytest.mark.parametrize("payload", ["global-reduce", "inst", "stack-global-memo"])
def test_a_payload_behind_a_broken_end_is_still_named(payload: str, tmp_path: Path) -> None:
    pickled, name = PAYLOADS[payload]

    for broken in (pickled[:-1], pickled[:-1] + b"\xff", pickled[:-1] + b"00000"):
        facts = scanned(tmp_path, archive(broken))
        assert name in refused(facts)
        assert facts.problem


def test_a_payload_in_a_member_that_nobody_asks_for_is_named(tmp_path: Path) -> None:
    pickled, name = PAYLOADS["global-reduce"]
    for member in ("archive/.data/x", "readme.txt", "archive/data/0"):
        target = io.BytesIO(archive(pickle.dumps({}, 2)))
        with zipfile.ZipFile(target, "a") as file:
            file.writestr(member, b"\x80\x02" + pickled)
        assert name in refused(scanned(tmp_path, target.getvalue()))


def test_a_wrong_checksum_hides_nothing(tmp_path: Path) -> None:
    content = bytearray(archive(PAYLOADS["global-reduce"][0]))
    content[14:18] = b"\0\0\0\0"
    directory = content.rfind(b"PK\x01\x02")
    content[directory + 16 : directory + 20] = b"\0\0\0\0"

    assert "os.system" in refused(scanned(tmp_path, bytes(content)))


def test_an_archive_behind_a_pickle_is_followed_and_refused(tmp_path: Path) -> None:
    inner = archive(PAYLOADS["global-reduce"][0])
    shifted = io.BytesIO()
    shifted.write(pickle.dumps({}, 2))
    with zipfile.ZipFile(shifted, "a") as file:
        file.writestr("archive/data.pkl", PAYLOADS["global-reduce"][0])
    for content in (shifted.getvalue(), pickle.dumps({}, 2) + inner):
        facts = scanned(tmp_path, content)
        assert "os.system" in refused(facts) or facts.problem


def nested() -> bytes:
    target = io.BytesIO(archive(pickle.dumps({}, 2)))
    with zipfile.ZipFile(target, "a") as file:
        file.writestr("inner.zip", archive(PAYLOADS["global-reduce"][0]))
    return target.getvalue()


def encrypted() -> bytes:
    content = bytearray(archive(pickle.dumps({}, 2)))
    content[6] |= 1
    content[content.find(b"PK\x01\x02") + 8] |= 1
    return bytes(content)


def renamed() -> bytes:
    content = archive(pickle.dumps({}, 2))
    return content.replace(b"archive/data.pkl", b"archive/data.txt", 1)


def folder_flag() -> bytes:
    content = bytearray(benign())
    content[content.find(b"PK\x01\x02") + 38] |= 0x10
    return bytes(content)


def twice() -> bytes:
    target = io.BytesIO(archive(pickle.dumps({}, 2)))
    with zipfile.ZipFile(target, "a") as file, pytest.warns(UserWarning, match="Duplicate"):
        file.writestr("archive/data.pkl", pickle.dumps({}, 2))
    return target.getvalue()


def tar() -> bytes:
    import tarfile

    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w") as file:
        entry = tarfile.TarInfo("pickle")
        entry.size = len(PAYLOADS["global-reduce"][0])
        file.addfile(entry, io.BytesIO(PAYLOADS["global-reduce"][0]))
    return target.getvalue()


def program() -> bytes:
    target = io.BytesIO()
    torch.jit.save(torch.jit.script(torch.nn.Linear(1, 1)), target)
    return target.getvalue()


REFUSED = {
    "is holding a zip": (nested, "holds another zip archive"),
    "is encrypted": (encrypted, "encrypted member"),
    "has two names for one member": (renamed, "calls one member"),
    "has one name for two members": (twice, "two members called"),
    "has a file that is a folder": (folder_flag, "calls its member"),
    "is a tar": (tar, "is a tar archive"),
    "is a program": (program, "is a TorchScript archive"),
    "has no pickle": (lambda: archive(b"N.", "x/y"), "with 0 data.pkl"),
    "is bare": (lambda: pickle.dumps({}), "is a bare pickle"),
    "is newer": (lambda: b"\x80\x06N.", "protocol 6"),
    "is empty": (lambda: b"", "is empty"),
    "is a pointer": (lambda: b"version https://git-lfs.github.com", "Git LFS pointer"),
    "is something else": (lambda: b"\xfe\xed\xfa\xce" * 9, "unknown opcode"),
    "has a large memo": (lambda: archive(b"Nr\xff\xff\xff\x7f."), "a memo of 2147483647 entries"),
    "has a long line": (lambda: archive(b"V" + b"a" * (17 << 20)), "line of more than"),
    "has two directories": (
        lambda: benign().replace(b"PK\x06\x06", b"PK\x06\x09"),
        "two different directories",
    ),
    "has endless opcodes": (
        lambda: archive(b"N" * 2_000_001, compression=zipfile.ZIP_DEFLATED),
        "more than 2000000",
    ),
    "has large strings": (lambda: archive(b"\x8d" + b"\xff" * 8 + b"x."), "is cut short"),
    "has a negative string": (lambda: archive(b"T\xff\xff\xff\xff."), "string of -1 bytes"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_followed_is_refused(case: str, tmp_path: Path) -> None:
    build, words = REFUSED[case]

    problem = scanned(tmp_path, build()).problem

    assert problem
    assert words in problem.what


def test_a_bomb_is_not_unpacked(tmp_path: Path) -> None:
    bomb = b"\x80\x02" + b"0" * (65 << 20)

    facts = scanned(tmp_path, archive(bomb, compression=zipfile.ZIP_DEFLATED))

    assert facts.problem
    assert "compressed and large" in facts.problem.what


def test_deep_nesting_and_shared_values_cost_nothing(tmp_path: Path) -> None:
    deep = b")" + b"\x85" * 500_000 + b"."
    doubled = b")" + b"2\x86" * 300 + b"."
    views = b"(" + b"ctorch._utils\n_rebuild_tensor_v2\n(" * 10_000 + b"N."
    key = b"(Vstorage\nctorch\nFloatStorage\n" + b")" + b"\x85" * 300_000 + b"NK\x01tQ."

    for content in (deep, doubled, views, key):
        facts = scanned(tmp_path, archive(content))
        assert not refused(facts)


def test_a_declared_memory_of_gigabytes_is_never_taken(tmp_path: Path) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for content in (
        b"\x8e" + struct.pack("<Q", 1 << 40) + b".",
        b"\x96" + struct.pack("<Q", 1 << 62) + b".",
        b"\x8b" + struct.pack("<i", (1 << 31) - 1) + b".",
        b"Nj\xff\xff\xff\xff.",
        b"N" + b"r\xff\xff\xff\x7f" * 1000 + b".",
    ):
        assert scanned(tmp_path, archive(content)).problem
        assert scanned(tmp_path, content).problem
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 << 10


def benign() -> bytes:
    target = io.BytesIO()
    torch.save({"a": torch.ones(2, 3), "b": torch.zeros(4, dtype=torch.bfloat16)}, target)
    return target.getvalue()


def old() -> bytes:
    target = io.BytesIO()
    torch.save({"a": torch.ones(2, 3)}, target, _use_new_zipfile_serialization=False)
    return target.getvalue()


SEEDS = [benign(), old(), archive(PAYLOADS["stack-global-memo"][0]), PAYLOADS["inst"][0]]
SEEDS += [pickled for pickled, _ in PAYLOADS.values()]


def test_a_file_cut_anywhere_is_refused(tmp_path: Path) -> None:
    for whole in (benign(), old()):
        for end in range(0, len(whole), 7):
            path = tmp_path / "adapter_model.bin"
            path.write_bytes(whole[:end])
            assert scan_file(path).problem
            with pytest.raises(UnreadableError):
                read_tensors(path)


@settings(max_examples=400, deadline=None)
@given(st.sampled_from(SEEDS), st.data())
def test_mutated_files_never_raise_and_never_run(seed: bytes, data: st.DataObject) -> None:
    content = bytearray(seed)
    for _ in range(data.draw(st.integers(0, 6))):
        at = data.draw(st.integers(0, len(content) - 1))
        content[at : at + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=4))
        content = content or bytearray(b"N")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "adapter_model.bin")
        path.write_bytes(content)
        facts = scan_file(path)
        assert facts.layout in ("", "zip", "legacy", "pickle")
        with contextlib.suppress(UnreadableError, UnplainError):
            read_tensors(path)
        judge([adapter_evidence(folder)], select(["TG1"]))
    assert not FLAG.exists()


@settings(max_examples=400, deadline=None)
@given(st.binary(max_size=200), st.sampled_from([b"", b"\x80\x02", b"PK\x03\x04", b"("]))
def test_random_bytes_never_raise(content: bytes, start: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        for name in ("a.pkl", "optimizer.pt"):
            path = Path(folder, name)
            path.write_bytes(start + content)
            scan_file(path)
