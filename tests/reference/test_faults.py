from dataclasses import replace
from pathlib import Path

from reference.faults import SHORT, outcome, plans
from trainguard.reference.faults import FAULTS


def test_the_table_has_each_fault_and_both_plain_runs():
    planned = [(plan.fault, plan.method) for plan in plans([])]
    assert [fault for fault, _ in planned] == ["", "", *FAULTS]
    assert {method for fault, method in planned if not fault} == {"sft", "rft"}
    of_rft = {fault for fault, method in planned if fault and method == "rft"}
    assert of_rft == {"wrong-reasoning-kept", "one-reasoning-template"}


def test_an_outcome_shows_the_last_log_line_and_is_judged(base_folder: Path, tmp_path: Path):
    tiny = replace(SHORT, train=32, valid=4, test=4, steps=4, model=str(base_folder))
    found = outcome(replace(tiny, fault="log-overwritten"), tmp_path, tmp_path)
    assert found.is_right
    assert "{'loss': '0.01'" in str(found)
    assert "TG506" in str(found)
    assert not replace(found, expected="").is_right
    assert not replace(found, expected="TG201").is_right
    assert "NOT AS EXPECTED: TG201" in str(replace(found, expected="TG201"))
