"""The plugin in real pytest runs."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import tiny

pytest_plugins = ["pytester"]


@pytest.fixture(scope="module")
def adapters(tmp_path_factory: pytest.TempPathFactory) -> Path:
    top = tmp_path_factory.mktemp("adapters")
    model = tiny.lora(tiny.model())
    model.save_pretrained(str(top / "untrained"))
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.02)
    model.save_pretrained(str(top / "healthy"))
    return top


def test_every_adapter_is_an_item_and_a_bad_one_fails_with_its_diagnosis(
    pytester: pytest.Pytester, adapters: Path
) -> None:
    result = pytester.runpytest_subprocess("--trainguard", str(adapters), "-v")

    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["*error[[]TG105] untrained-adapter*", "help:*"])
    assert "Traceback" not in result.stdout.str()


def test_items_are_selected_by_name_and_run_under_xdist(
    pytester: pytest.Pytester, adapters: Path
) -> None:
    options = ("--trainguard", str(adapters), "-k", "healthy")
    pytester.runpytest_subprocess(*options).assert_outcomes(passed=1, deselected=1)
    pytester.runpytest_subprocess(*options, "-n", "2").assert_outcomes(passed=1)


def test_the_intent_is_passed_on(pytester: pytest.Pytester, adapters: Path) -> None:
    target = str(adapters / "healthy")
    result = pytester.runpytest_subprocess("--trainguard", target, "--trainguard-for", "train")

    result.assert_outcomes(passed=1)


@pytest.mark.parametrize(
    ("target", "message"),
    [("missing", "*missing does not exist*"), (".", "*nothing was recognised to check*")],
)
def test_nothing_to_check_is_a_usage_error(
    pytester: pytest.Pytester, target: str, message: str
) -> None:
    result = pytester.runpytest_subprocess("--trainguard", target)

    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([message])


def test_the_fixture_fails_a_test_on_findings_and_passes_it_without(
    pytester: pytest.Pytester, adapters: Path
) -> None:
    pytester.makepyfile(
        f"""
        import torch

        def test_healthy(trainguard):
            assert trainguard.check({str(adapters / "healthy")!r}).checked

        def test_untrained(trainguard):
            trainguard.check({str(adapters / "untrained")!r})

        def loop(trainguard, factor):
            model = torch.nn.Linear(3, 1)
            optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
            with trainguard.watch(model, optimizer):
                for _ in range(3):
                    (model(torch.ones(2, 3)).sum() * factor).backward()
                    optimizer.step()
                    optimizer.zero_grad()

        def test_loop(trainguard):
            loop(trainguard, 1.0)

        def test_nan_loop(trainguard):
            loop(trainguard, float("nan"))
        """
    )
    result = pytester.runpytest_subprocess()

    result.assert_outcomes(passed=2, failed=2)
    result.stdout.fnmatch_lines(["*error[[]TG105]*", "*error[[]TG502] nonfinite-loss*"])


def test_the_plugin_loads_no_torch_and_can_be_switched_off(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import sys

        def test_nothing_heavy():
            assert not {"torch", "transformers", "numpy"} & set(sys.modules)
        """
    )
    pytester.runpytest_subprocess("-p", "no:hypothesispytest").assert_outcomes(passed=1)
    result = pytester.runpytest_subprocess("-p", "no:trainguard", "--trainguard", ".")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
