"""Overlap with an evaluation over more rows than one machine reads: a step for datatrove.

datatrove runs one pipeline on local processes, Slurm, Ray and Hugging Face Jobs, has readers for
the formats and stores that such corpora lie in, and starts again where it was stopped; its step
for n-grams is blind to short questions. The step below only calls `Index.scan`, the same pure
function as `trainguard check`, on the documents of its rank, and writes one file a rank;
`merged` adds the files up. A step may be any callable, so that nothing of datatrove is imported:

    step = OverlapStep(rows, "overlap/")
    LocalPipelineExecutor([JsonlReader("corpus/"), step], tasks=64).run()
    found = merged("overlap/")
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from trainguard.gather.overlap import Asked, Index, Row
from trainguard.gather.overlap_found import Overlap

SHARD = 20_000
#: The number of a large row is its rank and its number within the rank.
RANK = 1 << 40


class OverlapStep:
    """A step of a datatrove pipeline: passes documents on and notes what they have in common.

    Args:
        held_out: the evaluation's rows.
        folder: where each rank writes its file; shared by all ranks.
        answer: name of the answer in a document's metadata.
    """

    def __init__(
        self, held_out: Sequence[Asked], folder: str | Path, answer: str = "answer"
    ) -> None:
        self._index = Index(held_out)
        self._folder = Path(folder)
        self._answer = answer

    def __call__(
        self, documents: Iterable[Any], rank: int = 0, world_size: int = 1
    ) -> Iterator[Any]:
        """Scan the documents of one rank, and write what was found once they are through."""
        found, shard, first = Overlap(), [], rank * RANK
        for document in documents:
            answer = document.metadata.get(self._answer)
            shard.append(Row(document.text, None if answer is None else str(answer)))
            if len(shard) == SHARD:
                found = found.merge(self._index.scan(shard, first))
                first, shard = first + SHARD, []
            yield document
        found = found.merge(self._index.scan(shard, first))
        self._folder.mkdir(parents=True, exist_ok=True)
        # A killed rank leaves no half of a file under the name that is read.
        unfinished = self._folder / f"{rank:05}.part"
        unfinished.write_text(found.to_json())
        unfinished.replace(self._folder / f"{rank:05}.json")


def merged(folder: str | Path) -> Overlap:
    """What all ranks found together; raises FileNotFoundError if none has finished."""
    files = sorted(Path(folder).glob("*.json"))
    if not files:
        raise FileNotFoundError(f"{folder} holds no finished rank")
    found = Overlap()
    for file in files:
        found = found.merge(Overlap.from_json(file.read_text()))
    return found


def rank_and_row(number: int) -> tuple[int, int]:
    """Which rank read a large row, and as which of its documents, from 0."""
    return divmod(number, RANK)
