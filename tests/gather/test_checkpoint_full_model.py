"""Full models that save_pretrained wrote, and folders that hold anything at all."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from trainguard.engine import judge
from trainguard.facts.full_model import INDEX_NAME, FullModelFacts
from trainguard.gather import full_model
from trainguard.gather.full_model import full_model_evidence, is_full_model
from trainguard.registry import select

import tiny


@pytest.fixture(scope="module")
def sharded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "sharded"
    tiny.model().save_pretrained(str(folder), max_shard_size="20KB")
    tiny.tokenizer().save_pretrained(str(folder))
    return folder


@pytest.fixture
def folder(sharded: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(sharded, tmp_path / "model"))


def read(folder: Path) -> FullModelFacts:
    facts: FullModelFacts = full_model_evidence(folder).facts[FullModelFacts]
    return facts


def codes(folder: Path) -> set[str]:
    report = judge([full_model_evidence(folder)], select(["TG14"]))
    report.to_json().encode()
    return {finding.code for finding in report.findings}


def relist(folder: Path, name: Any) -> str:
    """Point one tensor of the index at another file; returns the tensor."""
    path = folder / INDEX_NAME
    index = json.loads(path.read_text())
    tensor = next(iter(index["weight_map"]))
    index["weight_map"][tensor] = name
    path.write_text(json.dumps(index))
    return str(tensor)


def test_a_sharded_model_gives_its_facts(sharded: Path) -> None:
    model = read(sharded)

    assert is_full_model(sharded)
    assert model.architecture == "LlamaForCausalLM"
    assert (model.vocab_size, model.tie_word_embeddings, model.dtype) == (64, False, "float32")
    assert model.eos_token_ids == (2,)
    assert len(model.shards) == 6
    assert model.is_complete
    assert len(list(model.tensors())) == len(model.weight_map) == 21
    assert all(tensor.nonfinite == 0 for _, tensor in model.tensors())
    assert model.embedding is not None
    assert model.embedding.shape == (64, 32)
    assert (model.highest_token, model.last_tokens[0]) == (63, "w63")


def test_values_of_a_large_model_are_not_read(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(full_model, "LARGEST", 10_000)
    model = read(folder)
    report = judge([full_model_evidence(folder)], select(["TG144"]))

    assert all(tensor.nonfinite is None for _, tensor in model.tensors())
    assert report.not_checked[0].reason == "the model has more than 10000 bytes"


def test_an_index_of_very_many_tensors_is_not_read_to_its_end(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(full_model, "MOST_TENSORS", 1)

    assert codes(folder) == {"TG147"}
    assert [shard.is_read for shard in read(folder).shards] == [True, *[False] * 5]


@pytest.mark.parametrize(
    "name",
    [
        "/etc/hostname",
        "../model/x.safetensors",
        "a/../../x",
        "C:\\x",
        "\\\\host\\x",
        "a\0b",
        "..\\x",
    ],
)
def test_a_path_that_leaves_the_folder_is_an_error_and_not_opened(
    folder: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[Path] = []
    real = full_model.open_regular
    monkeypatch.setattr(full_model, "open_regular", lambda p: (opened.append(p), real(p))[1])
    relist(folder, name)

    assert codes(folder) == {"TG140"}
    assert opened
    assert all(path.resolve().is_relative_to(folder.resolve()) for path in opened)


def test_a_link_out_of_the_folder_warns_and_is_not_opened(folder: Path, tmp_path: Path) -> None:
    shard = folder / "model-00002-of-00006.safetensors"
    shard.rename(tmp_path / "elsewhere")
    shard.symlink_to(tmp_path / "elsewhere")
    report = judge([full_model_evidence(folder)], select(["TG14"]))

    assert [(f.code, f.severity.value) for f in report.findings] == [("TG140", "warning")]


def test_the_links_of_the_hub_cache_are_normal(folder: Path, tmp_path: Path) -> None:
    repository = tmp_path / "models--a--b"
    snapshot = repository / "snapshots" / "0123"
    (repository / "blobs").mkdir(parents=True)
    snapshot.mkdir(parents=True)
    for number, file in enumerate(sorted(folder.iterdir())):
        shutil.copy(file, repository / "blobs" / str(number))
        (snapshot / file.name).symlink_to(f"../../blobs/{number}")

    assert codes(snapshot) == set()
    assert read(snapshot).is_complete


def test_a_link_to_nothing_is_a_missing_shard(folder: Path) -> None:
    shard = folder / "model-00002-of-00006.safetensors"
    shard.unlink()
    shard.symlink_to("gone")

    assert codes(folder) == {"TG141"}


@pytest.mark.parametrize("name", ["", ".", "x" * 5000, "sub/gone.safetensors"])
def test_a_name_that_is_no_file_is_a_finding(folder: Path, name: str) -> None:
    relist(folder, name)

    assert codes(folder) & {"TG141", "TG147"}


@pytest.mark.parametrize(
    "content",
    ["[" * 100_000, "{", "[]", '{"weight_map": []}', '{"weight_map": {"a": 1}}', '{"a": 1}', ""],
)
def test_an_unusable_index_is_a_finding(folder: Path, content: str) -> None:
    (folder / INDEX_NAME).write_text(content)

    assert codes(folder) == {"TG147"}


@pytest.mark.parametrize(
    "name", ["config.json", "tokenizer.json", INDEX_NAME, "model-00001-of-00006.safetensors"]
)
def test_special_files_are_named_and_not_opened(folder: Path, name: str) -> None:
    (folder / name).unlink()
    os.mkfifo(folder / name)
    report = judge([full_model_evidence(folder)], select(["TG14"]))

    assert [f.code for f in report.findings] == ["TG147"]
    assert "FIFO" in report.findings[0].message


def test_a_loop_of_links_in_the_place_of_the_model_is_a_finding(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").symlink_to("model.safetensors")

    assert codes(tmp_path) == {"TG147"}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "Git LFS pointer"),
        (b"<!DOCTYPE html><html></html>", "HTML page"),
        (b"", "is empty"),
        (b"\0" * 64, "zero bytes"),
        (b"\xff" * 64, "not in the safetensors format"),
    ],
)
def test_a_file_of_another_kind_is_named(tmp_path: Path, content: bytes, words: str) -> None:
    (tmp_path / "model.safetensors").write_bytes(content)
    report = judge([full_model_evidence(tmp_path)], select(["TG14"]))

    assert [f.code for f in report.findings] == ["TG147"]
    assert words in report.findings[0].message
    assert "adapter" not in report.findings[0].fix


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["\0", "\ud800", "model-00001-of-00006.safetensors", "/", "x" * 5000]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=5,
)
CONFIG = ["architectures", "model_type", "vocab_size", "auto_map", "text_config", "eos_token_id"]
TOKENIZER = {"model": st.fixed_dictionaries({"vocab": JSON}) | JSON, "added_tokens": JSON}


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    config=st.dictionaries(st.sampled_from(CONFIG), JSON),
    tokenizer=st.fixed_dictionaries({}, optional=TOKENIZER),
    index=st.fixed_dictionaries({"weight_map": st.dictionaries(st.text(max_size=4), JSON) | JSON}),
)
def test_values_of_any_type_are_survived(
    config: dict[str, Any], tokenizer: dict[str, Any], index: dict[str, Any], tmp_path: Path
) -> None:
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "tokenizer.json").write_text(json.dumps(tokenizer))
    (tmp_path / INDEX_NAME).write_text(json.dumps(index))

    assert "TG000" not in codes(tmp_path)
