"""Checks over the steps of a run: what fires, what stays quiet, and why that does not depend on
noise, scale or length; then each fault planted in a real run beside its healthy twin.
"""

from __future__ import annotations

import math
import random
import statistics
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import Trainer, TrainerCallback

from trainguard import TrainGuardCallback, watch
from trainguard.checks._trend import at_peak_rate, lasting_rise, median, start_of_end_above
from trainguard.checks.gradients.exploding_gradients import exploding_gradients
from trainguard.checks.gradients.gradients_zeroed_before_step import gradients_zeroed_before_step
from trainguard.checks.gradients.lost_to_rounding import lost_to_rounding
from trainguard.checks.gradients.skipped_steps import skipped_steps
from trainguard.checks.gradients.vanishing_or_exploding_step import vanishing_or_exploding_step
from trainguard.checks.loss.diverging_loss import diverging_loss
from trainguard.checks.loss.laundered_loss import laundered_loss
from trainguard.checks.loss.loss_spike import loss_spike
from trainguard.checks.loss.overfitting import overfitting
from trainguard.checks.loss.overwritten_log import overwritten_log
from trainguard.facts.model import ModelFacts
from trainguard.facts.steps import StepFacts
from trainguard.findings import Finding, NotChecked, Precision, Severity
from trainguard.gather.model import model_facts

import tiny

Verdicts = Iterable[Finding | NotChecked]

positive = st.floats(1e-6, 1e6)
seeds = st.integers(0, 2**32)


def findings(verdicts: Verdicts) -> list[Finding]:
    return [verdict for verdict in verdicts if isinstance(verdict, Finding)]


def curve(losses: Sequence[float], norms: Sequence[float] | None = None) -> list[StepFacts]:
    norms = norms or [1.0] * len(losses)
    return [
        StepFacts(step=number, loss=loss, grad_norm=norm)
        for number, (loss, norm) in enumerate(zip(losses, norms, strict=True), start=1)
    ]


def noise(seed: int, count: int, level: float, sigma: float) -> list[float]:
    """Independent values around a level, with the skewed tail that batch losses have."""
    rng = random.Random(seed)
    return [level * math.exp(rng.gauss(0.0, sigma)) for _ in range(count)]


# Statistics


@given(st.lists(st.floats(-1e6, 1e6), min_size=1))
def test_the_median_is_the_middle(values: list[float]) -> None:
    assert median(values) == pytest.approx(statistics.median(values))


@given(st.lists(positive), positive)
def test_the_end_above_a_threshold_is_maximal(values: list[float], threshold: float) -> None:
    start = start_of_end_above(values, threshold)

    assert all(value > threshold for value in values[start:])
    assert start == 0 or values[start - 1] <= threshold


@given(seeds, st.integers(16, 120), st.integers(-20, 20))
def test_a_rise_does_not_depend_on_the_unit(seed: int, count: int, exponent: int) -> None:
    values = noise(seed, count, 1.0, 0.1) + noise(seed + 1, count, 9.0, 0.1)
    unit = 2.0**exponent
    rise, scaled = (
        lasting_rise([factor * value for value in values], 3.0, factor * 0.5)
        for factor in (1.0, unit)
    )

    assert rise is not None
    assert scaled is not None
    assert scaled.onset == rise.onset
    assert scaled.level == pytest.approx(unit * rise.level)


@given(st.lists(positive, min_size=2, max_size=60))
def test_a_rising_rate_has_no_steps_behind_its_peak(rates: list[float]) -> None:
    warm_up = [
        StepFacts(step=number, learning_rates=(rate,))
        for number, rate in enumerate(sorted(set(rates)), start=1)
    ]

    assert [step.step for step in at_peak_rate(warm_up)] == [len(warm_up)]
    assert at_peak_rate(warm_up[1:]) == []  # the first step is not among them


# Loss


@given(seeds, st.integers(16, 200), st.floats(0.05, 20.0), st.floats(0.0, 0.6))
def test_noise_around_a_level_is_no_trend(
    seed: int, count: int, level: float, sigma: float
) -> None:
    run = curve(noise(seed, count, level, sigma), noise(seed + 1, count, level, sigma))

    for judge in (diverging_loss, loss_spike, exploding_gradients):
        assert findings(judge(run)) == []


@given(seeds, st.integers(16, 200), st.floats(0.0, 0.3))
def test_a_falling_loss_does_not_diverge(seed: int, count: int, sigma: float) -> None:
    falling = [
        value * (1.0 + 9.0 * 0.97**number)
        for number, value in enumerate(noise(seed, count, 1.0, sigma))
    ]

    assert findings(diverging_loss(curve(falling))) == []


@given(seeds, st.integers(8, 100), st.integers(20, 60), st.floats(0.0, 0.15), st.floats(8.0, 1e4))
def test_a_lasting_rise_diverges_whatever_the_noise(
    seed: int, before: int, after: int, sigma: float, factor: float
) -> None:
    losses = noise(seed, before, 1.5, sigma) + noise(seed + 1, after, 1.5 * factor, sigma)
    (finding,) = findings(diverging_loss(curve(losses)))

    assert finding.location.step == before + 1


@given(seeds, st.integers(16, 60), st.integers(1, 7), st.floats(2.0, 1e4))
def test_a_rise_that_is_too_recent_is_not_judged(
    seed: int, before: int, after: int, factor: float
) -> None:
    losses = noise(seed, before, 1.5, 0.1) + noise(seed + 1, after, 1.5 * factor, 0.1)

    assert findings(diverging_loss(curve(losses))) == []


@given(seeds, st.integers(9, 60), st.integers(17, 60), st.floats(20.0, 1e5))
def test_a_spike_is_found_where_the_outsize_gradient_is(
    seed: int, before: int, after: int, outsize: float
) -> None:
    losses = noise(seed, before + 1, 1.5, 0.1) + noise(seed + 1, after, 6.0, 0.1)
    norms = noise(seed + 2, before + 1 + after, 1.0, 0.1)
    norms[before] = outsize
    (finding,) = findings(loss_spike(curve(losses, norms)))
    recovered = [*losses, 1.5]

    assert finding.location.step == before + 1
    assert findings(loss_spike(curve(recovered, [*norms, 1.0]))) == []


def test_the_loss_of_a_policy_gradient_is_not_judged() -> None:
    (verdict,) = diverging_loss(curve([0.0, *noise(0, 15, 0.01, 0.5), *noise(0, 20, 9.0, 0.5)]))

    assert isinstance(verdict, NotChecked)


@given(st.floats(0.1, 10.0), st.floats(1.0, 1.03), st.floats(1.11, 5.0))
def test_overfitting_needs_a_clear_rise(start: float, slight: float, clear: float) -> None:
    def run(last: Sequence[float]) -> list[StepFacts]:
        evaluations = [2 * start, start, *(start * factor for factor in last)]
        return [
            StepFacts(
                step=number,
                loss=10.0 / number,
                eval_loss=evaluations[number // 5 - 1] if number % 5 == 0 else None,
            )
            for number in range(1, 5 * len(evaluations) + 1)
        ]

    assert findings(overfitting(run([slight, slight**2, slight**3]))) == []
    assert len(findings(overfitting(run([clear, clear**2, clear**3])))) == 1
    assert findings(overfitting(run([clear, clear**2, clear**3, 1.0]))) == []


@given(positive, st.integers(2, 6))
def test_a_rounded_log_is_not_overwritten(loss: float, digits: int) -> None:
    step = StepFacts(step=1, logged_loss=loss, printed_loss=round(loss, digits))
    other = StepFacts(step=1, logged_loss=loss, printed_loss=1.02 * loss + 0.006)

    assert findings(overwritten_log([step])) == []
    assert [one.severity for one in findings(overwritten_log([other]))] == [Severity.WARNING]


@pytest.mark.parametrize("logged", [math.nan, math.inf])
def test_a_log_that_hides_a_nan_is_an_error(logged: float) -> None:
    steps = [
        StepFacts(step=1, logged_loss=4.0, printed_loss=2.0),
        StepFacts(step=2, logged_loss=logged, printed_loss=2.0),
    ]
    (finding,) = findings(overwritten_log(steps))

    assert (finding.severity, finding.location.step) == (Severity.ERROR, 2)
    assert (
        findings(overwritten_log([StepFacts(step=1, logged_loss=logged, printed_loss=logged)]))
        == []
    )


@given(st.lists(positive, min_size=1, max_size=30), st.floats(0.01, 100.0))
def test_a_laundered_loss_is_proven_by_a_constant_ratio(losses: list[float], scale: float) -> None:
    healthy = [
        StepFacts(step=number, model_loss=loss, loss=scale * loss)
        for number, loss in enumerate(losses, start=1)
    ]
    bad = StepFacts(step=len(losses) + 1, model_loss=math.nan, loss=1.0)
    unrelated = StepFacts(step=len(losses) + 2, model_loss=1.0, loss=2.0 * scale)

    assert findings(laundered_loss(healthy)) == []
    (proven,) = findings(laundered_loss([*healthy, bad]))
    assert (proven.severity, proven.precision) == (Severity.ERROR, Precision.EXACT)
    (likely,) = findings(laundered_loss([*healthy, bad, unrelated]))
    assert (likely.severity, likely.precision) == (Severity.ERROR, Precision.HIGH)


# Gradients and updates


@given(st.lists(st.booleans(), max_size=40))
def test_ten_skips_in_a_row_are_a_fault(ran: list[bool]) -> None:
    steps = [StepFacts(step=number, stepped=one) for number, one in enumerate(ran, start=1)]
    in_a_row = "".join("r" if one else "s" for one in ran)

    assert bool(findings(skipped_steps(steps))) == ("s" * 10 in in_a_row)


def test_an_optimizer_that_steps_out_of_sight_is_not_skipped() -> None:
    steps = [StepFacts(step=n, stepped=False, sampled=64, moved=60) for n in range(1, 20)]

    assert findings(skipped_steps(steps)) == []


@given(st.integers(200, 4096), st.floats(0.0, 1.0), st.floats(1e-9, 1.0), st.integers(5, 40))
def test_rounding_is_judged_by_the_share_that_moved(
    sampled: int, share: float, rate: float, count: int
) -> None:
    moved = round(share * sampled)
    steps = [
        StepFacts(step=number, learning_rates=(rate,), sampled=sampled, moved=moved)
        for number in range(1, count + 1)
    ]

    assert bool(findings(lost_to_rounding(steps, None))) == (0 < moved < 0.25 * sampled)
    assert findings(lost_to_rounding(steps, _model("float32"))) == []


@given(st.floats(1e-14, 9e-9), st.integers(5, 40), st.integers(0, 40))
def test_small_updates_are_judged_at_the_highest_rate_only(
    ratio: float, count: int, warm_up: int
) -> None:
    def step(number: int, rate: float, update: float) -> StepFacts:
        return StepFacts(step=number, learning_rates=(rate,), update_ratio=update)

    start = [step(number, 1e-9 * number, ratio) for number in range(1, warm_up + 1)]
    at_peak = range(warm_up + 1, warm_up + count + 1)
    tail = [step(warm_up + count + number, 1e-9, ratio) for number in range(1, 41)]
    low = [*start, *(step(number, 1e-3, ratio) for number in at_peak), *tail]
    usual = [*start, *(step(number, 1e-3, 1e-5) for number in at_peak), *tail]

    assert len(findings(vanishing_or_exploding_step(low))) == 1
    assert findings(vanishing_or_exploding_step(usual)) == []
    assert findings(vanishing_or_exploding_step(start)) == []
    assert findings(vanishing_or_exploding_step(tail)) == []


@given(seeds, st.floats(0.1, 50.0), st.integers(16, 60))
def test_a_large_update_is_a_fault_if_the_loss_never_recovers(
    seed: int, ratio: float, count: int
) -> None:
    after = noise(seed, count, 8.0, 0.1)
    steps = [
        StepFacts(step=1, loss=1.5, update_ratio=ratio, learning_rates=(0.5,)),
        *(StepFacts(step=number, loss=loss) for number, loss in enumerate(after, start=2)),
    ]

    (finding,) = findings(vanishing_or_exploding_step(steps))
    assert finding.location.step == 1
    recovered = [*steps, StepFacts(step=count + 2, loss=2.0)]
    assert findings(vanishing_or_exploding_step(recovered)) == []
    assert findings(vanishing_or_exploding_step(steps[:16])) == []


@given(seeds, st.integers(8, 60), st.integers(15, 60), st.floats(2000.0, 1e8))
def test_gradients_explode_by_orders_of_magnitude(
    seed: int, before: int, after: int, factor: float
) -> None:
    small, large = noise(seed, before, 1.0, 0.3), noise(seed + 1, after, factor, 0.3)
    (finding,) = findings(exploding_gradients(curve([1.0] * (before + after), small + large)))

    assert finding.location.step == before + 1
    back = [*small, *large, 1.0]
    assert findings(exploding_gradients(curve([1.0] * len(back), back))) == []


@given(st.lists(st.booleans(), min_size=1, max_size=30))
def test_three_zeroed_steps_in_a_row_are_a_fault(zeroed: list[bool]) -> None:
    steps = [
        StepFacts(step=number, grad_norm=1.0, sampled=64, zeroed=64 if one else 10)
        for number, one in enumerate(zeroed, start=1)
    ]
    in_a_row = "".join("z" if one else "-" for one in zeroed)

    assert bool(findings(gradients_zeroed_before_step(steps))) == ("zzz" in in_a_row)


def _model(dtype: str) -> ModelFacts:
    return ModelFacts(
        tensors=1, trainable_tensors=1, elements=1, trainable_elements=1, trainable_dtypes=(dtype,)
    )


# Faults planted in real runs


class Laundering(Trainer):
    """From the third step on the model is broken, and a constant stands for its NaN."""

    def compute_loss(self, model: Any, inputs: Any, *_: Any, **options: Any) -> Any:
        if self.state.global_step == 2:
            with torch.no_grad():
                model.lm_head.weight[0, 0] = torch.nan
        outputs = model(**inputs)
        loss = outputs.loss
        return loss if loss.isfinite() else torch.zeros((), requires_grad=True)


class Zeroing(TrainerCallback):
    def on_pre_optimizer_step(self, *_: Any, model: Any, **__: Any) -> None:
        model.zero_grad()


class Replacing(TrainerCallback):
    """Makes numbers of NaN gradients."""

    def on_pre_optimizer_step(self, *_: Any, model: Any, **__: Any) -> None:
        for parameter in model.parameters():
            parameter.grad.nan_to_num_(0.0)


class Cosmetic(TrainerCallback):
    def on_log(self, *_: Any, logs: dict[str, Any], **__: Any) -> None:
        if "loss" in logs:
            logs["loss"] *= 0.5


class BrokenGradients(Trainer):
    def training_step(self, *args: Any, **options: Any) -> Any:
        loss = super().training_step(*args, **options)
        for parameter in self.model.parameters():
            parameter.grad.fill_(torch.nan)
        return loss


def codes(folder: Path, model: Any, kind: type[Trainer] = Trainer, **options: Any) -> set[str]:
    guard = TrainGuardCallback()
    callbacks = [guard, *options.pop("callbacks", ())]
    tiny.trainer(model, folder, kind, callbacks=callbacks, **options).train()
    return {finding.code for finding in guard.report.causes}


@pytest.mark.parametrize(
    ("code", "kind", "callbacks"),
    [
        ("TG505", Laundering, []),
        ("TG404", Trainer, [Zeroing()]),
        ("TG404", BrokenGradients, [Replacing()]),
        ("TG506", Trainer, [Cosmetic()]),
    ],
)
def test_what_is_laundered_in_a_real_run_is_seen(
    code: str, kind: type[Trainer], callbacks: list[TrainerCallback], tmp_path: Path
) -> None:
    assert code in codes(tmp_path, tiny.model(), kind, callbacks=callbacks)


def test_a_real_run_without_it_is_clean(tmp_path: Path) -> None:
    assert codes(tmp_path, tiny.model()) == set()


@pytest.mark.parametrize(
    ("dtype", "rate", "expected"),
    [
        (torch.bfloat16, 1e-5, {"TG407"}),
        (torch.bfloat16, 1e-3, set()),
        (torch.float32, 1e-5, set()),
        (torch.float32, 1e-10, {"TG406"}),
    ],
)
def test_updates_of_a_real_run_are_lost_or_kept(
    dtype: torch.dtype, rate: float, expected: set[str], tmp_path: Path
) -> None:
    found = codes(
        tmp_path, tiny.model().to(dtype), max_steps=12, learning_rate=rate, warmup_steps=2
    )

    assert found & {"TG406", "TG407"} == expected


@pytest.fixture(scope="module")
def learned(tmp_path_factory: pytest.TempPathFactory) -> dict[str, torch.Tensor]:
    """Weights of a model that has learned its rows."""
    model = tiny.model()
    folder = tmp_path_factory.mktemp("learned")
    tiny.trainer(model, folder, max_steps=240, learning_rate=5e-3).train()
    return model.state_dict()


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"learning_rate": 1e-5}, set()),
        ({"learning_rate": 1e-3, "warmup_steps": 5}, set()),
        ({"learning_rate": 0.5}, {"TG406"}),
        ({"learning_rate": 0.5, "warmup_steps": 30}, {"TG507"}),
    ],
)
def test_a_trained_model_is_destroyed_or_trained_further(
    options: dict[str, Any], expected: set[str], learned: Any, tmp_path: Path
) -> None:
    model = tiny.model()
    model.load_state_dict(learned)

    assert codes(tmp_path, model, max_steps=40, **options) == expected


def test_rows_learned_by_heart_are_seen_beside_new_ones(tmp_path: Path) -> None:
    evaluation = {"eval_strategy": "steps", "eval_steps": 10, "max_steps": 90}
    options = {**evaluation, "learning_rate": 5e-3, "lr_scheduler_type": "constant"}
    new = codes(tmp_path, tiny.model(), eval_dataset=tiny.rows(16, seed=1), **options)
    same = codes(tmp_path, tiny.model(), eval_dataset=tiny.rows(16), **options)

    assert "TG510" in new
    assert same == set()


def _batches(model: torch.nn.Module, count: int) -> Iterator[torch.Tensor]:
    for seed in range(count):
        batch = {name: torch.tensor(values) for name, values in tiny.rows(8, seed)[:].items()}
        yield model(**batch).loss


@pytest.mark.parametrize(
    ("build", "dtypes", "fires"),
    [
        (lambda: tiny.model().half(), ("float16",), True),
        (lambda: tiny.model().bfloat16(), ("bfloat16",), False),
        (lambda: tiny.lora(tiny.model().half()), ("float32",), False),
    ],
    ids=["float16", "bfloat16", "LoRA on float16"],
)
def test_the_precision_of_what_is_trained(
    build: Callable[[], Any], dtypes: tuple[str, ...], fires: bool
) -> None:
    model = build()
    assert model_facts(model).trainable_dtypes == dtypes

    optimizer = torch.optim.AdamW((p for p in model.parameters() if p.requires_grad), lr=1e-4)
    with watch(model, optimizer) as guard:
        for loss in _batches(model, 3):
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()

    assert ("TG204" in {cause.code for cause in guard.report.causes}) == fires


def test_a_scaler_that_never_recovers_is_seen_in_the_record() -> None:
    model = torch.nn.Linear(4, 4)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    scaler = torch.amp.GradScaler("cpu", init_scale=4.0)
    steps = []
    for number in range(1, 13):
        ran: list[bool] = []
        hook = optimizer.register_step_post_hook(lambda *_, ran=ran: ran.append(True))
        scaler.scale(model(torch.full((2, 4), torch.inf)).sum()).backward()
        scaler.step(optimizer)
        scaler.update()
        optimizer.zero_grad()
        hook.remove()
        steps.append(StepFacts(step=number, stepped=bool(ran)))

    (finding,) = findings(skipped_steps(steps))
    assert finding.evidence == {"steps": 12, "observed": 12}
