"""Everything that asking a model questions may change, put back as it was."""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

Restore = Callable[[], object]


@contextmanager
def preserved(roots: Iterable[Any]) -> Iterator[None]:
    """Restore the random states, and the modes and generation configs of the modules given."""
    with ExitStack() as undo:
        for restore in _random_states():
            undo.callback(restore)
        for root in roots:
            undo.callback(_modes(root))
            undo.callback(_generation_configs(root))
        yield


def _random_states() -> Iterator[Restore]:
    """Only libraries that are loaded can have been used."""
    yield _restoring(random.setstate, random.getstate())
    if "numpy" in sys.modules:
        numpy = sys.modules["numpy"]
        yield _restoring(numpy.random.set_state, numpy.random.get_state())
    if "torch" in sys.modules:
        torch = sys.modules["torch"]
        yield _restoring(torch.set_rng_state, torch.get_rng_state())
        if torch.cuda.is_initialized():
            yield _restoring(torch.cuda.set_rng_state_all, torch.cuda.get_rng_state_all())


def _restoring(restore: Callable[[Any], object], state: Any) -> Restore:
    return lambda: restore(state)


def _modes(root: Any) -> Restore:
    modes = [(module, module.training) for module in root.modules()]

    def restore() -> None:
        for module, training in modes:
            module.training = training

    return restore


def _generation_configs(root: Any) -> Restore:
    """Of the modules that hold one themselves: a wrapper only shows that of its inner model."""
    holders = [vars(module) for module in root.modules() if "generation_config" in vars(module)]
    before = [(holder, holder["generation_config"]) for holder in holders]
    contents = [(vars(config), dict(vars(config))) for _, config in before if config is not None]

    def restore() -> None:
        for holder, config in before:
            holder["generation_config"] = config
        for attributes, values in contents:
            attributes.clear()
            attributes.update(values)

    return restore
