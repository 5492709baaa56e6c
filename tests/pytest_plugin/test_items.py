"""Files as items, in real pytest runs. Nothing here needs torch."""

from __future__ import annotations

import os
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

pytest_plugins = ["pytester"]

UNTRAINED = "trainguard::outputs/untrained::TG105[[]untrained-adapter[]]"
ALL = ("--trainguard", "outputs")


def run(pytester: pytest.Pytester, *options: str) -> pytest.RunResult:
    return pytester.runpytest_subprocess("-p", "no:cacheprovider", *options)


def ids(result: pytest.RunResult) -> list[str]:
    return [line for line in result.outlines if line.startswith("trainguard::")]


def section(result: pytest.RunResult) -> list[str]:
    """The lines of the summary section, in a fixed order."""
    start = next(n for n, line in enumerate(result.outlines) if "= trainguard =" in line)
    return [*sorted(result.outlines[start + 1 : start + 3]), result.outlines[start + 3]]


@pytest.mark.usefixtures("outputs")
def test_there_is_one_item_per_subject_and_check(pytester: pytest.Pytester) -> None:
    found = ids(run(pytester, *ALL, "--collect-only", "-q"))

    assert len(found) == len(set(found)) > 60
    assert "trainguard::outputs/healthy::TG105[untrained-adapter]" in found
    assert "trainguard::outputs/run::TG501[hidden-nan-loss]" in found
    assert not any("outputs/run::TG105" in one for one in found)  # a run is no adapter
    assert found == ids(run(pytester, *ALL, "--collect-only", "-q"))
    absolute = ("--trainguard", str(pytester.path / "outputs"))
    assert found == ids(run(pytester, *absolute, "--collect-only", "-q"))


@pytest.mark.usefixtures("outputs")
def test_a_fault_fails_its_item_with_its_frame_and_without_a_traceback(
    pytester: pytest.Pytester,
) -> None:
    result = run(pytester, *ALL, "-k", "untrained and TG1", "-v")

    assert result.parseoutcomes()["failed"] == 1
    result.stdout.fnmatch_lines(
        [
            f"{UNTRAINED} FAILED*",
            "error[[]TG105[]] untrained-adapter: lora_B is exactly zero*",
            "  --> outputs/untrained/adapter_model.safetensors*",
            "help: *",
            "FAILED trainguard::outputs/untrained::TG105*",
        ]
    )
    assert "Traceback" not in result.stdout.str()
    assert result.ret == pytest.ExitCode.TESTS_FAILED


@pytest.mark.usefixtures("outputs")
def test_a_symptom_points_to_its_cause_in_one_line(pytester: pytest.Pytester) -> None:
    result = run(pytester, "--trainguard", "outputs/run")

    result.stdout.fnmatch_lines(
        [
            "TG401 nonfinite-gradients: step 5: *",
            "  explained by TG501 hidden-nan-loss: see "
            "trainguard::outputs/run::TG501[[]hidden-nan-loss[]]",
            "error[[]TG501[]] hidden-nan-loss: *",
            "  = explains TG401 *",
        ]
    )
    assert result.stdout.str().count("error[TG401]") == 0


@pytest.mark.usefixtures("outputs")
def test_a_check_without_evidence_is_skipped_with_its_reason(pytester: pytest.Pytester) -> None:
    result = run(pytester, "--trainguard", "outputs/run", "-k", "TG202", "-rs")

    result.assert_outcomes(skipped=1, deselected=result.parseoutcomes()["deselected"])
    result.stdout.fnmatch_lines(["SKIPPED*outputs/run: a log does not record it; train with *"])


@pytest.mark.usefixtures("outputs")
@pytest.mark.parametrize("workers", [(), ("-n", "2")])
def test_an_id_selects_its_item(pytester: pytest.Pytester, workers: tuple[str, ...]) -> None:
    whole = "trainguard::outputs/untrained::TG105[untrained-adapter]"
    run(pytester, *ALL, whole, *workers).assert_outcomes(failed=1)
    subject = run(pytester, *ALL, "trainguard::outputs/healthy", *workers)
    assert set(subject.parseoutcomes()) == {"passed"}
    unknown = run(pytester, *ALL, "trainguard::outputs/heal", *workers)
    unknown.assert_outcomes(failed=1)
    unknown.stdout.fnmatch_lines(["no item is called trainguard::outputs/heal"])
    without = run(pytester, whole, *workers)
    assert without.ret == pytest.ExitCode.USAGE_ERROR


@pytest.mark.usefixtures("outputs")
def test_workers_collect_alike_and_send_what_they_found(pytester: pytest.Pytester) -> None:
    alone, together = run(pytester, *ALL), run(pytester, *ALL, "-n", "2", "--dist", "load")

    assert alone.parseoutcomes() == together.parseoutcomes()
    first, second = (section(result) for result in (alone, together))
    assert first == second
    assert second[-1] == "4 errors: 2 causes, 2 symptoms"


@pytest.mark.usefixtures("outputs")
def test_the_summary_says_something_only_if_there_is_something(pytester: pytest.Pytester) -> None:
    clean = run(pytester, "--trainguard", "outputs/healthy")
    assert set(clean.parseoutcomes()) == {"passed"}
    assert "= trainguard" not in clean.stdout.str()
    assert "trainguard: 0" not in clean.stdout.str()
    run(pytester, "--trainguard", "outputs/healthy", "-v").stdout.fnmatch_lines(
        ["trainguard: *, paths: outputs/healthy, fails on: error"]
    )


def test_a_warning_fails_only_if_it_should(pytester: pytest.Pytester, outputs: Path) -> None:
    state = outputs / "run" / "trainer_state.json"
    state.write_text(state.read_text().replace("NaN", "1.0").replace('"loss": 0.0', '"loss": 2.0'))
    one = ("--trainguard", "outputs/run", "--trainguard-select", "constant-loss,TG504")
    mild = run(pytester, *one, "--trainguard-fail-on", "never")
    assert mild.ret == pytest.ExitCode.OK
    mild.stdout.fnmatch_lines(["*= trainguard =*", "*constant-loss: *"])
    assert run(pytester, *one, "--trainguard-fail-on", "warning").parseoutcomes()["failed"] == 1


@pytest.mark.usefixtures("outputs")
def test_checks_are_selected_and_left_out(pytester: pytest.Pytester) -> None:
    chosen = run(pytester, *ALL, "--trainguard-select", "TG105,TG501", "--collect-only", "-q")
    assert {one.rpartition("::")[2][:5] for one in ids(chosen)} <= {"TG000", "TG105", "TG501"}
    left = run(pytester, *ALL, "--trainguard-ignore", "TG5", "--trainguard-ignore", "TG105,TG401")
    assert left.ret == pytest.ExitCode.OK
    wrong = run(pytester, *ALL, "--trainguard-select", "untrained-adaptor")
    assert wrong.ret == pytest.ExitCode.USAGE_ERROR
    wrong.stderr.fnmatch_lines(["*no check is called untrained-adaptor; did you mean untrained-*"])


@pytest.mark.usefixtures("outputs")
def test_the_last_failed_item_is_run_again(pytester: pytest.Pytester) -> None:
    first = pytester.runpytest_subprocess("--trainguard", "outputs/untrained")
    assert first.parseoutcomes()["failed"] == 1
    again = pytester.runpytest_subprocess("--trainguard", "outputs/untrained", "--lf")
    again.assert_outcomes(failed=1, deselected=again.parseoutcomes()["deselected"])


@pytest.mark.usefixtures("outputs")
def test_junit_names_code_and_place(pytester: pytest.Pytester) -> None:
    run(pytester, *ALL, "-k", "TG105", "--junitxml=report.xml")
    cases = ElementTree.parse(pytester.path / "report.xml").iter("testcase")
    properties = {
        case.get("classname"): {p.get("name"): p.get("value") for p in case.iter("property")}
        for case in cases
    }
    assert properties["trainguard.outputs/healthy"] == {}
    assert properties["trainguard.outputs/untrained"]["trainguard.code"] == "TG105"
    assert properties["trainguard.outputs/untrained"]["trainguard.place"].endswith("safetensors")


@pytest.mark.usefixtures("outputs")
def test_configured_paths_are_collected_where_pytest_is_called_without_files(
    pytester: pytest.Pytester,
) -> None:
    pytester.makeini("[pytest]\ntrainguard_paths = outputs/healthy later")
    pytester.makepyfile(test_own="def test_own(): pass")

    broad = run(pytester, "-rs")
    assert broad.parseoutcomes()["passed"] > 20
    broad.stdout.fnmatch_lines(["SKIPPED*nothing was recognised to check in later"])
    run(pytester, "test_own.py").assert_outcomes(passed=1)
    run(pytester, "trainguard::outputs/healthy::TG105[untrained-adapter]").assert_outcomes(passed=1)


def test_a_path_that_is_missing_or_holds_nothing_is_no_success(pytester: pytest.Pytester) -> None:
    missing = run(pytester, "--trainguard", "missing")
    assert missing.ret == pytest.ExitCode.USAGE_ERROR
    missing.stderr.fnmatch_lines(["*--trainguard: missing does not exist"])
    (pytester.path / "empty").mkdir()
    for workers in ((), ("-n", "1")):
        empty = run(pytester, "--trainguard", "empty", *workers)
        empty.assert_outcomes(failed=1)
        empty.stdout.fnmatch_lines(["nothing was recognised to check in empty"])


def test_a_broken_file_fails_and_hides_nothing(pytester: pytest.Pytester, outputs: Path) -> None:
    (outputs / "run" / "trainer_state.json").write_text("{")
    result = run(pytester, "--trainguard", "outputs/run")
    result.stdout.fnmatch_lines(["FAILED trainguard::outputs/run::TG000[[]could-not-look[]]*"])
    assert "passed" not in result.parseoutcomes()


@pytest.mark.skipif(os.name == "nt", reason="such names are not allowed")
def test_odd_names_reach_no_terminal_and_break_no_worker(
    pytester: pytest.Pytester, outputs: Path
) -> None:
    odd = os.fsdecode(b"bad\x1b[31m \xff name")
    (outputs / "untrained").rename(outputs / odd)
    result = run(pytester, "--trainguard", "outputs", "-k", "TG105", "-n", "1")

    assert result.parseoutcomes()["failed"] == 1
    assert "\x1b[31m " not in result.stdout.str()
    assert "bad\\x1b[31m \\udcff name" in result.stdout.str()


def test_what_the_plugin_loads_and_that_it_can_be_switched_off(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import sys

        def test_nothing_heavy():
            loaded = {"torch", "transformers", "numpy", "hypothesis", "trainguard.checks",
                      "trainguard.engine", "trainguard.testing"} & set(sys.modules)
            assert "trainguard.pytest_plugin" in sys.modules
            assert not loaded
        """
    )
    quiet = ("-p", "no:hypothesispytest", "-p", "no:hypothesis")
    run(pytester, *quiet).assert_outcomes(passed=1)
    off = run(pytester, "-p", "no:trainguard", "--trainguard", ".")
    assert off.ret == pytest.ExitCode.USAGE_ERROR
    pytester.makepyfile("def test_no_fixture(trainguard): pass")
    run(pytester, "-p", "no:trainguard").assert_outcomes(errors=1)


@pytest.mark.usefixtures("outputs")
def test_files_are_checked_where_torch_cannot_be_imported(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The interpreter refuses torch and what needs it, as where they are not installed."""
    pytester.makepyfile(
        sitecustomize="""
        import sys

        class Refusing:
            def find_spec(self, name, path=None, target=None):
                if name.partition(".")[0] in ("torch", "transformers", "peft", "safetensors"):
                    raise ModuleNotFoundError(f"No module named {name!r}", name=name)

        sys.meta_path.insert(0, Refusing())
        """,
        test_own="""
        import pytest

        def test_refused():
            with pytest.raises(ModuleNotFoundError):
                import torch

        def test_files(trainguard):
            assert "TG105" in trainguard.check("outputs/healthy").checked

        def test_untrained(trainguard):
            trainguard.check("outputs/untrained")
        """,
    )
    monkeypatch.setenv("PYTHONPATH", str(pytester.path), prepend=os.pathsep)
    result = run(pytester, *ALL, "-k", "test_own or TG105 or TG501")

    outcomes = result.parseoutcomes()
    assert (outcomes["failed"], outcomes["passed"]) == (3, 3)
