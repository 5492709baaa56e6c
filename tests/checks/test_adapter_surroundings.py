"""What lies beside an adapter or slips into its file, each as PEFT and transformers take it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from tokenizers import Tokenizer, models
from transformers import AutoTokenizer

from adapters.bases import LLAMA, VOCABULARY
from adapters.broken import Q0, change, having
from adapters.checked import checked
from adapters.healthy import Saves

pytestmark = [
    pytest.mark.filterwarnings("ignore::UserWarning"),
    pytest.mark.filterwarnings("ignore::RuntimeWarning"),
]
O0 = f"{Q0[:-6]}o_proj.weight"
NORM0 = "base_model.model.model.layers.0.input_layernorm.weight"


@pytest.fixture
def copied(saves: Saves, tmp_path: Path) -> Path:
    return Path(shutil.copytree(saves("lora").with_base, tmp_path / "a"))


def write_tokenizer(folder: Path, size: int) -> None:
    words = {f"w{number}": number for number in range(size)}
    Tokenizer(models.WordLevel(words, unk_token="w0")).save(str(folder / "tokenizer.json"))


def add(folder: Path, *names: str) -> None:
    """Put weights of ones into the file."""
    shapes = {O0: (32, 32), NORM0: (32,)}
    change(
        folder,
        lambda _, tensors: (
            tensors | {name: torch.ones(shapes.get(name, (32, 32))) for name in names}
        ),
    )


def test_a_stray_weight_replaces_that_of_the_base_for_good(copied: Path) -> None:
    add(copied, O0)

    (finding,) = checked(copied).report["findings"]
    assert (finding["code"], finding["evidence"]["tensors"]) == ("TG156", [O0])
    unloaded = PeftModel.from_pretrained(LLAMA(), copied).unload()
    assert unloaded.model.layers[0].self_attn.o_proj.weight.eq(1).all()


def test_a_tensor_of_no_module_is_quiet_where_the_base_is_known(copied: Path) -> None:
    add(copied, "base_model.model.model.layers.0.ghost.weight")
    assert checked(copied).found == []

    change(copied, having(base_model_name_or_path=None))
    assert checked(copied).found == ["stray-base-weight"]


@pytest.mark.parametrize("saved", [["o_proj"], ["norm", "attn.o_proj"]])
def test_a_module_that_the_config_saves_whole_is_no_stray(saved: list[str], copied: Path) -> None:
    add(copied, O0, *([NORM0] if "norm" in saved else []))

    change(copied, having(modules_to_save=saved))

    assert "stray-base-weight" not in checked(copied).found


def test_the_old_name_of_an_adapted_weight_is_dropped(copied: Path) -> None:
    add(copied, f"{Q0}.weight")

    assert checked(copied).found == []
    loaded = PeftModel.from_pretrained(LLAMA(), copied)
    assert torch.equal(
        loaded.get_submodule(f"{Q0}.base_layer").weight,
        LLAMA().model.layers[0].self_attn.q_proj.weight,
    )


@pytest.mark.parametrize(
    ("size", "found"),
    [
        (VOCABULARY - 9, []),
        (VOCABULARY, []),
        (VOCABULARY + 1, ["tokenizer-larger-than-base"]),
    ],
)
def test_the_tokenizer_has_to_fit_the_base(size: int, found: list[str], copied: Path) -> None:
    write_tokenizer(copied, size)

    assert checked(copied).found == found


def test_a_tokenizer_that_the_adapters_own_embeddings_fit_is_quiet(
    saves: Saves, tmp_path: Path
) -> None:
    name = "lora, resized and trained embeddings"
    folder = Path(shutil.copytree(saves(name).with_base, tmp_path / "a"))
    write_tokenizer(folder, VOCABULARY + 3)

    assert checked(folder).found == ["shape-differs-from-base"]


@pytest.mark.parametrize("content", ["", '{"version": "1.0", "mod', "[1]", "[" * 100_000])
def test_a_broken_tokenizer_is_found_and_cannot_be_loaded(content: str, copied: Path) -> None:
    write_tokenizer(copied, VOCABULARY)
    (copied / "tokenizer_config.json").write_text('{"tokenizer_class": "PreTrainedTokenizerFast"}')
    AutoTokenizer.from_pretrained(copied)
    (copied / "tokenizer.json").write_text(content)

    assert checked(copied).found == ["broken-tokenizer"]
    with pytest.raises((ValueError, TypeError, RecursionError)):
        AutoTokenizer.from_pretrained(copied)


@pytest.mark.parametrize(
    "vocabulary", [None, 7, {"model": 3}, {"model": {"vocab": {"a": "b", "c": True}}}]
)
def test_a_tokenizer_of_another_shape_says_nothing(vocabulary: Any, copied: Path) -> None:
    (copied / "tokenizer.json").write_text(json.dumps({"model": vocabulary}))

    assert checked(copied).found == []


@pytest.mark.parametrize(
    ("peft_type", "fields", "severity"),
    [
        (None, {}, "error"),
        (["LORA"], {}, "error"),
        ("lora", {}, "error"),
        ("NEWEST", {"peft_version": "99.0.0"}, "info"),
        ("BONE", {}, "warning"),
    ],
)
def test_a_type_that_peft_does_not_have_stops_it(
    peft_type: Any, fields: dict[str, Any], severity: str, copied: Path
) -> None:
    change(copied, having(peft_type=peft_type, **fields))

    (finding,) = checked(copied).report["findings"]
    assert (finding["code"], finding["severity"]) == ("TG155", severity)
    with pytest.raises((KeyError, TypeError)):
        PeftModel.from_pretrained(LLAMA(), copied)
