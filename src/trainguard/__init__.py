"""trainguard: the linter for model training.

It tells why a run is not learning, or why a score is too good to be true. The public names are
resolved on first use, so that importing the package loads nothing heavy.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from trainguard.report import display as _display  # noqa: F401  how a Report shows itself

if TYPE_CHECKING:
    from trainguard.findings import Finding, Report
    from trainguard.integrations.evaluation import allow_override, audit_evaluation
    from trainguard.integrations.files import check
    from trainguard.integrations.guard import TrainGuardError
    from trainguard.integrations.hf import TrainGuardCallback, attach
    from trainguard.integrations.loop import watch
    from trainguard.integrations.preflight import preflight

__version__ = "0.1.0"

_HOMES = {
    "Finding": "trainguard.findings",
    "Report": "trainguard.findings",
    "TrainGuardCallback": "trainguard.integrations.hf",
    "TrainGuardError": "trainguard.integrations.guard",
    "allow_override": "trainguard.integrations.evaluation",
    "attach": "trainguard.integrations.hf",
    "audit_evaluation": "trainguard.integrations.evaluation",
    "check": "trainguard.integrations.files",
    "preflight": "trainguard.integrations.preflight",
    "watch": "trainguard.integrations.loop",
}

__all__ = [
    "Finding",
    "Report",
    "TrainGuardCallback",
    "TrainGuardError",
    "__version__",
    "allow_override",
    "attach",
    "audit_evaluation",
    "check",
    "preflight",
    "watch",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        home = importlib.import_module(_HOMES[name])
    except ModuleNotFoundError as error:
        raise ImportError(
            f"trainguard.{name} needs {error.name}: pip install 'trainguard[train]'"
        ) from error
    return getattr(home, name)


def __dir__() -> list[str]:
    return sorted(__all__)
