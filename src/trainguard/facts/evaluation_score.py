"""The score of an evaluation under audit, and the numbers that it can be compared with."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

#: Two-sided 95 %.
_Z = 1.959963984540054


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreFacts:
    """The answers of the evaluation itself, compared with the references."""

    WANTED: ClassVar[str] = "answers that were recorded under audit_evaluation"

    rows: int
    """Distinct questions with a reference that were asked."""
    right: float
    """How many were answered right; not whole where the metric is the user's own."""
    answered: int
    """How many got an answer at all; NaN, None and an empty text are none."""
    constant: float = 0
    """Right answers of the best answer that is the same for every question."""
    copied: int = 0
    """Right answers of the better of copying the first and the last number of each question."""
    looked_up: int | None = None
    """Right answers of a look-up, by numbers, in the training rows; None without training rows."""
    seen: int | None = None
    """Rows whose question, or whose numbers and answer, stand in the training rows."""
    seen_right: int = 0

    @property
    def accuracy(self) -> float:
        """Share of right answers, from 0 to 1."""
        return self.right / self.rows

    @property
    def baseline(self) -> tuple[float, str]:
        """Right answers of the best procedure that needs no model, and its name."""
        known = [(self.constant, "the best constant answer")]
        known.append((self.copied, "copying a number of the question"))
        known.append((self.looked_up or 0, "a look-up by numbers in the training rows"))
        return max(known, key=lambda entry: entry[0])


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimFacts:
    """The score as the user's own benchmark reports it."""

    WANTED: ClassVar[str] = "the reported score (audit.claim(...))"

    accuracy: float
    count: int | None = None
    """Questions that the score is about."""
    answer_rate: float | None = None
    exact_match: bool = False
    """Whether a row is right only if the greedy answer is the reference, token by token."""
    mean_nll: float | None = None
    """Mean over rows of the summed negative log-likelihood of the reference, nats."""
    token_accuracy: float | None = None
    """Share of reference tokens that the model rates highest, given those before them."""
    tokens: int | None = None
    """Tokens of all references together."""
    longest: int | None = None
    """Tokens of the longest reference."""
    recorded: float | None = None
    """Share of right answers by the comparison that the user gave, over the answers that the
    audit recorded; None if the comparison is trainguard's own or questions differ."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BoundFacts:
    """The model's own view of the references, after the prompt and in the form of the task."""

    WANTED: ClassVar[str] = "how a question and its answer are written (prompt=, completion=)"

    rows: int
    """Rows whose reference was read after its prompt."""
    greedy: int
    """Rows whose reference is the model's greedy continuation, token by token."""
    greedy_right: int
    """How many of these the pipeline answered right."""
    decoding: str | None = None
    """How the pipeline decodes: "greedy", "sampling", or None if it could not be seen."""


def wilson(right: float, rows: int) -> tuple[float, float]:
    """The 95 % interval of a share by Wilson's score method; it stays within 0 and 1."""
    share, z = right / rows, _Z
    centre = share + z * z / (2 * rows)
    spread = z * math.sqrt(share * (1 - share) / rows + z * z / (4 * rows * rows))
    scale = 1 + z * z / rows
    return max(0.0, (centre - spread) / scale), min(1.0, (centre + spread) / scale)


def fisher(first_right: int, first: int, second_right: int, second: int) -> float:
    """One-sided p of Fisher's exact test: the first share is higher only by chance."""
    right, rows = first_right + second_right, first + second
    ways = sum(
        math.comb(first, k) * math.comb(second, right - k)
        for k in range(first_right, min(first, right) + 1)
        if right - k <= second
    )
    return ways / math.comb(rows, right)


def binomial_tail(successes: int, trials: int, chance: float) -> float:
    """Probability of at least so many successes in independent trials."""
    return math.fsum(
        math.comb(trials, k) * chance**k * (1 - chance) ** (trials - k)
        for k in range(successes, trials + 1)
    )


def exact_match_floor(mean_nll: float) -> float:
    """The least share of greedy exact matches that a mean summed NLL allows.

    A reference whose probability is above one half is most probable at each of its tokens, and
    Markov's inequality bounds the share of the others by mean_nll / ln 2.
    """
    return max(0.0, 1 - mean_nll / math.log(2))


def exact_match_range(
    token_accuracy: float, tokens: int, rows: int, longest: int
) -> tuple[float, float]:
    """The least and greatest share of greedy exact matches that a token accuracy allows.

    Each wrong token spoils one row at most, and one row holds `longest` of them at most.
    """
    wrong = (1 - token_accuracy) * tokens
    return max(0.0, 1 - wrong / rows), min(1.0, 1 - wrong / (rows * longest))
