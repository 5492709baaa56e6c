"""Assertions on training steps: each passes a healthy model and fails a planted fault."""

from __future__ import annotations

import copy
import random
from typing import Any

import pytest
import torch
from torch import nn

from trainguard import testing

import tiny


@pytest.fixture
def batch() -> dict[str, torch.Tensor]:
    rows = tiny.rows(4)
    return {name: torch.tensor(rows[name]) for name in ("input_ids", "attention_mask", "labels")}


@pytest.fixture
def adapted() -> Any:
    return tiny.lora(tiny.model())


def first_a(model: Any) -> tuple[str, Any]:
    return next((n, p) for n, p in model.named_parameters() if "lora_A" in n)


def state_of(model: Any, optimizer: Any) -> str:
    named = [(n, p.data_ptr(), p.detach().clone(), p.grad) for n, p in model.named_parameters()]
    own = copy.deepcopy(optimizer.state_dict())
    return repr((named, own, model.training, torch.get_rng_state().sum(), random.getstate()))


def test_a_fresh_lora_changes_where_it_trains_and_nowhere_else(adapted: Any, batch: Any) -> None:
    testing.assert_parameters_change(adapted, batch)
    testing.assert_frozen(adapted, batch)
    with pytest.raises(AssertionError, match=r"4 of 8 trainable .* after 1 steps .*lora_A"):
        testing.assert_parameters_change(adapted, batch, steps=1)


def test_a_parameter_that_the_optimizer_lacks_does_not_change(adapted: Any, batch: Any) -> None:
    name, left_out = first_a(adapted)
    rest = [p for p in adapted.parameters() if p.requires_grad and p is not left_out]
    optimizer = torch.optim.AdamW(rest, lr=1e-3)

    with pytest.raises(AssertionError, match=f"1 of 8 trainable .*{name}"):
        testing.assert_parameters_change(adapted, batch, optimizer)
    testing.assert_parameters_change(adapted, batch, optimizer, ignore=name)
    with pytest.raises(AssertionError, match="TG203"):
        testing.assert_optimizer_coverage(adapted, optimizer)


def test_a_frozen_parameter_that_moves_is_named(batch: Any) -> None:
    model = tiny.model()
    with pytest.raises(AssertionError, match=r"frozen parameters changed .*embed_tokens"):
        testing.assert_frozen(model, batch, names="*embed_tokens*")
    with pytest.raises(AssertionError, match="nothing is frozen"):
        testing.assert_frozen(model, batch)


def test_nothing_trainable_is_no_success(batch: Any) -> None:
    model = tiny.model().requires_grad_(False)
    for assertion in (testing.assert_parameters_change, testing.assert_loss_decreases):
        with pytest.raises(AssertionError, match="no parameter of LlamaForCausalLM requires"):
            assertion(model, batch)


def test_the_loss_on_one_batch_falls_with_a_step_and_not_without(batch: Any) -> None:
    model = tiny.model()
    still = torch.optim.SGD(model.parameters(), lr=0.0)
    quick = torch.optim.AdamW(model.parameters(), lr=1e-2)

    testing.assert_loss_decreases(model, batch, quick)
    testing.assert_overfits_batch(model, batch, quick)
    with pytest.raises(AssertionError, match=r"the loss went from 4\.\d+ to 4\.\d+"):
        testing.assert_loss_decreases(model, batch, still)
    with pytest.raises(AssertionError, match="or less was expected"):
        testing.assert_overfits_batch(model, batch, quick, steps=4)
    with pytest.raises(AssertionError, match="to nan"):
        testing.assert_loss_decreases(
            model, batch, loss=lambda model, batch: model(**batch).loss * float("nan")
        )


def test_dropout_is_deterministic_and_a_source_of_its_own_is_not(batch: Any) -> None:
    model = tiny.model()
    testing.assert_deterministic_step(model, batch)
    noise = random.Random(0)

    with pytest.raises(AssertionError, match="the same step gave the losses"):
        testing.assert_deterministic_step(
            model, batch, loss=lambda model, batch: model(**batch).loss * noise.random()
        )


def test_nothing_is_disturbed(adapted: Any, batch: Any) -> None:
    trainable = [p for p in adapted.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trainable, lr=1e-2)
    adapted.train()
    adapted(**batch).loss.backward()
    optimizer.step()  # the optimizer has a state, the parameters have gradients
    before = state_of(adapted, optimizer)

    testing.assert_parameters_change(adapted, batch, optimizer)
    testing.assert_frozen(adapted, batch, optimizer)
    testing.assert_deterministic_step(adapted, batch, optimizer)
    testing.assert_mixed_precision_step(adapted, batch, optimizer)
    testing.assert_finite_outputs(adapted, batch)
    testing.assert_all_parameters_receive_gradients(adapted, batch)
    testing.assert_adapter_round_trips(adapted, batch)
    testing.assert_merged_equals_unmerged(adapted, batch)
    testing.assert_adapter_changes_output(adapted, batch)
    testing.assert_rows_independent(adapted, batch)

    assert state_of(adapted, optimizer) == before


def test_an_optimizer_without_a_state_has_none_afterwards(batch: Any) -> None:
    model = tiny.model()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    testing.assert_loss_decreases(model, batch, optimizer)
    assert not optimizer.state


class Halves(nn.Module):
    """Two layers of which the loss reaches one."""

    def __init__(self) -> None:
        super().__init__()
        self.used, self.unused = nn.Linear(3, 1), nn.Linear(3, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.used(x)


def test_a_loss_reaches_every_parameter_or_names_the_others(adapted: Any, batch: Any) -> None:
    def mean(model: Any, batch: Any) -> torch.Tensor:
        return model(batch).mean()

    testing.assert_all_parameters_receive_gradients(adapted, batch)
    with pytest.raises(AssertionError, match=r"TG210(.|\n)*unused\.weight"):
        testing.assert_all_parameters_receive_gradients(Halves(), torch.ones(2, 3), loss=mean)
    testing.assert_all_parameters_receive_gradients(
        Halves(), torch.ones(2, 3), loss=mean, ignore="unused.*"
    )
    with pytest.raises(AssertionError, match=r"2 trainable .* unused\.weight, unused\.bias"):
        testing.assert_all_parameters_receive_gradients(
            Halves(), torch.ones(2, 3), loss=mean, ignore="other.*"
        )


def test_a_batch_without_a_loss_decides_nothing(adapted: Any, batch: Any) -> None:
    del batch["labels"]
    with pytest.raises(AssertionError, match=r"could not be decided: .*no loss"):
        testing.assert_finite_gradients(adapted, batch)
    with pytest.raises(TypeError, match="pass loss="):
        testing.assert_parameters_change(adapted, batch)


def test_nonfinite_gradients_and_losses_fail(batch: Any) -> None:
    model = tiny.model()
    testing.assert_finite_gradients(model, batch)
    testing.assert_finite_loss(model, batch)

    def root(model: Any, batch: Any) -> torch.Tensor:
        loss = model(**batch).loss
        return loss + (loss * 0).sqrt()  # finite itself, its gradient is not

    testing.assert_finite_loss(model, batch, loss=root)
    with pytest.raises(AssertionError, match="TG401"):
        testing.assert_finite_gradients(model, batch, loss=root)
    with pytest.raises(AssertionError, match="TG502"):
        testing.assert_finite_loss(model, batch, loss=lambda m, b: m(**b).loss * float("inf"))
