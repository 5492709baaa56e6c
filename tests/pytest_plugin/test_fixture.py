"""The fixture, the marker and the explanations of comparisons, in real pytest runs."""

from __future__ import annotations

from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
tiny = pytest.importorskip("tiny")

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


def test_every_way_in_is_judged_when_it_ends(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(tiny.__file__).parent))
    pytester.makepyfile(
        """
        import pytest, torch
        import tiny

        def batch():
            rows = tiny.rows(4)
            return {name: torch.tensor(rows[name]) for name in ("input_ids", "labels")}

        def test_preflight(trainguard):
            assert trainguard.preflight(tiny.model(), batch()).checked

        def test_preflight_of_a_frozen_model(trainguard):
            trainguard.preflight(tiny.model().requires_grad_(False), batch())

        def test_trainer(trainguard, tmp_path):
            trainer = tiny.trainer(tiny.model(), tmp_path)
            with trainguard.attach(trainer) as callback:
                trainer.train()
            assert callback not in trainer.callback_handler.callbacks

        def test_poisoned_trainer(trainguard, tmp_path):
            trainer = tiny.trainer(tiny.model(), tmp_path, tiny.poisoned(3))
            with trainguard.attach(trainer):
                trainer.train()

        def test_that_raises(trainguard):
            model = torch.nn.Linear(3, 1)
            optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
            with trainguard.watch(model, optimizer):
                (model(torch.ones(2, 3)).sum() * float("nan")).backward()
                optimizer.step()
                raise KeyError("own")
        """
    )
    result = pytester.runpytest_subprocess("-p", "no:cacheprovider")

    result.assert_outcomes(passed=2, failed=3)
    result.stdout.fnmatch_lines(["*error[[]TG202[]]*", "*error[[]TG501[]]*", "E *KeyError: 'own'"])
    result.stdout.fnmatch_lines(["*Captured trainguard call*", "error[[]TG*nonfinite-*"])


def test_the_marker_says_which_findings_count(pytester: pytest.Pytester, adapters: Path) -> None:
    pytester.makeini("[pytest]\naddopts = --strict-markers")
    pytester.makepyfile(
        f"""
        import pytest

        PATH = {str(adapters / "untrained")!r}

        @pytest.mark.trainguard(ignore=["untrained-adapter"])
        class TestIgnored:
            def test_ignored(self, trainguard):
                assert trainguard.check(PATH).findings == ()

            @pytest.mark.trainguard(ignore="TG101", fail_on="warning")
            def test_both_ignored(self, trainguard):
                assert not {{"TG101", "TG105"}} & set(trainguard.check(PATH).checked)

        @pytest.mark.trainguard(select=["TG101"])
        def test_selected(trainguard):
            assert "TG105" not in trainguard.check(PATH).checked

        @pytest.mark.trainguard(fail_on="never")
        def test_never(trainguard):
            assert trainguard.check(PATH).findings

        @pytest.mark.trainguard(select=["no-such-check"])
        def test_unknown_check(trainguard): pass

        @pytest.mark.trainguard(ignored=["TG105"])
        def test_unknown_argument(trainguard): pass

        @pytest.mark.trainguard(fail_on="grave")
        def test_unknown_severity(trainguard): pass
        """
    )
    result = pytester.runpytest_subprocess("-p", "no:cacheprovider")

    result.assert_outcomes(passed=4, errors=3)
    result.stdout.fnmatch_lines(["*no check is called no-such-check*"])
    result.stdout.fnmatch_lines(["*has an argument ignored; it takes select, ignore, fail_on*"])
    result.stdout.fnmatch_lines(["*fail_on is 'grave'; use 'error', *"])
    result.stdout.fnmatch_lines(["*= trainguard =*", "*error[[]TG105[]]*", "1 error: 1 cause"])
    quiet = pytester.runpytest_subprocess("-k", "test_never", "--trainguard-ignore", "TG105")
    quiet.assert_outcomes(failed=1, deselected=6)  # nothing is left to be found


def test_a_comparison_of_findings_shows_their_frames(
    pytester: pytest.Pytester, adapters: Path
) -> None:
    pytester.makepyfile(
        f"""
        import trainguard

        def test_none():
            assert trainguard.check({str(adapters / "untrained")!r}).findings == ()

        def test_more():
            assert () == trainguard.check({str(adapters / "untrained")!r}).findings

        def test_others():
            assert (1, 2) == (1, 3)
        """
    )
    result = pytester.runpytest_subprocess("-p", "no:cacheprovider", "-vv")

    result.assert_outcomes(failed=3)
    result.stdout.fnmatch_lines(
        ["E *assert 1 finding == no finding", "E *only in the left one:", "E *error[[]TG105[]]*"]
    )
    result.stdout.fnmatch_lines(["E *only in the right one:"])
    result.stdout.fnmatch_lines(["E *At index 1 diff: 2 != 3"])
