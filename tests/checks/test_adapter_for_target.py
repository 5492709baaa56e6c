"""What programs other than PEFT make of a real adapter, if the user names the program."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import peft
import pytest

from adapters.bases import LLAMA
from adapters.broken import change, having, renamed
from adapters.healthy import Recipe, Saves, lora
from checks.test_adapter_settings import judged

pytestmark = [
    pytest.mark.filterwarnings("ignore::UserWarning"),
    pytest.mark.filterwarnings("ignore::RuntimeWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]


def save(folder: Path, config: peft.PeftConfig) -> None:
    recipe = Recipe(lambda: config, LLAMA)
    recipe.save(recipe.trained(folder).model, folder)


@pytest.fixture
def copied(saves: Saves, tmp_path: Path) -> Path:
    return Path(shutil.copytree(saves("lora").alone, tmp_path / "a"))


@pytest.mark.parametrize(
    ("target", "config", "key", "severity"),
    [
        ("vllm", lora(use_dora=True), "use_dora", "error"),
        ("vllm", lora(modules_to_save=["lm_head"]), "modules_to_save", "error"),
        ("vllm", lora(bias="all"), "bias", "error"),
        ("vllm", lora(alpha_pattern={"q_proj": 4}), "alpha_pattern", "warning"),
        ("llamacpp", lora(use_rslora=True), "use_rslora", "warning"),
        ("llamacpp", lora(target_modules=["q_proj", "embed_tokens"]), "lora_embedding", "error"),
        ("sglang", lora(rank_pattern={"q_proj": 2}), "rank_pattern", "warning"),
        (
            "sglang",
            peft.IA3Config(target_modules=["k_proj"], feedforward_modules=[]),
            "peft_type",
            "error",
        ),
        ("transformers", lora(use_dora=True), "use_dora", "warning"),
    ],
)
def test_what_a_target_cannot_use_is_found_for_that_target_only(
    target: str, config: Any, key: str, severity: str, tmp_path: Path
) -> None:
    save(tmp_path, config)
    change(tmp_path, having(base_model_name_or_path="org/name"))

    (finding,) = judged(tmp_path, target).findings
    assert (finding.code, finding.severity.value) == ("TG150", severity)
    assert key in (finding.location.key or "")
    assert not judged(tmp_path).findings
    assert not judged(tmp_path, "peft").findings


@pytest.mark.parametrize("target", ["peft", "transformers", "vllm", "llamacpp", "sglang"])
def test_an_ordinary_adapter_is_quiet_for_every_target(target: str, copied: Path) -> None:
    change(copied, having(base_model_name_or_path="org/name"))

    assert not judged(copied, target).findings


def test_transformers_ignores_the_default_infix_and_needs_a_base(copied: Path) -> None:
    change(copied, renamed("(lora_.)", r"\1.default"))

    codes = {finding.code for finding in judged(copied, "transformers").findings}
    assert codes == {"TG104", "TG113", "TG150"}


@pytest.mark.parametrize("init", ["pissa", "olora"])
def test_a_decomposition_is_wrong_only_where_it_is_not_repeated(init: str, copied: Path) -> None:
    change(copied, having(init_lora_weights=init))

    assert [finding.code for finding in judged(copied, "vllm").findings] == ["TG112"]
    assert not judged(copied).findings
