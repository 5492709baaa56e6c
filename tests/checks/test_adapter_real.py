"""Adapters as PEFT saves them: the trained ones are quiet, the untrained ones are told apart."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file

from adapters.bases import IMAGES, LLAMA
from adapters.checked import checked
from adapters.healthy import CONFIG, HEALTHY, WEIGHTS, Saved, Saves
from adapters.loading import answer
from trainguard.checks.adapter._tuners import FACTORS, FROZEN_ON_LOAD, MULTIPLIERS
from trainguard.engine import judge
from trainguard.facts.intent import Intent
from trainguard.findings import Report
from trainguard.gather.adapter import adapter_evidence
from trainguard.gather.base_model import with_base
from trainguard.registry import select

pytestmark = [
    pytest.mark.filterwarnings("ignore::UserWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::RuntimeWarning"),
]

#: What PEFT cannot make or save without a package that it does not bring, or at all.
REFUSED = {
    "adamss": (ImportError, "scikit-learn"),
    "lora, loftq": (ImportError, "scipy|bitsandbytes"),
    "lora, megatron": (ImportError, "megatron"),
    "two types at once": (NotImplementedError, "Saving is not supported"),
}
#: Adapters whose first state adds nothing to the model, of types whose zero the check knows.
NEUTRAL = [
    name
    for name in HEALTHY.keys() - REFUSED.keys()
    if HEALTHY[name].config().peft_type in FACTORS | MULTIPLIERS
    and name
    not in {
        "lora, corda",
        "lora, lora_ga",
        "lora, olora",
        "lora, olora, converted",
        "lora, orthogonal",
        "lora, pissa",
        "lora, pissa, converted",
        "lora, pissa_niter, converted",
        "lora, random",
        "lora, two in a folder",
    }
]
EVERY_CHECK = {f"TG1{number:02}" for number in (*range(1, 15), 16, 17, 18, 19, 23, 50, 51, 52)}


def made(saves: Saves, name: str) -> Saved:
    """The save, or a skipped test where a package is missing."""
    refusal = REFUSED.get(name)
    try:
        return saves(name)
    except ImportError as error:
        if refusal is None:
            raise
        pytest.skip(str(error))


def folder_of(saved: Saved) -> Path:
    return next(file.parent for file in saved.alone.rglob(CONFIG))


def report_on(folder: Path, purpose: Any = None) -> Report:
    return judge([adapter_evidence(folder, Intent(purpose))], select(["TG1"]))


def test_every_type_of_peft_is_among_them() -> None:
    makeable = {HEALTHY[name].config().peft_type for name in HEALTHY.keys() - REFUSED.keys()}

    assert set(peft.PeftType) - makeable == {peft.PeftType.ADAMSS}


@pytest.mark.parametrize("name", HEALTHY)
def test_a_trained_adapter_gives_no_finding(name: str, saves: Saves) -> None:
    if name == "two types at once":
        with pytest.raises(NotImplementedError, match=REFUSED[name][1]):
            saves(name)
        return
    saved, deserved = made(saves, name), HEALTHY[name].deserves
    alone, beside = checked(saved.alone), checked(saved.with_base)

    assert saved.moved
    assert {*alone.found, *beside.found} == set(deserved)
    assert deserved or (alone.status, beside.status) == (0, 0)
    assert not [entry for entry in report_on(folder_of(saved)).not_checked if entry.subject]


@pytest.mark.parametrize("name", sorted(HEALTHY.keys() - REFUSED.keys()))
def test_a_trained_adapter_in_bfloat16_gives_no_finding(
    name: str, saves: Saves, tmp_path: Path
) -> None:
    shutil.copytree(made(saves, name).alone, tmp_path / "a")
    for file in (tmp_path / "a").rglob(WEIGHTS):
        tensors = load_file(file)
        halved = {n: t.bfloat16() if t.is_floating_point() else t for n, t in tensors.items()}
        save_file(halved, file)

    assert set(checked(tmp_path / "a").found) <= set(HEALTHY[name].deserves)


@pytest.mark.parametrize(
    "name", sorted(n for n in HEALTHY.keys() - REFUSED.keys() if HEALTHY[n].base is not IMAGES)
)
def test_all_checks_look_at_an_adapter_with_its_base(name: str, saves: Saves) -> None:
    folder = next(file.parent for file in made(saves, name).with_base.rglob(CONFIG))
    report = judge([with_base(adapter_evidence(folder))], select(["TG1"]))

    assert set(report.checked) >= EVERY_CHECK


def test_the_classifier_of_xlora_is_lost_by_peft_itself(saves: Saves) -> None:
    folder = saves("xlora").alone

    assert load_file(folder / WEIGHTS) == {}
    expert = load_file(folder / "0" / WEIGHTS)
    assert any("internal_xlora_classifier" in name for name in expert)


@pytest.mark.parametrize("name", sorted(NEUTRAL))
def test_an_untrained_adapter_is_found_and_nothing_else(name: str, tmp_path: Path) -> None:
    recipe = HEALTHY[name]
    (tmp_path / "scratch").mkdir()
    recipe.save(recipe.untrained(tmp_path / "scratch"), tmp_path / "a")

    found = checked(tmp_path / "a").found
    assert found.count("untrained-adapter") == 1
    assert set(found) <= {"untrained-adapter", *recipe.deserves}


#: Their base model is changed as well, or does not answer with logits.
OTHER_MODELS = {
    "lora on replicated layers",
    "lora, kasa",
    "lora, question answering",
    "lora, resized embeddings",
    "lora, resized and trained embeddings",
}


@pytest.mark.parametrize("name", sorted(set(NEUTRAL) - OTHER_MODELS))
def test_an_untrained_adapter_really_adds_nothing(name: str, tmp_path: Path) -> None:
    recipe = HEALTHY[name]
    expected = answer(recipe.base().to(recipe.dtype), recipe.base)
    found = answer(recipe.untrained(tmp_path).eval(), recipe.base)

    torch.testing.assert_close(found.float(), expected.float(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "name",
    sorted(HEALTHY.keys() - REFUSED.keys() - set(NEUTRAL) - {"lora, two in a folder", "xlora"}),
)
def test_what_cannot_be_told_from_a_trained_state_is_not_judged(name: str, tmp_path: Path) -> None:
    recipe = HEALTHY[name]
    (tmp_path / "scratch").mkdir()
    recipe.save(recipe.untrained(tmp_path / "scratch"), tmp_path / "a")

    assert set(checked(tmp_path / "a").found) <= set(recipe.deserves)


@pytest.mark.parametrize(
    "name",
    sorted(
        name
        for name in HEALTHY.keys() - REFUSED.keys()
        if HEALTHY[name].base is LLAMA
        # CorDA's file does not load, which is a finding.
        and not name.startswith(("lora, resized", "lora, named", "lora, corda", "xlora"))
    ),
)
def test_what_loads_frozen_is_known_and_told_to_whoever_trains(name: str, saves: Saves) -> None:
    folder = made(saves, name).alone
    model = PeftModel.from_pretrained(LLAMA(), folder)
    part = "bias" if HEALTHY[name].config().to_dict().get("bias") == "all" else "no such part"
    trainable = [n for n, p in model.named_parameters() if p.requires_grad and part not in n]

    peft_type = json.loads((folder / CONFIG).read_text())["peft_type"]
    codes = [finding.code for finding in report_on(folder, "train").findings]
    assert codes == (["TG109"] if peft_type in FROZEN_ON_LOAD else [])
    if peft_type in FROZEN_ON_LOAD:
        assert not trainable
    assert not report_on(folder, "infer").findings
