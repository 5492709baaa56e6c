"""`trainguard diff` on adapters that PEFT saved."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from trainguard.cli import main
from trainguard.gather.diff import compare

import tiny


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["diff", *map(str, arguments)])


@pytest.fixture(scope="module")
def adapter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("adapter")
    torch.manual_seed(0)
    model = tiny.lora(tiny.model())
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.02)
    model.save_pretrained(str(folder))
    return folder


@pytest.fixture
def other(adapter: Path, tmp_path: Path) -> Path:
    shutil.copytree(adapter, tmp_path / "other")
    return tmp_path / "other"


def edit(folder: Path, **values: object) -> None:
    file = folder / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | values))


def tensors(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "adapter_model.safetensors")


def store(folder: Path, content: dict[str, torch.Tensor]) -> None:
    save_file(content, folder / "adapter_model.safetensors")


def test_a_copy_is_identical_whatever_the_order_of_its_sets(adapter: Path, other: Path) -> None:
    targets = json.loads((other / "adapter_config.json").read_text())["target_modules"]
    edit(other, target_modules=targets[::-1])

    result = run(adapter, other)

    assert result.exit_code == 0
    assert result.output.splitlines()[-1].startswith("identical: ")


def test_fields_are_compared_one_by_one(adapter: Path, other: Path) -> None:
    edit(other, lora_alpha=999, target_modules=["q_proj", "up_proj"], novel=1)

    result = run(adapter, other)

    assert result.exit_code == 1
    assert "config lora_alpha: " in result.output
    assert "-> 999" in result.output
    assert "+up_proj" in result.output
    assert "config novel: only in b (1)" in result.output
    assert "different: 3 config fields, 0 of" in result.output


def test_the_distance_is_the_norm_of_the_difference(adapter: Path, other: Path) -> None:
    content = tensors(other)
    name = next(name for name in content if "lora_B" in name)
    before = content[name].clone()
    content[name] += 0.01
    store(other, content)

    found = json.loads(run(adapter, other, "--output-format", "json").output)

    (difference,) = found["tensors"]["different"]
    larger = max(before.norm(), content[name].norm())
    expected = (content[name] - before).double().norm() / larger.double()
    assert difference["name"] == name
    assert difference["distance"] == pytest.approx(float(expected), rel=1e-6)
    assert (found["identical"], found["tensors"]["identical"]) == (False, len(content) - 1)


def test_dtypes_shapes_and_missing_tensors_are_told_apart(adapter: Path, other: Path) -> None:
    content = tensors(other)
    half, cut, lost, bad = sorted(content)[:4]
    content[half] = content[half].bfloat16()
    content[cut] = content[cut][:1].clone()
    del content[lost]
    content[bad][0, 0] = float("nan")
    content["new"] = torch.ones(2)
    store(other, content)

    found = json.loads(run(adapter, other, "--output-format", "json").output)

    different = {entry["name"]: entry for entry in found["tensors"]["different"]}
    assert different.keys() == {half, cut, lost, bad, "new"}
    assert different[half]["b"].startswith("BF16")
    assert 0 < different[half]["distance"] < 0.01
    assert different[cut]["distance"] is None
    assert (different[lost]["b"], different["new"]["a"]) == (None, None)
    assert different[bad]["distance"] == "nan"
    text = run(adapter, other).output
    assert f"tensor {lost}: only in a" in text
    assert len(text.splitlines()) < 30


def test_full_models_in_shards_are_compared(tmp_path: Path) -> None:
    model = tiny.model()
    model.save_pretrained(str(tmp_path / "a"))
    model.save_pretrained(str(tmp_path / "b"), max_shard_size="20KB")

    result = run(tmp_path / "a", tmp_path / "b")

    assert (result.exit_code, "identical" in result.output) == (0, True)


def test_what_cannot_be_read_is_a_usage_error(adapter: Path, other: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert run(adapter, tmp_path / "empty").exit_code == 2
    assert run(adapter, tmp_path / "nowhere").exit_code == 2
    (other / "adapter_config.json").write_text("{")
    result = run(adapter, other)
    assert result.exit_code == 2
    assert "is not valid JSON" in result.output
    (other / "adapter_model.safetensors").write_bytes(b"\x00" * 30)
    assert run(adapter, other).exit_code == 2


@given(
    st.lists(st.floats(-1e3, 1e3, width=32), min_size=4, max_size=4),
    st.lists(st.floats(-1e3, 1e3, width=32), min_size=4, max_size=4),
)
def test_the_distance_is_symmetric_and_bounded(
    tmp_path_factory: pytest.TempPathFactory, a: list[float], b: list[float]
) -> None:
    folders = [tmp_path_factory.mktemp("pair") for _ in "ab"]
    for folder, values in zip(folders, (a, b), strict=True):
        store(folder, {"x": torch.tensor(values, dtype=torch.float32)})

    there, back = compare(*folders), compare(*folders[::-1])

    assert there.identical == (np.float32(a).tobytes() == np.float32(b).tobytes())
    if not there.identical:
        distance = there.tensors[0].distance
        assert distance == back.tensors[0].distance
        assert distance is not None
        assert 0 <= distance <= 2.0001
