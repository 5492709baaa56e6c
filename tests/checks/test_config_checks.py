"""Checks on the adapter's config and on what else lies in its folder, with PEFT as the witness."""

from __future__ import annotations

import json
import re
import shutil
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from peft import AutoPeftModel, AutoPeftModelForCausalLM, PeftModel, get_peft_model
from peft.auto import get_default_import_allowlist
from peft.tuners.lora.tp_layer import get_default_module_allowlist
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import AutoModelForCausalLM

import known_fields
from adapters.bases import LLAMA, MIXTRAL
from adapters.broken import change, having
from adapters.healthy import HEALTHY, Saves
from adapters.quick import logits, lora, save
from checks.test_adapter_real import REFUSED
from trainguard.checks.adapter import _known_fields
from trainguard.checks.adapter._known_fields import COMMON, FIELDS
from trainguard.engine import judge
from trainguard.facts.adapter import (
    PREFIX,
    AdapterConfig,
    AdapterTensors,
    TensorFacts,
)
from trainguard.facts.adapter_comparison import AdapterFormats
from trainguard.findings import Finding, NotChecked, Report, Severity
from trainguard.gather.adapter import adapter_evidence
from trainguard.registry import find, select

pytestmark = [
    pytest.mark.filterwarnings("ignore::UserWarning"),
    pytest.mark.filterwarnings("ignore::RuntimeWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]

CODES = ["TG115", "TG124", "TG125", "TG126", "TG127", "TG153", "TG154"]
CONFIG, WEIGHTS, PICKLE = "adapter_config.json", "adapter_model.safetensors", "adapter_model.bin"


def judged(folder: Path) -> Report:
    return judge([adapter_evidence(folder)], select(CODES))


def only_finding(folder: Path) -> Finding:
    (finding,) = judged(folder).findings
    return finding


def loaded(folder: Path) -> tuple[torch.Tensor, str]:
    """The logits of what PEFT loads, and all that it says meanwhile."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        model = PeftModel.from_pretrained(LLAMA(), folder).eval()
    return logits(model), "\n".join(str(warning.message) for warning in said)


def renamed(old: str, new: str) -> Callable[[dict[str, Any], Any], None]:
    def fault(config: dict[str, Any], _: Any) -> None:
        config[new] = config.pop(old)

    return fault


@pytest.fixture
def adapter(tmp_path: Path) -> Path:
    save(tmp_path, lora(lora_alpha=32))
    return tmp_path


# The table of fields


def test_no_field_of_the_installed_peft_is_missing_from_the_table() -> None:
    """`python -m tests.known_fields` regenerates the table."""
    for kind, fields in known_fields.installed().items():
        assert fields.keys() <= {*COMMON, *FIELDS.get(kind, ())}, kind


@pytest.mark.skipif(
    peft.__version__ != _known_fields.VERSION, reason="the table is of another PEFT"
)
def test_the_table_is_what_its_generator_writes() -> None:
    """`python -m tests.known_fields` regenerates the table."""
    assert known_fields.TABLE.read_text() == known_fields.source(known_fields.installed())


# TG115 unknown-config-field


def test_a_misspelt_field_is_named_with_the_default_that_peft_takes(adapter: Path) -> None:
    healthy, silence = loaded(adapter)
    assert "Unexpected" not in silence

    change(adapter, renamed("lora_alpha", "lora_alhpa"))

    finding = only_finding(adapter)
    assert (finding.code, finding.severity) == ("TG115", Severity.WARNING)
    assert finding.evidence["meant"] == "lora_alpha"
    assert "takes 8 for lora_alpha" in finding.message
    found, said = loaded(adapter)
    assert "Unexpected keyword arguments ['lora_alhpa']" in said
    assert not torch.allclose(found, healthy)
    change(adapter, lambda c, _: c.update(lora_alpha=8))
    torch.testing.assert_close(loaded(adapter)[0], found)


def test_a_field_that_resembles_none_that_is_missing_has_no_suggestion(adapter: Path) -> None:
    change(adapter, having(lora_alhpa=32))

    finding = only_finding(adapter)
    assert finding.evidence["meant"] is None
    assert "lora_alhpa" in finding.fix


def test_a_field_of_a_newer_peft_is_information(adapter: Path) -> None:
    for version, severity in (("99.1", Severity.INFO), ("0.21.2.dev0@a1", Severity.WARNING)):
        change(adapter, having(use_future=True, peft_version=version))
        assert only_finding(adapter).severity is severity


@pytest.mark.parametrize("version", ["", "unknown", "9" * 6000, "1." * 5000, None, 3])
def test_no_version_breaks_the_judge(version: Any) -> None:
    values = {"peft_type": "LORA", "nonsense": 1, "peft_version": version}

    assert len(list(find("TG115").judge(AdapterConfig(path="c", values=values)))) == 1


def test_a_config_of_nothing_but_nonsense_does_not_flood_the_report(tmp_path: Path) -> None:
    nonsense = ", ".join(f'"lora_alph{n}": 1, "lora_alph{n}": 2' for n in range(20_000))
    (tmp_path / CONFIG).write_text(f'{{"peft_type": "LORA", {nonsense}}}')

    codes = [finding.code for finding in judged(tmp_path).findings]
    assert (codes.count("TG115"), codes.count("TG125")) == (20, 20)


# TG125 repeated-config-field


def test_the_last_of_several_values_is_the_one_that_peft_loads(adapter: Path) -> None:
    text = (adapter / CONFIG).read_text()
    healthy, _ = loaded(adapter)

    (adapter / CONFIG).write_text(text.replace("{", '{"lora_alpha": 1,', 1))
    finding = only_finding(adapter)
    assert finding.code == "TG125"
    assert "first as 1 and last as 32" in finding.message
    assert torch.equal(loaded(adapter)[0], healthy)

    (adapter / CONFIG).write_text(text.replace("{", '{"lora_alpha": 32,', 1))
    assert not judged(adapter).findings


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"a": 1, "a": 1.0}', {"a": (1, 1.0)}),
        ('{"a": {"b": 1, "b": 2}, "c": 1}', {}),
        ('{"a": {"b": 1}, "a": {"b": 2}}', {"a": ({"b": 1}, {"b": 2})}),
        ('{"a": NaN, "b": 1, "a": null, "a": 2}', None),
        ("{}", {}),
    ],
)
def test_only_the_keys_of_the_outermost_object_are_repeated(
    text: str, expected: dict[str, Any] | None, tmp_path: Path
) -> None:
    (tmp_path / CONFIG).write_text(text)

    config = adapter_evidence(tmp_path).facts[AdapterConfig]
    assert config.values.keys() == json.loads(text).keys()
    if expected is None:
        assert len(config.repeated["a"]) == 3
    else:
        assert config.repeated == expected


# TG126 unsafe-config-import


def test_peft_refuses_what_the_standard_library_is_named_for(adapter: Path, tmp_path: Path) -> None:
    mapping = {"base_model_class": "x", "parent_library": "antigravity"}
    change(adapter, having(auto_mapping=mapping, base_model_name_or_path=str(tmp_path)))

    assert only_finding(adapter).severity is Severity.ERROR
    with pytest.raises(ValueError, match="import allowlist"):
        AutoPeftModel.from_pretrained(adapter)
    assert "antigravity" not in sys.modules
    loaded(adapter)  # which does not look at the mapping

    change(adapter, having(task_type="CAUSAL_LM"))
    assert not judged(adapter).findings


@pytest.mark.parametrize("library", [*get_default_import_allowlist(), "transformers.models.x"])
def test_what_peft_lets_a_config_import_is_quiet(library: str) -> None:
    mapping = {"base_model_class": "x", "parent_library": library}
    config = AdapterConfig(path="c", values={"peft_type": "LORA", "auto_mapping": mapping})

    assert not list(find("TG126").judge(config))
    for core in get_default_module_allowlist():
        values = {"peft_type": "LORA", "megatron_core": f"{core}.x", "megatron_config": {"a": 1}}
        assert not list(find("TG126").judge(AdapterConfig(path="c", values=values)))


def test_peft_refuses_another_core_for_megatron(adapter: Path) -> None:
    change(adapter, having(megatron_core="antigravity.core", megatron_config={"hidden_size": 1}))

    finding = only_finding(adapter)
    assert (finding.code, finding.location.key) == ("TG126", "megatron_core")
    with pytest.raises(ValueError, match="security risk"):
        loaded(adapter)

    change(adapter, having(megatron_config=None))
    assert not judged(adapter).findings
    loaded(adapter)


def test_the_adapter_of_a_model_of_ones_own_is_no_error(tmp_path: Path) -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Linear(4, 4)

    for net, expected in ((Net(), [Severity.INFO]), (nn.Sequential(nn.Linear(4, 4)), [])):
        targets = ["first"] if isinstance(net, Net) else ["0"]
        get_peft_model(net, peft.LoraConfig(target_modules=targets)).save_pretrained(tmp_path)
        assert [finding.severity for finding in judged(tmp_path).findings] == expected


# TG127 unmatched-pattern

LLAMA_PATTERNS: list[dict[str, Any]] = [
    {"rank_pattern": {"layers.0.self_attn.q_proj": 2, r".*v_proj": 3}},
    {"rank_pattern": {r"^model.layers.0.self_attn.q_proj": 2}},
    {"rank_pattern": {r"^layers.0.self_attn.q_proj": 2}},
    {"rank_pattern": {"base_model.model.model.layers.0.self_attn.q_proj": 2}},
    {"rank_pattern": {"layers.7.self_attn.q_proj": 2}},
    {"alpha_pattern": {"q_proj|k_proj": 6}},
    {"alpha_pattern": {"k_proj": 6, "q_proj": 7}},
    {"alpha_pattern": {"proj": 6}},
    {"target_modules": r".*\.self_attn\.(q|v)_proj", "alpha_pattern": {"o_proj": 2}},
    {"target_modules": "all-linear", "rank_pattern": {"down_proj": 2}},
    {"layer_replication": [(0, 2), (0, 2)], "alpha_pattern": {"layers.3.self_attn.v_proj": 2}},
    {"layer_replication": [(0, 2), (0, 2)], "alpha_pattern": {"layers.4.self_attn.v_proj": 2}},
    {"target_modules": ["q_proj", "embed_tokens"], "rank_pattern": {"embed_tokens": 2}},
]


@pytest.mark.parametrize("options", LLAMA_PATTERNS, ids=str)
def test_the_keys_that_match_nothing_are_those_that_peft_names(
    options: dict[str, Any], tmp_path: Path
) -> None:
    save(tmp_path, lora(**options))

    named = re.findall(r"targeted module and were ignored: \['(.*)'\]", loaded(tmp_path)[1])
    found = [key for finding in judged(tmp_path).findings for key in finding.evidence["keys"]]
    assert found == named


@pytest.mark.parametrize(
    ("options", "unmatched"),
    [
        ({"rank_pattern": {"experts.down_proj": 2, "q_proj": 3}}, []),
        ({"alpha_pattern": {"down_proj": 2, "experts": 3}}, []),
        ({"alpha_pattern": {r"^model.layers.0.mlp.experts.down_proj": 2}}, []),
        ({"alpha_pattern": {"experts.up_proj": 2}}, ["experts.up_proj"]),
    ],
)
def test_a_key_may_mean_a_parameter(
    options: dict[str, Any], unmatched: list[str], tmp_path: Path
) -> None:
    config = lora(
        target_parameters=["mlp.experts.gate_up_proj", "mlp.experts.down_proj"], **options
    )
    get_peft_model(MIXTRAL(), config).save_pretrained(tmp_path)

    found = [key for finding in judged(tmp_path).findings for key in finding.evidence["keys"]]
    assert found == unmatched


@pytest.mark.parametrize(
    ("config", "findings"),
    [
        (peft.LoHaConfig(target_modules=["q_proj"], r=4, alpha_pattern={"k_proj": 3}), 1),
        (peft.LoKrConfig(target_modules=["q_proj"], r=4, rank_pattern={"k_proj": 3}), 1),
        (peft.HiraConfig(target_modules=["q_proj"], r=4, rank_pattern={"k_proj": 3}), 1),
        (peft.DeloraConfig(target_modules=["q_proj"], r=4, rank_pattern={"q_proj": 3}), 0),
        (peft.AdaLoraConfig(target_modules=["q_proj"], total_step=10, alpha_pattern={"k": 3}), 0),
    ],
    ids=lambda value: getattr(value, "peft_type", None),
)
def test_other_tuners_are_judged_where_they_match_alike(
    config: peft.PeftConfig, findings: int, tmp_path: Path
) -> None:
    save(tmp_path, config)

    assert len(judged(tmp_path).findings) == findings


def test_a_key_that_cannot_be_decided_is_not_checked(tmp_path: Path) -> None:
    save(tmp_path, lora(alpha_pattern={"(?<=x)q_proj": 6}))

    report = judged(tmp_path)
    assert not report.findings
    assert [entry.code for entry in report.not_checked if entry.subject] == ["TG127"]


def test_thousands_of_keys_are_decided_or_said_to_be_too_many() -> None:
    names = [f"layers.{number}.q_proj" for number in range(3000)]
    tensors = AdapterTensors(
        path="w",
        tensors=tuple(
            TensorFacts(name=f"{PREFIX}{name}.lora_A.weight", dtype="F32", shape=(1, 1))
            for name in names
        ),
    )
    whole, broken = dict.fromkeys(names, 1), dict.fromkeys((f"{n}.x" for n in names), 1)

    def verdicts(pattern: dict[str, int]) -> list[Any]:
        values = {"peft_type": "LORA", "rank_pattern": pattern}
        return list(find("TG127").judge(AdapterConfig(path="c", values=values), tensors))

    assert verdicts(whole) == []
    assert [type(verdict) for verdict in verdicts(whole | {"q_proj|v": 1, "z": 1})] == [Finding]
    assert [type(verdict) for verdict in verdicts(broken)] == [NotChecked]


# TG153 repeated-token-index


@pytest.mark.parametrize(
    ("config", "fault"),
    [
        (lora(trainable_token_indices=[1, 2]), {"trainable_token_indices": [1, 1]}),
        (peft.TrainableTokensConfig(token_indices=[1, 2]), {"token_indices": [1, 1]}),
    ],
)
def test_a_repeated_token_index_is_loaded_in_silence(
    config: peft.PeftConfig, fault: dict[str, Any], tmp_path: Path
) -> None:
    save(tmp_path, config)
    healthy, silence = loaded(tmp_path)
    assert not judged(tmp_path).findings

    change(tmp_path, having(**fault))

    assert only_finding(tmp_path).code == "TG153"
    found, said = loaded(tmp_path)
    assert said == silence
    assert not torch.allclose(found, healthy)


# TG124 conflicting-formats


QUIET = sorted(name for name in HEALTHY.keys() - REFUSED.keys() if not HEALTHY[name].deserves)


@pytest.mark.parametrize("name", QUIET[::5])
@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
def test_the_same_adapter_in_both_formats_is_quiet(
    name: str, legacy: bool, saves: Saves, tmp_path: Path
) -> None:
    for saved in (CONFIG, WEIGHTS):
        shutil.copy(saves(name).alone / saved, tmp_path)
    tensors = load_file(tmp_path / WEIGHTS)
    torch.save(tensors, tmp_path / PICKLE, _use_new_zipfile_serialization=not legacy)

    formats = adapter_evidence(tmp_path).facts[AdapterFormats]
    assert formats == AdapterFormats(total=len(tensors))
    assert not judged(tmp_path).findings


def halved(tensors: dict[str, torch.Tensor], name: str) -> None:
    tensors[name] = tensors[name][:2].clone()


FORMAT_FAULTS: dict[str, tuple[Callable[[dict[str, torch.Tensor], str], Any], str]] = {
    "value": (lambda t, name: t[name].view(-1)[-1:].add_(1), "its values"),
    "dtype": (lambda t, name: t.update({name: t[name].half()}), "its dtype"),
    "shape": (halved, "its shape"),
    "lost": (lambda t, name: t.pop(name), f"it stands in {WEIGHTS} alone"),
    "more": (lambda t, name: t.update({f"{name}.x": t[name]}), f"it stands in {PICKLE} alone"),
}


@pytest.mark.parametrize("fault", FORMAT_FAULTS)
def test_formats_that_differ_are_found_and_the_pickle_is_ignored(fault: str, adapter: Path) -> None:
    plant, what = FORMAT_FAULTS[fault]
    healthy, silence = loaded(adapter)
    tensors = load_file(adapter / WEIGHTS)
    name = list(tensors)[-1]
    plant(tensors, name)
    torch.save(tensors, adapter / PICKLE)

    finding = only_finding(adapter)
    assert (finding.code, finding.evidence["count"]) == ("TG124", 1)
    assert f"first {name}" in finding.message
    assert what in finding.message
    found, said = loaded(adapter)
    assert torch.equal(found, healthy)
    assert said == silence


def test_large_tensors_are_compared_to_their_last_byte(adapter: Path) -> None:
    tensors = {"x": torch.zeros(600, 600), "y": torch.zeros(600, 600)}
    save_file(tensors, adapter / WEIGHTS)
    torch.save(tensors, adapter / PICKLE)
    assert not adapter_evidence(adapter).facts[AdapterFormats].differing

    tensors["x"][-1, -1] = 1
    torch.save(tensors, adapter / PICKLE)
    assert adapter_evidence(adapter).facts[AdapterFormats].differing == {"x": "its values"}


def test_a_tensor_in_another_order_of_elements_is_not_compared(adapter: Path) -> None:
    tensors = load_file(adapter / WEIGHTS)
    name = next(iter(tensors))
    tensors[name] = tensors[name].t().contiguous().t()
    torch.save(tensors, adapter / PICKLE)

    report = judged(adapter)
    assert not report.findings
    assert "1 tensors" in next(entry.reason for entry in report.not_checked if entry.subject)


class Bomb:
    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (Path("executed"),))


@pytest.mark.parametrize(
    "content", [Bomb(), {"a": Bomb()}, [1], b""], ids=["object", "value", "list", "bytes"]
)
def test_a_pickle_of_anything_else_is_not_compared_and_not_executed(
    content: Any, adapter: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(adapter)
    if content:
        torch.save(content, adapter / PICKLE)
    else:
        (adapter / PICKLE).write_bytes(content)

    assert adapter_evidence(adapter).facts[AdapterFormats].problem
    assert [entry.code for entry in judged(adapter).not_checked if entry.subject] == ["TG124"]
    assert not (adapter / "executed").exists()


# TG154 adapter-beside-merged-model


def trained_with_base(folder: Path) -> PeftModel:
    """An adapter of a base model that is saved under `base`."""
    LLAMA().save_pretrained(folder / "base")
    model = AutoModelForCausalLM.from_pretrained(folder / "base")
    model = get_peft_model(model, lora(task_type="CAUSAL_LM"))
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter += 0.1 * torch.randn_like(parameter)
    model.save_pretrained(folder / "both")
    return model.eval()


def test_a_merged_model_gets_the_adapter_a_second_time_from_transformers(tmp_path: Path) -> None:
    model = trained_with_base(tmp_path)
    right = logits(model)
    assert not judged(tmp_path / "both").findings

    model.merge_and_unload().save_pretrained(tmp_path / "both")

    finding = only_finding(tmp_path / "both")
    assert (finding.code, finding.evidence["compared"]) == ("TG154", 4)
    twice = logits(AutoModelForCausalLM.from_pretrained(tmp_path / "both").eval())
    assert (twice - right).abs().max() > 0.1
    by_peft = AutoPeftModelForCausalLM.from_pretrained(tmp_path / "both").eval()
    torch.testing.assert_close(logits(by_peft), right)


def test_a_base_model_that_carries_its_adapter_is_quiet(tmp_path: Path) -> None:
    right = logits(trained_with_base(tmp_path))
    LLAMA().save_pretrained(tmp_path / "both")

    report = judged(tmp_path / "both")
    assert not report.findings
    assert "TG154" in report.checked
    found = logits(AutoModelForCausalLM.from_pretrained(tmp_path / "both").eval())
    torch.testing.assert_close(found, right)

    change(tmp_path / "both", having(base_model_name_or_path=str(tmp_path / "both")))
    assert not judged(tmp_path / "both").findings


@pytest.mark.parametrize("name", ["org/model", None, "\0"])
def test_without_the_base_model_a_merge_is_not_judged(name: str | None, tmp_path: Path) -> None:
    model = trained_with_base(tmp_path)
    model.merge_and_unload().save_pretrained(tmp_path / "both")
    change(tmp_path / "both", having(base_model_name_or_path=name))

    report = judged(tmp_path / "both")
    assert not report.findings
    assert [entry.code for entry in report.not_checked if entry.subject] == ["TG154"]
