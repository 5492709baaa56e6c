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
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

from trainguard.gather.data import SHARD, data_evidence
from trainguard.gather.overlap import Index, Overlap, Row

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
    def grams(text: str) -> list[tuple[str, ...]]:
        words = "".join(c if c.isalnum() else " " for c in text.lower()).split()
        return [tuple(words[at : at + WIDTH]) for at in range(len(words) - WIDTH + 1)]

    known = {gram for row in held_out for gram in grams(row.question)}
    return sum(any(gram in known for gram in grams(row.question)) for part in parts for row in part)


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


def streamed(count: int) -> None:
    """Write a data set to disk and check it, as `trainguard check` does; memory at its peak."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write(folder / "valid.jsonl", rows(HELD_OUT))
        write(folder / "train.jsonl", (row for part in shards(count) for row in part))
        size = (folder / "train.jsonl").stat().st_size
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        start, wall = time.process_time(), time.monotonic()
        evidence = data_evidence(folder, sorted(folder.iterdir()))
        seconds = time.process_time() - start
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert evidence is not None
    print(
        f"  {count:>10,} rows {size / 1e6:>7.0f} MB: {count / seconds:>9,.0f} rows/s, "
        f"{time.monotonic() - wall:.0f} s wall, peak {peak / 1024:.0f} MB "
        f"({(peak - before) / 1024:+.0f} MB)"
    )


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
    held_out, parts = list(rows(HELD_OUT)), list(shards(given.rows))
    print(f"rates over the same rows, {HELD_OUT} held out:")
    ours = rate("trainguard, all criteria", own, held_out, parts)
    bare = [[Row(row.question) for row in part] for part in parts]
    rate("trainguard, texts without answers", own, [Row(r.question) for r in held_out], bare)
    grams = rate("python set of 8-grams", eight_grams, held_out, parts)
    print(f"  trainguard / 8-grams: {ours / grams:.2f}")
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
