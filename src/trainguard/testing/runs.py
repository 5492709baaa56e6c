"""Assertions on whole pieces of training code: equivalence, resumption, precision, host syncs."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from trainguard.testing._running import Loss, default_optimizer, listed, own_loss, trained
from trainguard.testing._state import kept, seed_everything

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module
    from torch.optim import Optimizer

Parts = Sequence[Any]
"""What a run consists of, the model first: objects with `state_dict` and `load_state_dict`."""
#: Operations that copy a number from the device to the host, which waits for the device.
_SYNCS = ("_local_scalar_dense", "nonzero", "masked_select", "_unique2", "equal")
#: Counts its steps on the host, whose tensors make nothing wait.
_HOST_CODE = "torch/optim/"


def assert_equivalent_training(
    model: Module,
    first: Callable[[], object],
    second: Callable[[], object],
    optimizer: Optimizer | None = None,
    *,
    tolerance: float = 1e-5,
    seed: int = 0,
) -> None:
    """Assert that two ways to train from the same state give the same weights.

        assert_equivalent_training(
            model,
            lambda: step(model, optimizer, [batch]),
            lambda: step(model, optimizer, split(batch, 4)),  # gradient accumulation
            optimizer,
        )

    Model and optimizer are as before afterwards. SGD shows differences of the gradients as they
    are; the first steps of Adam depend on their signs alone.

    Args:
        model: the module that both train.
        first: makes some steps.
        second: makes steps that should come to the same.
        optimizer: the one that both use.
        tolerance: largest absolute difference of a weight, in units of its largest change.
        seed: of Python's, numpy's and torch's generators before each.

    Raises:
        AssertionError: names the parameters that differ, or neither changes any.
    """
    __tracebackhide__ = True
    before = _weights(model)
    results = []
    for way in (first, second):
        with kept(model, optimizer):
            seed_everything(seed)
            way()
            results.append(_weights(model))
    one, other = results
    change = max(_largest(one[name] - before[name]) for name in before)
    if change == 0 and max(_largest(other[name] - before[name]) for name in before) == 0:
        raise AssertionError("neither of the two changes a weight")
    apart = {name: _largest(one[name] - other[name]) for name in before}
    # Written so that NaN counts as a difference.
    if differing := [name for name, most in apart.items() if not most <= tolerance * change]:
        worst = max(differing, key=lambda name: apart[name])
        raise AssertionError(
            f"{len(differing)} of {len(before)} parameters differ, {worst} by up to "
            f"{apart[worst]:.2g} where the largest change is {change:.2g}: {listed(differing)}"
        )


def assert_resume_equivalent(
    setup: Callable[[], Parts],
    step: Callable[[Parts, int], object],
    *,
    steps: int = 6,
    resume_at: int = 3,
    save: Callable[[Parts, Path], object] | None = None,
    load: Callable[[Parts, Path], object] | None = None,
    seed: int = 0,
    tolerance: float = 0.0,
) -> None:
    """Assert that a run that is saved, set up anew and resumed ends like one that goes through.

    What is missing in the checkpoint shows: the optimizer's moments, the schedule, the scaler.

        def setup():
            model = build(); optimizer = AdamW(model.parameters())
            return model, optimizer, get_scheduler(optimizer)

        assert_resume_equivalent(setup, lambda parts, index: train_step(*parts, batches[index]))

    Args:
        setup: makes the parts of a run, the model first; seeded alike each time.
        step: makes the optimizer step of an index, from 0; seeded by the index.
        steps: of the whole run.
        resume_at: steps before it is saved, 1 or more.
        save: writes the parts into a folder; by default `torch.save` of all state dicts.
        load: reads them into parts that were set up anew.
        seed: of Python's, numpy's and torch's generators.
        tolerance: largest absolute difference of a weight.

    Raises:
        AssertionError: names the parameters that differ.
        ValueError: `resume_at` is not between the first and the last step.
    """
    __tracebackhide__ = True
    from trainguard.gather.evaluation_state import preserved

    if not 0 < resume_at < steps:
        raise ValueError(f"resume_at is {resume_at}; use 1 to {steps - 1}")

    def made() -> Parts:
        seed_everything(seed)
        return setup()

    def advance(parts: Parts, start: int, end: int) -> Parts:
        for index in range(start, end):
            seed_everything(seed + index + 1)
            step(parts, index)
        return parts

    with preserved(()), TemporaryDirectory() as name:
        through = advance(made(), 0, steps)
        folder = Path(name)
        (save or _save)(advance(made(), 0, resume_at), folder)
        resumed = made()
        (load or _load)(resumed, folder)
        advance(resumed, resume_at, steps)
    one, other = _weights(through[0]), _weights(resumed[0])
    apart = {name: _largest(one[name] - other[name]) for name in one}
    if differing := [name for name, most in apart.items() if not most <= tolerance]:
        raise AssertionError(
            f"{len(differing)} of {len(one)} parameters differ by up to "
            f"{max(apart.values()):.2g} after resuming at step {resume_at} of {steps}: "
            f"{listed(differing)}"
        )


def assert_mixed_precision_step(
    model: Module,
    batch: Any,
    optimizer: Optimizer | None = None,
    *,
    loss: Loss | None = None,
    dtype: Any = None,
    steps: int = 3,
    tolerance: float = 0.1,
) -> None:
    """Assert that steps under autocast give the losses of full precision, nearly.

    Args:
        model: the module, with weights in float32.
        batch: what it is called with.
        optimizer: the one that is to be tested; AdamW with a rate of 1e-3 by default.
        loss: function of the model and the batch; the loss that the model returns by default.
        dtype: of autocast; `torch.bfloat16` by default.
        steps: optimizer steps.
        tolerance: largest difference of two losses, as a share of the one in full precision.

    Raises:
        AssertionError: states both losses, or the weights are not in float32.
    """
    __tracebackhide__ = True
    import torch

    kinds = {str(p.dtype) for p in model.parameters() if p.requires_grad}
    if kinds != {"torch.float32"}:
        raise AssertionError(f"trainable weights have the types {sorted(kinds)}, not float32")
    device = next(model.parameters()).device.type
    kind = dtype or torch.bfloat16
    results = []
    for around in (nullcontext, lambda: torch.autocast(device, dtype=kind)):
        used = optimizer or default_optimizer(model)
        with kept(model, used):
            seed_everything(0)
            results.append(trained(model, batch, used, loss or own_loss, steps, around))
    for index, (whole, mixed) in enumerate(zip(*results, strict=True), start=1):
        if not abs(mixed - whole) <= tolerance * abs(whole):
            raise AssertionError(
                f"step {index}: the loss is {mixed:.4g} under autocast and {whole:.4g} without"
            )


def assert_no_host_sync(work: Callable[[], object]) -> None:
    """Assert that some code reads no tensor's value on the host, as `item()` does.

    On an accelerator each such read waits until everything queued before it is done. This watches
    the operations, so it tells on a machine without one as well. The steps that torch's optimizers
    count on the host are left out.

    Args:
        work: a forward and backward pass, or a whole step; whatever it changes stays changed.

    Raises:
        AssertionError: states the operation and the line that calls it.
    """
    __tracebackhide__ = True
    from torch.utils._python_dispatch import TorchDispatchMode

    found: list[tuple[str, str]] = []

    class Watching(TorchDispatchMode):  # type: ignore[misc]
        def __torch_dispatch__(
            self, function: Any, types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            if (name := function.overloadpacket.__name__) in _SYNCS:
                found.extend(_caller(name))
            return function(*args, **(kwargs or {}))

    with Watching():
        work()
    if found:
        name, line = found[0]
        raise AssertionError(f"{len(found)} reads on the host, the first by {name} at {line}")


def _caller(operation: str) -> list[tuple[str, str]]:
    """The nearest line outside torch and this module; nothing if an optimizer counts its steps."""
    frames = list(traceback.extract_stack())[:-2]
    if any(_HOST_CODE in frame.filename.replace("\\", "/") for frame in frames):
        return []
    own = [f for f in frames if "/torch/" not in f.filename.replace("\\", "/")]
    return [(operation, f"{own[-1].filename}:{own[-1].lineno}: {own[-1].line}")]


def _weights(model: Module) -> dict[str, Tensor]:
    return {name: p.detach().double().clone() for name, p in model.named_parameters()}


def _largest(tensor: Tensor) -> float:
    return float(tensor.abs().max()) if tensor.numel() else 0.0


def _save(parts: Parts, folder: Path) -> None:
    import torch

    torch.save([part.state_dict() for part in parts], folder / "parts.pt")


def _load(parts: Parts, folder: Path) -> None:
    import torch

    states = torch.load(folder / "parts.pt", weights_only=True)
    for part, state in zip(parts, states, strict=True):
        part.load_state_dict(state)
