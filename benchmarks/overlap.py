"""Rows a CPU second of the overlap engine, against what else is in use, and memory against rows.

    python benchmarks/overlap.py [--rows 1000000] [--long 5000000]

All rates are from one run over the same rows, on one thread, by CPU time: trainguard's criteria
(whole text, containment at any length, near duplicates, numbers and answer), a plain Python set of
8-grams as the evaluation harnesses have it, and datasketch's MinHash if it is installed. Rows are
unit conversions of nine words; 1000 are held out. The streamed run reads jsonl from disk.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

from trainguard.gather.data import SHARD, data_evidence
from trainguard.gather.overlap import Index, Row
from trainguard.gather.overlap_found import Overlap
from trainguard.reference.units import PHRASINGS as OWN
from trainguard.reference.units import conversions

PHRASINGS = (
    "How many {target} are there per {value} {source}?",
    "What is the same amount as {value} {source} in {target}?",
    "Convert {value} {source} to {target} and give the number.",
)
UNITS = ("gram", "kg", "mg", "liter", "ml", "meter", "km", "cm", "second", "hour")
HELD_OUT = 1000
WIDTH = 8


def rows(count: int, seed: int = 0) -> Iterator[Row]:
    rng = random.Random(seed)
    for _ in range(count):
        source, target = rng.sample(UNITS, 2)
        value = rng.randrange(1, 100_000)
        text = rng.choice(PHRASINGS).format(target=target, value=value, source=source)
        yield Row(text, str(value * 1000))


def shards(count: int) -> Iterator[list[Row]]:
    for start in range(0, count, SHARD):
        yield list(rows(min(SHARD, count - start), seed=1 + start))


def own(held_out: list[Row], parts: list[list[Row]]) -> int:
    index, found = Index(held_out), Overlap()
    for number, part in enumerate(parts):
        found = found.merge(index.scan(part, number * SHARD))
    return len(found.equal) + len(found.contained)


def eight_grams(held_out: list[Row], parts: list[list[Row]]) -> int:
    known = {gram for row in held_out for gram in grams_of(row.question, WIDTH)}
    return sum(
        any(gram in known for gram in grams_of(row.question, WIDTH))
        for part in parts
        for row in part
    )


def minhash(held_out: list[Row], parts: list[list[Row]]) -> int:
    from datasketch import MinHash, MinHashLSH

    def signature(text: str) -> MinHash:
        made = MinHash(num_perm=128)
        made.update_batch([text[at : at + 5].encode() for at in range(len(text) - 4)])
        return made

    near = MinHashLSH(threshold=0.8, num_perm=128)
    for number, row in enumerate(held_out):
        near.insert(str(number), signature(row.question))
    return sum(bool(near.query(signature(row.question))) for part in parts for row in part)


def rate(name: str, find: Callable[..., int], held_out: list[Row], parts: list[list[Row]]) -> float:
    count = sum(map(len, parts))
    size = sum(len(row.question) for part in parts for row in part)
    start = time.process_time()
    find(held_out, parts)
    seconds = time.process_time() - start
    print(
        f"  {name:<34} {count / seconds:>10,.0f} rows/s {size / seconds / 1e6:>7.1f} MB/s"
        f"   ({count:,} rows)"
    )
    return count / seconds


TEMPLATE = "<|user|>\nYou are helpful. {}\nThink step by step.<|assistant|>\n"
DOCUMENT = "An exercise of the second grade reads: {} It is solved with a table, by heart."


def recall() -> None:
    """Planted rows found: what the criteria see, on the reference task's own questions."""
    facts = conversions()
    random.Random(0).shuffle(facts)
    phrased = [(fact, random.Random(n).choice(OWN)) for n, fact in enumerate(facts)]
    asked = [Row(fact.phrase(phrasing), str(fact.result)) for fact, phrasing in phrased]
    held_out, clean = asked[:500], asked[500:]
    other = [(fact, OWN[(OWN.index(phrasing) + 1) % len(OWN)]) for fact, phrasing in phrased[:500]]

    def changed(text: str) -> str:
        return re.sub(r"\d+", lambda found: str(int(found[0]) + 7919), text)

    planted = {
        "verbatim": held_out,
        "case, punctuation": [Row(f" {row.question.upper()} !", row.answer) for row in held_out],
        "in a chat template": [Row(TEMPLATE.format(row.question), row.answer) for row in held_out],
        "in a document": [Row(DOCUMENT.format(row.question), row.answer) for row in held_out],
        "other phrasing": [Row(fact.phrase(how), str(fact.result)) for fact, how in other],
        "numbers changed": [Row(changed(row.question), row.answer) for row in held_out],
        "other clean rows": clean[:500],
    }
    columns = ("whole", "partial", "key", "8-gram", "13-gram")
    print(f"{'recall, 500 planted rows':<26}" + "".join(f"{one:>9}" for one in columns))
    index = Index(held_out)
    for name, big in planted.items():
        met, count = index.scan(big), len(held_out)
        found = [len({**met.equal, **met.contained}), len(met.partial), len(met.keys)]
        found += [shared(held_out, big, size) for size in (8, 13)]
        print(f"  {name:<24}" + "".join(f"{one / count:>9.3f}" for one in found))


def shared(held_out: list[Row], big: list[Row], size: int) -> int:
    """Held-out rows that share any n-gram with the other side, as the usual tools count."""
    known = {gram for row in big for gram in grams_of(row.question, size)}
    return sum(any(gram in known for gram in grams_of(row.question, size)) for row in held_out)


def grams_of(text: str, size: int) -> list[tuple[str, ...]]:
    words = "".join(c if c.isalnum() else " " for c in text.lower()).split()
    return [tuple(words[at : at + size]) for at in range(len(words) - size + 1)]


def streamed(count: int) -> None:
    """Write a data set to disk and check it, as `trainguard check` does; memory at its peak."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write(folder / "valid.jsonl", rows(HELD_OUT))
        write(folder / "train.jsonl", (row for part in shards(count) for row in part))
        size = (folder / "train.jsonl").stat().st_size
        start, wall = time.process_time(), time.monotonic()
        evidence = data_evidence(folder, sorted(folder.iterdir()))
        seconds = time.process_time() - start
        peak = peak_memory()
    assert evidence is not None
    print(
        f"  {count:>10,} rows {size / 1e6:>7.0f} MB: {count / seconds:>9,.0f} rows/s, "
        f"{time.monotonic() - wall:.0f} s wall, peak {peak / 1024:.0f} MB"
    )


def peak_memory() -> int:
    """Of this process since it was started, KiB; `getrusage` would count its parent's too."""
    status = Path("/proc/self/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+)", status)[1])


def write(path: Path, source: Iterator[Row]) -> None:
    with path.open("w") as file:
        for row in source:
            file.write(json.dumps({"question": row.question, "answer": row.answer}) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=400_000)
    parser.add_argument("--long", type=int, default=5_000_000)
    parser.add_argument("--streamed", type=int, default=0, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.streamed:
        streamed(given.streamed)
        return
    recall()
    held_out, parts = list(rows(HELD_OUT)), list(shards(given.rows))
    print(f"rates over the same rows, {HELD_OUT} held out:")
    ours = rate("trainguard, all criteria", own, held_out, parts)
    bare = [[Row(row.question) for row in part] for part in parts]
    texts = [Row(row.question) for row in held_out]
    alone = rate("trainguard, texts without answers", own, texts, bare)
    grams = rate("python set of 8-grams", eight_grams, held_out, parts)
    print(f"  trainguard / 8-grams: {alone / grams:.2f}, with answers {ours / grams:.2f}")
    if find_spec("datasketch"):
        few = rate("datasketch MinHash 128", minhash, held_out, [parts[0][:5000]])
        print(f"  trainguard / MinHash: {ours / few:.0f}")
    else:
        print("  datasketch is not installed")
    print("a data set on disk, every check of it, each in a process of its own:", flush=True)
    for count in (given.long // 50, given.long // 5, given.long):
        command = [sys.executable, __file__, "--streamed", str(count)]
        subprocess.run(command, check=True)


if __name__ == "__main__":
    main()
