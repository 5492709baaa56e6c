"""The numbers of a preflight against plain computations of the same."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import get_linear_schedule_with_warmup

from trainguard.facts.preflight import Contrast
from trainguard.gather.preflight_batch import batch_facts
from trainguard.gather.preflight_plan import plan_facts, precision_facts


class EndsForCausalLM:
    """A model that states an end token and no other."""

    config = SimpleNamespace(eos_token_id=2)


cells = st.integers(0, 5)


@given(
    tokens=st.lists(st.lists(cells, min_size=6, max_size=6), min_size=1, max_size=3),
    seed=st.integers(0, 2**16),
)
def test_the_counts_of_a_batch_are_those_of_a_plain_loop(tokens: list[Any], seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    ids = torch.tensor(tokens)
    mask = torch.randint(0, 2, ids.shape, generator=generator)
    labels = torch.where(torch.rand(ids.shape, generator=generator) < 0.5, ids, -100)

    facts = batch_facts(
        EndsForCausalLM(), {"input_ids": ids, "attention_mask": mask, "labels": labels}
    )

    places = [(r, t) for r in range(len(ids)) for t in range(6)]
    told = [(r, t) for r, t in places if labels[r, t] != -100]
    ends = [
        (r, t)
        for r, t in places
        if t and ids[r, t] == 2 and mask[r, t] and labels[r, t - 1] != -100
    ]
    assert facts.supervised == facts.copied == len(told)
    assert facts.copied_next == sum(t < 5 and labels[r, t] == ids[r, t + 1] for r, t in told)
    assert facts.supervised_padding == sum(mask[r, t] == 0 for r, t in told)
    assert facts.ends == len(ends)
    assert facts.supervised_ends == sum(place in told for place in ends)


@given(
    peak=st.floats(1e-6, 1e-2),
    warm=st.integers(0, 50),
    length=st.integers(1, 60),
    steps=st.integers(1, 60),
)
def test_the_plan_is_what_stepping_the_scheduler_gives(
    peak: float, warm: int, length: int, steps: int
) -> None:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=peak)
    scheduler = get_linear_schedule_with_warmup(optimizer, warm, length)

    facts = plan_facts(scheduler, steps)

    rates = []
    for _ in range(steps):
        rates.append(scheduler.get_last_lr()[0])
        optimizer.step()
        scheduler.step()
    idle = next((i for i, rate in enumerate(reversed(rates)) if rate), steps)
    assert facts.peak == max(rates)
    assert facts.zero_from == (steps - idle + 1 if idle else None)
    assert facts.rising == (sorted(rates) == rates and rates[-1] > rates[0])


@given(st.floats(1e-8, 1.0), st.sampled_from([torch.bfloat16, torch.float16]))
def test_a_share_of_immovable_weights_never_grows_with_the_rate(
    rate: float, dtype: torch.dtype
) -> None:
    weights = torch.nn.Parameter(torch.linspace(-1, 1, 512, dtype=dtype))

    def share(lr: float) -> float:
        return precision_facts(torch.optim.AdamW([weights], lr=lr)).immovable

    assert 0.0 <= share(2 * rate) <= share(rate) <= 1.0


@given(st.floats(0, 1e3), st.floats(1e-3, 1e3), st.sampled_from(["float32", "bfloat16"]))
def test_whether_logits_differ_does_not_depend_on_their_scale(
    difference: float, spread: float, arithmetic: str
) -> None:
    small, large = (
        Contrast(difference=k * difference, spread=k * spread, arithmetic=arithmetic)
        for k in (1.0, 1024.0)
    )

    assert small.differs == large.differs
    assert not Contrast(difference=0.0, spread=spread, arithmetic=arithmetic).differs
