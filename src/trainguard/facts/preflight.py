"""What one batch shows before training begins: its labels, and what the model does with it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import log
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from trainguard.facts.notation import Line


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchFacts:
    """Labels and tokens of one batch of a causal language model; counts are of positions."""

    WANTED: ClassVar[str] = "a batch with input_ids and labels of one shape"

    rows: int
    supervised: int
    """Labels that are not ignored (-100)."""
    copied: int
    """Supervised labels that equal the token at their own position."""
    copied_next: int
    """Supervised labels that equal the token at the next position."""
    model_shifts: bool
    """Whether the model itself compares the output at one position with the label of the next."""
    supervised_padding: int | None = None
    """Supervised labels where the attention mask is 0, or without a mask those of the pad tokens
    around a row; None if padding cannot be told from text."""
    ends: int | None = None
    """End-of-sequence tokens right after a supervised token; None if they cannot be told from
    padding, or if no such token is known."""
    supervised_ends: int | None = None
    """How many of these are supervised themselves."""
    answers: int | None = None
    """Rows with an ignored prompt and a supervised answer that are shorter than the longest row,
    so that no length limit cut them; None if end tokens or lengths are unknown."""
    ended_answers: int | None = None
    """How many of these have an end-of-sequence token among their supervised labels."""
    double_bos: int | None = None
    """Rows that begin with two beginning-of-sequence tokens; None if no such token is known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LossFacts:
    """The loss of the batch before any update."""

    WANTED: ClassVar[str] = "a loss that the model returned for one batch"

    loss: float
    """Mean cross-entropy of the supervised tokens, in nats."""
    vocabulary: int
    """Tokens that the model chooses from."""

    @property
    def uniform(self) -> float:
        """Loss of a model that gives every token the same probability, in nats."""
        return log(self.vocabulary)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReachFacts:
    """Which trainable tensors a backward pass from the loss of the batch reached."""

    WANTED: ClassVar[str] = "a backward pass over one batch"

    tensors: int
    """Trainable tensors."""
    unreached: tuple[str, ...] = ()
    """Those that received no gradient at all (None, not zero), at most 20 names."""
    unreached_tensors: int = 0
    """How many there are in all."""
    bypassed: int = 0
    """Further tensors without a gradient that this batch may rightly bypass: experts that no
    token was sent to, towers for images or sound that the batch does not hold."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Contrast:
    """Logits that must agree, computed in two ways."""

    difference: float
    """Largest absolute difference of two logits that should be equal."""
    spread: float
    """Standard deviation of the logits compared, the measure of the difference."""
    arithmetic: str = "float32"
    """Lowest precision of the forward pass: "float32", "tf32", "float16" or "bfloat16"."""

    @property
    def ratio(self) -> float:
        """Difference in units of the spread; 0.0 where there is none."""
        return self.difference / self.spread if self.difference else 0.0

    @property
    def differs(self) -> bool:
        """Whether the difference is beyond what rounding gives."""
        return self.ratio > _ROUNDING[self.arithmetic]


#: Largest ratio that rounding explains. Tiny healthy models stay below 1e-6 in float32, one of 49
#: million parameters below 1e-5; a mean over positions of weight 0.01 gives more than 1e-3. In 16
#: bits one rounding is up to 2**-8 of a value and the error of a deep model a few per cent.
_ROUNDING = {"float32": 1e-4, "tf32": 0.05, "float16": 0.05, "bfloat16": 0.2}


@dataclass(frozen=True, slots=True, kw_only=True)
class CausalFacts(Contrast):
    """Logits before a position, with two different continuations from it on."""

    WANTED: ClassVar[str] = "two forward passes of one prefix"

    positions: int
    """Length of the common prefix."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RowFacts(Contrast):
    """Logits of one row beside two different neighbours, in training mode."""

    WANTED: ClassVar[str] = "two forward passes of one row"


@dataclass(frozen=True, slots=True, kw_only=True)
class PaddingFacts(Contrast):
    """Logits of one row with the padding that it has in the batch, and without."""

    WANTED: ClassVar[str] = "a padded row"

    row: int
    """Which row of the batch, from 0."""
    padding: int
    """Padded positions of that row."""
    masked: bool
    """Whether the batch has an attention mask."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PackingFacts(Contrast):
    """Logits of a document behind another one in the same row, and on its own."""

    WANTED: ClassVar[str] = "a row of packed documents"

    row: int
    """Which row of the batch, from 0."""
    start: int
    """Position at which the document begins."""
    masked: bool
    """Whether the batch has an attention mask."""
    cached: Contrast | None = None
    """The same with `use_cache` on; None if the run will not have it on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PrecisionFacts:
    """How far the largest usual update of Adam, one learning rate, moves 16-bit weights."""

    WANTED: ClassVar[str] = "a torch Adam optimizer over 16-bit weights"

    dtype: str
    """Precision of most of the trainable 16-bit elements."""
    elements: int
    """Trainable 16-bit elements."""
    learning_rate: float
    """Highest learning rate of a parameter group, before any schedule."""
    immovable: float
    """Share of the elements, from 0 to 1, that stay as they are when a learning rate is added or
    subtracted; measured on a sample."""
    stuck_tensors: int = 0
    """Tensors of which no sampled element moves."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanFacts:
    """The learning rate over the whole run, as the scheduler plans it."""

    WANTED: ClassVar[str] = "a schedule of learning rates and the number of steps"

    steps: int
    """Optimizer steps of the run."""
    learning_rate: float
    """The rate that the schedule is meant to reach."""
    peak: float
    """The highest rate of any step."""
    rising: bool
    """Whether the rate never falls, and is higher at the last step than at the first."""
    zero_from: int | None = None
    """First of the steps at the end of the run that all have rate 0, from 1; None if none has."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AccumulationFacts:
    """How the loss of a trainer answers to the number of tokens of an accumulation window."""

    WANTED: ClassVar[str] = "a Trainer that accumulates gradients"

    steps: int
    """Micro-batches of one optimizer step."""
    loss: float
    """Loss of the batch with `num_items_in_batch` at its own number of supervised tokens."""
    loss_of_double: float
    """The same with twice that number."""


#: What a line of an example need not state.
_DEFAULTS: dict[type, dict[str, Any]] = {
    BatchFacts: {"rows": 4, "supervised": 64, "copied": 64, "copied_next": 0, "model_shifts": True},
    LossFacts: {"vocabulary": 32000},
    ReachFacts: {"tensors": 28},
    CausalFacts: {"spread": 1.0, "positions": 16},
    RowFacts: {"spread": 1.0},
    PaddingFacts: {"spread": 1.0, "row": 1, "padding": 7, "masked": True},
    PackingFacts: {"spread": 1.0, "row": 0, "start": 9, "masked": False},
    PrecisionFacts: {"dtype": "bfloat16", "elements": 10**6},
    PlanFacts: {"learning_rate": 2e-4, "rising": False},
    AccumulationFacts: {"steps": 4},
}
_RECORDS = {
    "batch": BatchFacts,
    "loss": LossFacts,
    "reach": ReachFacts,
    "causal": CausalFacts,
    "rows": RowFacts,
    "padding": PaddingFacts,
    "packing": PackingFacts,
    "precision": PrecisionFacts,
    "plan": PlanFacts,
    "accumulation": AccumulationFacts,
}
KINDS: tuple[type, ...] = tuple(_RECORDS.values())


def from_notation(lines: Sequence[Line]) -> dict[type, Any]:
    """`batch ends=4 ...`, `causal difference=0.2`, ...: the words of `_RECORDS`."""
    records = [_record(line) for line in lines]
    return {type(record): record for record in records}


def _record(line: Line) -> Any:
    kind: Callable[..., Any] = _RECORDS[line.word]
    values = {**_DEFAULTS[_RECORDS[line.word]], **line.fields}
    if "unreached" in values:
        values["unreached"] = tuple(str(values["unreached"]).split(","))
    if "cached" in values:
        values["cached"] = Contrast(difference=values["cached"], spread=values["spread"])
    return kind(**values)
