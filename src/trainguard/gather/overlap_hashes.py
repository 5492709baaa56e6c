"""Hashes of all windows of a sequence of word numbers, and a table to look them up in.

Everything is modulo 2 to the power of 64, as numpy computes. A hash only proposes: what it finds
is compared word for word by `same`.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

Ids = NDArray[np.int32]
Hashes = NDArray[np.uint64]
Places = NDArray[np.int64]
Flags = NDArray[np.bool_]

#: An odd number has an inverse; this one is the multiplier of Knuth's MMIX generator.
_BASE = 6364136223846793005
_INVERSE = pow(_BASE, -1, 2**64)
#: Entries of the quick filter per hash: one miss in so many gets past it.
_SPARSENESS = 16


def scatter(ids: Ids) -> Hashes:
    """Numbers that look random, one for each id: the finaliser of SplitMix64."""
    mixed = (ids.astype(np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))


class WindowHashes:
    """Polynomial hashes of any window of a sequence, from prefix sums."""

    def __init__(self, values: Hashes) -> None:
        """Take what each place of the sequence counts for, as `scatter` of its id."""
        powers = np.cumprod(np.full(len(values), _BASE, np.uint64))
        self._sums = prefix_sums(values * powers)
        self._inverses = np.cumprod(np.full(len(values) + 1, _INVERSE, np.uint64))

    def all_of(self, length: int) -> Hashes:
        """The hash of the window at every start; empty if the sequence is shorter."""
        starts = len(self._sums) - length
        if starts <= 0:
            return np.empty(0, np.uint64)
        return (self._sums[length:] - self._sums[:starts]) * self._inverses[:starts]

    def at(self, starts: Places, ends: Places) -> Hashes:
        """The hashes of the windows from `starts` up to `ends`, which may differ in length."""
        return (self._sums[ends] - self._sums[starts]) * self._inverses[starts]


class HashTable:
    """The places at which each of some hashes stands."""

    def __init__(self, hashes: Hashes) -> None:
        self._order = np.argsort(hashes, kind="stable")
        self._hashes, self._starts, self._counts = np.unique(
            hashes, return_index=False, return_inverse=False, return_counts=False
        ), *_groups(hashes[self._order])
        bits = max(8, (len(hashes) * _SPARSENESS).bit_length())
        self._shift = np.uint64(64 - bits)
        self._filter = np.zeros(1 << bits, np.bool_)
        self._filter[hashes >> self._shift] = True
