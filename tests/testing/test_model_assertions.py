"""Assertions on outputs, rows, positions and adapters, on healthy models and planted faults."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import trainguard
from trainguard import testing

import tiny


@pytest.fixture
def batch() -> dict[str, Tensor]:
    rows = tiny.rows(4)
    return {name: torch.tensor(rows[name]) for name in ("input_ids", "attention_mask", "labels")}


@pytest.fixture
def trained() -> Any:
    model = tiny.lora(tiny.model())
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.02)
    return model


def test_finite_outputs(batch: Any) -> None:
    model = tiny.model()
    testing.assert_finite_outputs(model, batch)
    with torch.no_grad():
        model.lm_head.weight[5] = float("inf")
    with pytest.raises(AssertionError, match=r"elements of output \d, of shape"):
        testing.assert_finite_outputs(model, batch)
    with pytest.raises(AssertionError, match="no floating-point numbers"):
        testing.assert_finite_outputs(nn.Identity(), torch.ones(2, dtype=torch.long))


def test_output_shape_and_range(batch: Any) -> None:
    model = tiny.model()
    testing.assert_output_shape(model, batch, (None, tiny.LENGTH, tiny.VOCABULARY))
    for shape in ((None, tiny.LENGTH), (3, None, None)):
        with pytest.raises(AssertionError, match=r"the shape \(4, 12, 64\), not"):
            testing.assert_output_shape(model, batch, shape)

    def chances(model: Any, batch: Any) -> Tensor:
        return model(**batch).logits.softmax(-1)

    testing.assert_output_range(model, batch, 0.0, 1.0, output=chances)
    with pytest.raises(AssertionError, match=r"lies in \[-.*not in \[0, 1\]"):
        testing.assert_output_range(model, batch, 0, 1)
    with pytest.raises(AssertionError, match="nan"):
        testing.assert_output_range(nn.Identity(), torch.tensor([0.5, float("nan")]), 0, 1)


class Mixing(nn.Module):
    """Subtracts the mean over the rows."""

    def forward(self, x: Tensor) -> Tensor:
        return x - x.mean(0)


def softmaxed() -> nn.Module:
    return nn.Sequential(nn.Linear(3, 4), nn.Softmax(-1))


def test_rows_that_influence_each_other_are_named() -> None:
    x = torch.randn(3, 3)
    testing.assert_rows_independent(softmaxed(), x)
    with pytest.raises(AssertionError, match="output of row 0 depends on the input of row 1"):
        testing.assert_rows_independent(Mixing(), x)
    normalized = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    testing.assert_rows_independent(normalized, x)
    with pytest.raises(AssertionError, match="row 0 depends"):
        testing.assert_rows_independent(normalized, x, training=True)
    with pytest.raises(AssertionError, match="one row"):
        testing.assert_rows_independent(softmaxed(), x[:1])
    with pytest.raises(AssertionError, match="no gradient"):
        whole = torch.ones(3, 3, dtype=torch.long)
        testing.assert_rows_independent(nn.Identity(), whole, output=lambda _, x: x.float())
    with pytest.raises(AssertionError, match="depends on no part"):
        testing.assert_rows_independent(softmaxed(), x, output=lambda model, x: model(x) * 0)


class Tokens(nn.Module):
    """A recurrent tagger over token ids, and a table of positions that is no input."""

    def __init__(self, *, both_ways: bool) -> None:
        super().__init__()
        self.words, self.places = nn.Embedding(9, 4), nn.Embedding(5, 4)
        self.cells = nn.GRU(4, 3, batch_first=True, bidirectional=both_ways)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.cells(self.words(tokens) + self.places(torch.arange(tokens.shape[1])))[0]


def test_a_position_that_sees_later_ones_is_named() -> None:
    tokens = torch.tensor([[1, 2, 3, 4, 5], [5, 6, 7, 8, 1]])
    testing.assert_causal(Tokens(both_ways=False), tokens)
    testing.assert_rows_independent(Tokens(both_ways=True), tokens)
    with pytest.raises(AssertionError, match="position 0 depends on the input at position 4"):
        testing.assert_causal(Tokens(both_ways=True), tokens)


def test_language_models_are_judged_by_preflight(batch: Any) -> None:
    model = tiny.model()
    testing.assert_causal(model, batch)
    testing.assert_rows_independent(model, batch)
    with pytest.raises(AssertionError, match=r"TG213.*no row of the batch is padded"):
        testing.assert_padding_invariant(model, batch)
    with pytest.raises(AssertionError, match=r"TG214.*position_ids"):
        testing.assert_packing_independent(model, batch)

    inner = model.model.forward

    def smoothed(*args: Any, **options: Any) -> Any:
        output = inner(*args, **options)
        hidden = output.last_hidden_state
        output.last_hidden_state = hidden + 0.1 * hidden.mean(1, keepdim=True)
        return output

    model.model.forward = smoothed
    with pytest.raises(AssertionError, match="TG211"):
        testing.assert_causal(model, batch)


def test_padding_is_compared_with_none(batch: Any) -> None:
    batch["attention_mask"][0, 8:] = 0
    testing.assert_padding_invariant(tiny.model(), batch)
    batch["attention_mask"][0, :4], batch["attention_mask"][0, 8:] = 0, 1
    testing.assert_padding_invariant(tiny.model(), batch)


def test_an_adapter_is_trainable_only_if_it_is_loaded_so(trained: Any, tmp_path: Path) -> None:
    from peft import PeftModel

    testing.assert_adapter_trainable(trained)
    trained.save_pretrained(tmp_path)
    loaded = PeftModel.from_pretrained(tiny.model(), tmp_path, is_trainable=True)
    testing.assert_adapter_trainable(loaded)
    with pytest.raises(AssertionError, match=r"TG201(.|\n)*is_trainable=True"):
        testing.assert_adapter_trainable(PeftModel.from_pretrained(tiny.model(), tmp_path))
    with pytest.raises(AssertionError, match="has no active adapter"):
        testing.assert_adapter_trainable(tiny.model())


def test_a_trained_adapter_changes_the_output_and_a_fresh_one_does_not(
    trained: Any, batch: Any
) -> None:
    testing.assert_adapter_changes_output(trained, batch)
    with pytest.raises(AssertionError, match="same to the bit"):
        testing.assert_adapter_changes_output(tiny.lora(tiny.model()), batch)


def test_an_adapter_round_trips_unless_saving_or_loading_lose_something(
    trained: Any, batch: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    testing.assert_adapter_round_trips(trained, batch)
    testing.assert_adapter_round_trips(trained, batch, base=tiny.model, folder=tmp_path)
    with pytest.raises(AssertionError, match="the outputs differ by up to"):
        testing.assert_adapter_round_trips(trained, batch, base=lambda: tiny.model(seed=1))

    whole = type(trained).save_pretrained

    def halved(self: Any, folder: str, **options: Any) -> None:
        other = copy.deepcopy(self).half()
        whole(other, folder, **options)

    monkeypatch.setattr(type(trained), "save_pretrained", halved)
    with pytest.raises(AssertionError, match=r"8 tensors differ after loading: .*lora_"):
        testing.assert_adapter_round_trips(trained)


def test_merging_leaves_the_output_unless_it_doubles_the_update(
    trained: Any, batch: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from peft.tuners.lora.layer import Linear

    testing.assert_merged_equals_unmerged(trained, batch)
    update = Linear.get_delta_weight
    monkeypatch.setattr(Linear, "get_delta_weight", lambda self, adapter: 2 * update(self, adapter))
    with pytest.raises(AssertionError, match="of their standard deviation"):
        testing.assert_merged_equals_unmerged(trained, batch)
    testing.assert_merged_equals_unmerged(trained, batch, tolerance=10)


def test_reports_are_judged_with_their_diagnosis(trained: Any, tmp_path: Path) -> None:
    tiny.lora(tiny.model()).save_pretrained(tmp_path)
    report = trainguard.check(tmp_path)
    with pytest.raises(AssertionError, match=r"error\[TG105\] untrained-adapter"):
        testing.assert_no_findings(report)
    testing.assert_no_findings(report, ignore=["untrained-adapter"])
    with pytest.raises(AssertionError, match="TG105"):
        testing.assert_decided(report, "untrained-adapter")
    with pytest.raises(AssertionError, match=r"TG301 .*could not be decided: needs"):
        testing.assert_decided(report, "no-supervised-tokens")
    with pytest.raises(AssertionError, match="Nothing was recognised"):
        testing.assert_no_findings(trainguard.Report())
