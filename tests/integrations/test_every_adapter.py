"""A loop over every type of adapter that PEFT knows: watching it finds no fault."""

from __future__ import annotations

from pathlib import Path

import peft
import pytest
import torch

from adapters.healthy import HEALTHY
from trainguard import watch

STEPS = 24
#: What is true of a type by design, and said.
TRUE = {
    # The last layer's transform feeds no layer after it.
    "shadow": {"TG409"},
    # The classifier weighs experts that have not been trained and change nothing.
    "xlora": {"TG503"},
}


@pytest.mark.parametrize("name", sorted(HEALTHY))
def test_training_an_adapter_is_no_finding(name: str, tmp_path: Path) -> None:
    recipe = HEALTHY[name]
    try:
        model = recipe.untrained(tmp_path).train()
    except ImportError as error:
        pytest.skip(str(error))
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=0.01)
    with watch(model, optimizer) as guard:
        for step in range(STEPS):
            model(**(recipe.base.batch | recipe.inputs)).loss.backward()
            optimizer.step()
            if isinstance(model.base_model, peft.AdaLoraModel):
                model.base_model.update_and_allocate(step)
            optimizer.zero_grad()

    found = {finding.code: finding.message for finding in guard.report.findings}
    assert found.keys() == TRUE.get(name, set()), found
    assert {"TG402", "TG403", "TG409", "TG502"} <= {*guard.report.checked, *found}
