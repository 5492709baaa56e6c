"""Which modules a config targets, as PEFT's `check_target_module_exists` decides it."""

from __future__ import annotations

from trainguard.checks.adapter._patterns import UndecidableError, fullmatch
from trainguard.facts.adapter import AdapterConfig

__all__ = [
    "UndecidableError",
    "holds_parameters",
    "is_targeted",
    "names_module",
    "owner",
    "pattern_value",
    "states_targets",
]

ALL_LINEAR = "all-linear"


def owner(module: str) -> str:
    """The targeted module of the base model.

    Wrappers of several target parameters nest in it as `base_layer`, and so does the output layer
    of torch's attention, which PEFT adapts along with the attention.
    """
    path = module.split(".")
    return ".".join(path[: path.index("base_layer")]) if "base_layer" in path else module


def names_module(name: str, module: str) -> bool:
    """Whether a name from a list means the module: all of its path or the end of it."""
    return module == name or module.endswith(f".{name}")


def states_targets(config: AdapterConfig) -> bool:
    """Whether the config says which modules it adapts; otherwise PEFT looks the model up."""
    targets = config.values.get("target_modules")
    return isinstance(targets, list | str) or bool(config.names("target_parameters"))


def is_targeted(config: AdapterConfig, module: str) -> bool:
    """Whether the config has PEFT adapt this module.

    Args:
        config: one that states its targets.
        module: path in the base model.

    Raises:
        UndecidableError: a pattern that cannot be evaluated in bounded time decides.
    """
    return _is_adapted_whole(config, module) or holds_parameters(config, module)


def holds_parameters(config: AdapterConfig, module: str) -> bool:
    """Whether `target_parameters` adapts parameters of this module, as it does with experts.

    A parameter may be named without its module. Then it may be in any that is not adapted whole.

    Raises:
        UndecidableError: see `is_targeted`.
    """
    parents = {name.rpartition(".")[0] for name in config.names("target_parameters")}
    if any(parent and names_module(parent, module) for parent in parents):
        return True
    return "" in parents and not _is_adapted_whole(config, module)


def _is_adapted_whole(config: AdapterConfig, module: str) -> bool:
    return not _is_excluded(config, module) and _is_target_module(config, module)


def pattern_value(config: AdapterConfig, key: str, module: str) -> object:
    """The value that `rank_pattern` or `alpha_pattern` gives the module; None if it gives none.

    Raises:
        UndecidableError: a pattern before the first match cannot be evaluated in bounded time.
    """
    for pattern, value in config.mapping(key).items():
        if fullmatch(rf"(.*\.)?({pattern})", module):
            return value
    return None


def _is_excluded(config: AdapterConfig, module: str) -> bool:
    excluded = config.text("exclude_modules")
    if excluded and fullmatch(excluded, module):
        return True
    if any(names_module(name, module) for name in config.names("exclude_modules")):
        return True
    # What is saved whole is not adapted as well.
    return any(f".{name}." in f".{module}." for name in config.names("modules_to_save"))


def _is_target_module(config: AdapterConfig, module: str) -> bool:
    pattern = config.text("target_modules")
    if pattern is not None:
        return pattern.lower() == ALL_LINEAR or fullmatch(pattern, module)
    targets = config.names("target_modules")
    if module in targets:
        return True
    found = any(names_module(name, module) for name in targets)
    return found and _is_layer_chosen(config, module)


def _is_layer_chosen(config: AdapterConfig, module: str) -> bool:
    layers = config.values.get("layers_to_transform")
    if layers is None or layers == []:
        return True
    index = _layer_index(config, module.split("."))
    return index is not None and (index in layers if isinstance(layers, list) else index == layers)


def _layer_index(config: AdapterConfig, path: list[str]) -> int | None:
    """The first number in the path that has a list's name before it and something after it."""
    only = config.text("layers_pattern")
    patterns = (only,) if only else config.names("layers_pattern")
    # Without a pattern any name will do, but a part of the path has to stand before that name.
    first = 1 if patterns else 2
    for position in range(first, len(path) - 1):
        named = not patterns or any(_ends(pattern, path[:position]) for pattern in patterns)
        if path[position].isdecimal() and named:
            return int(path[position])
    return None


def _ends(pattern: str, path: list[str]) -> bool:
    return fullmatch(rf"(.*\.)?(?:{pattern})", ".".join(path))
