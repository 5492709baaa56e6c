"""Reading source: any file, no execution, names and neighbours resolved."""

from __future__ import annotations

import ast
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainguard.engine import judge
from trainguard.facts.failure import Failure
from trainguard.facts.notation import examples
from trainguard.facts.source import SourceFacts, constant
from trainguard.findings import Report
from trainguard.gather.source import evidence_from_text, notebook_text, source_evidence
from trainguard.integrations.files import check
from trainguard.registry import select


def facts(text: str) -> SourceFacts:
    return evidence_from_text(text).facts[SourceFacts]


def judged(text: str) -> Report:
    return judge([evidence_from_text(text)], select(["TG8"]))


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("from peft import PeftModel\nPeftModel.load()", "peft.PeftModel.load"),
        ("from peft import PeftModel as P\nP.load()", "peft.PeftModel.load"),
        ("import peft\npeft.PeftModel.load()", "peft.PeftModel.load"),
        ("import torch.optim as optim\noptim.SGD()", "torch.optim.SGD"),
        ("import torch.optim\ntorch.optim.SGD()", "torch.optim.SGD"),
        ("from . import utils\nutils.load()", "utils.load"),
        ("from .utils import load\nload()", "utils.load"),
        ("f()()", ""),
        ("x[0].step()", ".step"),
    ],
)
def test_calls_have_qualified_names(text: str, name: str) -> None:
    source = facts(text)

    assert source.name(source.calls[0].func) == name


def test_of_two_imports_under_one_name_the_later_holds() -> None:
    source = facts("from a import load\nimport b as load\nload()")

    assert source.name(source.calls[0].func) == "b"


FIRING = [
    pytest.param(known.code, example.text, id=f"{known.code}-{number}")
    for known in select(["TG8"])
    for number, example in enumerate(examples(known.doc), start=1)
    if example.is_code and any(known.code in line.marks for line in example.lines)
]


@pytest.mark.parametrize(("code", "text"), FIRING)
def test_no_fault_is_left_unread_for_want_of_a_word(code: str, text: str, tmp_path: Path) -> None:
    (tmp_path / "project.py").write_text(text, encoding="utf-8")

    assert code in {finding.code for finding in check(tmp_path, chosen=[code]).findings}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("x = 1\nx = 2\nuse(x)", 2),
        ("x = 1\nuse(x)\nx = 2", 1),
        ("x = 1\ndef f():\n    use(x)", 1),
        ("x = 1\ndef f():\n    x = 2\n    use(x)", 2),
        ("x = 1\ndef f(x):\n    use(x)", None),
        ("x: int = 3\nuse(x)", 3),
        ("x, y = 4, 5\nuse(y)", 5),
        ("for x in y:\n    use(x)", None),
        ("def f():\n    x = 6\nuse(x)", None),
    ],
)
def test_a_name_is_bound_to_what_was_assigned_before(text: str, value: Any) -> None:
    source = facts(text)
    (call,) = source.calls_of("use")
    name = call.args[0]
    assert isinstance(name, ast.Name)

    assert constant(source.bound(name)) == value


LOADER = """
from peft import PeftModel

def load_adapter(base, folder):
    return PeftModel.from_pretrained(base, folder)
"""
SERVER = """
from loading import load_adapter

print(load_adapter(base, "out").generate(**batch))
"""
TRAINER = """
from transformers import Trainer
from loading import load_adapter

def main():
    model = load_adapter(base, "out")
    Trainer(model=model, args=args).train()
"""


def project(folder: Path, **files: str) -> Report:
    for name, text in files.items():
        (folder / f"{name}.py").write_text(text)
    return check(folder, chosen=["TG8"])


def test_a_loader_is_accused_only_where_the_project_trains_what_it_loads(tmp_path: Path) -> None:
    assert not project(tmp_path, loading=LOADER, serving=SERVER).findings

    report = project(tmp_path, loading=LOADER, serving=SERVER, training=TRAINER)

    assert [(one.code, Path(one.subject).name) for one in report.findings] == [
        ("TG801", "loading.py")
    ]
    assert report.findings[0].location.line == 5


def test_functions_that_share_a_name_are_not_confused(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "loading.py").write_text(LOADER.replace("return", "model ="))

    assert not project(tmp_path, loading=LOADER, training=TRAINER).findings


def test_a_model_is_followed_into_the_function_that_trains_it() -> None:
    report = judged(
        """
from peft import PeftModel
from trl import SFTTrainer

class Project:
    def __init__(self, base, folder):
        self.model = PeftModel.from_pretrained(base, folder)

    def fit(self, data):
        return run(data, self.model)

def run(data, model):
    trainer = SFTTrainer(model, train_dataset=data)
    return trainer.train()
"""
    )

    assert [(one.code, one.location.line) for one in report.findings] == [("TG801", 7)]


@pytest.mark.parametrize(
    "rescue",
    [
        "model.requires_grad_(True)",
        "model.set_adapter('default')",
        "unfreeze_lora(model)",
        "for p in lora_parameters(model):\n    p.requires_grad = True",
        "[p.requires_grad_() for n, p in model.named_parameters() if 'lora' in n]",
        "enable(model)",
        "model = model.merge_and_unload()",
    ],
)
def test_a_model_made_trainable_after_loading_is_not_accused(rescue: str) -> None:
    report = judged(
        f"""
from peft import PeftModel
from trl import SFTTrainer

def enable(policy):
    for p in policy.parameters():
        p.requires_grad = True

model = PeftModel.from_pretrained(base, folder)
{rescue}
SFTTrainer(model).train()
"""
    )

    assert not report.findings


def test_values_that_go_round_in_circles_are_followed_to_an_end() -> None:
    report = judged(
        """
from peft import PeftModel

class Project:
    def __init__(self, base, folder):
        self.model = PeftModel.from_pretrained(base, folder)
        self.policy = self.model

    def swap(self):
        self.model = self.policy
        return again(self.model)

def again(model):
    return again(model)
"""
    )

    assert not report.findings


def test_a_suppression_with_its_reason_takes_the_finding_out() -> None:
    text = TRAINER.replace("load_adapter(base, ", "PeftModel.from_pretrained(base, ").replace(
        "from loading import load_adapter", "from peft import PeftModel"
    )
    line = '    model = PeftModel.from_pretrained(base, "out")'
    assert line in text

    report = judged(text.replace(line, f"{line}  # trainguard: ignore[TG801] layers are set below"))

    assert not report.findings
    assert [one.reason for one in report.suppressed] == ["layers are set below"]


def test_a_notebook_is_read_cell_by_cell(tmp_path: Path) -> None:
    cells = [
        {"cell_type": "markdown", "source": ["optimizer.step()"]},
        {"cell_type": "code", "source": ["%matplotlib inline\n", "!pip install peft\n"]},
        {"cell_type": "code", "source": "%%bash\nexit 1"},
        {"cell_type": "code", "source": ["from peft import PeftModel\n", "m = load()"]},
        {"cell_type": "code", "source": "m.merge_and_unload()\nm.save_pretrained('x')"},
    ]
    (tmp_path / "train.ipynb").write_text(json.dumps({"cells": cells}))

    report = check(tmp_path)

    assert [one.code for one in report.findings] == ["TG806"]


def test_files_that_are_no_python_are_failures_of_their_own(tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("def compute_loss(:")
    (tmp_path / "binary.py").write_bytes(b"\xff\xfe\x00compute_loss")
    (tmp_path / "fine.py").write_text("x.merge_and_unload()\nx.save_pretrained('y')")

    report = check(tmp_path)

    assert sorted((one.code, Path(one.subject).name) for one in report.findings) == [
        ("TG000", "binary.py"),
        ("TG000", "broken.py"),
        ("TG806", "fine.py"),
    ]


def test_tests_are_left_out_unless_they_are_named(tmp_path: Path) -> None:
    fault = "llm.merge_and_unload()\nllm.save_pretrained('x')"
    (tmp_path / "tests").mkdir()
    for name in ("tests/helper.py", "test_model.py", "model_test.py", "conftest.py"):
        (tmp_path / name).write_text(fault)

    assert check(tmp_path).subjects == ()
    assert [one.code for one in check(tmp_path / "test_model.py").findings] == ["TG806"]


def test_nothing_of_the_project_is_imported_or_run(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text(
        "import pathlib\npathlib.Path('ran').touch()\nx.merge_and_unload()\n"
    )
    (tmp_path / "torch.py").write_text("raise SystemExit('imported')")

    assert not check(tmp_path).findings
    assert not (tmp_path / "ran").exists()


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=300))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    for name in ("a.py", "a.ipynb"):
        facts = _read_from(Path("/nonexistent") / name, data).facts
        assert not (SourceFacts in facts and Failure in facts)


def _read_from(path: Path, data: bytes) -> Any:
    class Fake(type(path)):  # type: ignore[misc]
        def stat(self, **_: Any) -> Any:
            return type("Stat", (), {"st_size": len(data)})

        def read_bytes(self) -> bytes:
            return data

    (evidence,) = source_evidence([Fake(path)], path.parent)
    return evidence


LINES = [
    "loss.backward()",
    "optimizer.step()",
    "optimizer.zero_grad()",
    "model = PeftModel.from_pretrained(base, d)",
    "model = get_peft_model(model, config)",
    "if torch.isnan(loss): loss = 0.0",
    "Trainer(model=model, train_dataset=data['test'])",
    "model.merge_and_unload()",
    "return model",
    "self.model = model",
    "llm.answer = f",
    "x = [t[q] for q in questions]",
]


@settings(max_examples=200, deadline=None)
@given(st.lists(st.sampled_from(LINES), max_size=12), st.booleans())
def test_every_check_survives_every_order_of_statements(lines: list[str], in_loop: bool) -> None:
    header = "from peft import PeftModel, get_peft_model\nfrom transformers import Trainer\n"
    indent = "    " * (1 + in_loop)
    body = "\n".join(indent + line for line in [*lines, "pass"])
    loop = "    for batch in loader:\n" if in_loop else ""

    report = judged(f"{header}def f(self, *questions):\n{loop}{body}\n")

    assert "TG000" not in {one.code for one in report.findings}


def test_a_deeply_nested_file_is_refused_not_a_crash(tmp_path: Path) -> None:
    (tmp_path / "deep.py").write_text("isnan" + "(" * 5000 + ")" * 5000)
    (tmp_path / "chain.py").write_text("x = isnan" + ".a" * 20_000)

    codes = {one.code for one in check(tmp_path).findings}

    assert codes <= {"TG000"}


def test_a_source_too_large_to_read_is_not_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trainguard.gather.source.LARGEST", 10)
    (tmp_path / "large.py").write_text("model.merge_and_unload()\nmodel.save_pretrained('x')\n")

    report = check(tmp_path)

    assert not report.findings
    assert {e.reason for e in report.not_checked if e.code == "TG806"} == {
        "a source of more than 10 bytes is not read"
    }


def test_a_project_larger_than_fits_is_linked_in_parts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trainguard.gather.source.LARGEST_PROJECT", len(LOADER) + 1)

    report = project(tmp_path, loading=LOADER, training=TRAINER)

    assert len(report.subjects) == 2
    assert not report.findings  # the one does not know of the other


def test_a_notebook_without_cells_is_refused() -> None:
    with pytest.raises(ValueError, match="no cells"):
        notebook_text(b"[]")
