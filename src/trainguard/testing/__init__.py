"""Assertions for tests of training code, with pytest or without.

Plain functions that raise AssertionError with the diagnosis, and leave the model, the optimizer
and the random states as they were. They are resolved on first use: importing this package loads
neither torch nor the checks. `trainguard.testing.strategies` holds strategies for hypothesis.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trainguard.testing.adapters import (
        assert_adapter_changes_output,
        assert_adapter_round_trips,
        assert_adapter_trainable,
        assert_merged_equals_unmerged,
    )
    from trainguard.testing.evaluation import (
        assert_grader_discriminates,
        assert_honest_evaluation,
        assert_parser_tells_no_answer,
    )
    from trainguard.testing.gradients import (
        assert_all_parameters_receive_gradients,
        assert_finite_gradients,
        assert_finite_loss,
        assert_optimizer_coverage,
    )
    from trainguard.testing.labels import (
        assert_eos_supervised,
        assert_labels,
        assert_labels_not_shifted,
        assert_labels_supervised,
        assert_padding_not_supervised,
        assert_prompt_masked,
    )
    from trainguard.testing.models import (
        assert_causal,
        assert_finite_outputs,
        assert_output_range,
        assert_output_shape,
        assert_packing_independent,
        assert_padding_invariant,
        assert_rows_independent,
    )
    from trainguard.testing.reports import assert_decided, assert_no_findings
    from trainguard.testing.runs import (
        assert_equivalent_training,
        assert_mixed_precision_step,
        assert_no_host_sync,
        assert_resume_equivalent,
    )
    from trainguard.testing.steps import (
        assert_deterministic_step,
        assert_frozen,
        assert_loss_decreases,
        assert_overfits_batch,
        assert_parameters_change,
    )

__all__ = [
    "assert_adapter_changes_output",
    "assert_adapter_round_trips",
    "assert_adapter_trainable",
    "assert_all_parameters_receive_gradients",
    "assert_causal",
    "assert_decided",
    "assert_deterministic_step",
    "assert_eos_supervised",
    "assert_equivalent_training",
    "assert_finite_gradients",
    "assert_finite_loss",
    "assert_finite_outputs",
    "assert_frozen",
    "assert_grader_discriminates",
    "assert_honest_evaluation",
    "assert_labels",
    "assert_labels_not_shifted",
    "assert_labels_supervised",
    "assert_loss_decreases",
    "assert_merged_equals_unmerged",
    "assert_mixed_precision_step",
    "assert_no_findings",
    "assert_no_host_sync",
    "assert_optimizer_coverage",
    "assert_output_range",
    "assert_output_shape",
    "assert_overfits_batch",
    "assert_packing_independent",
    "assert_padding_invariant",
    "assert_padding_not_supervised",
    "assert_parameters_change",
    "assert_parser_tells_no_answer",
    "assert_prompt_masked",
    "assert_resume_equivalent",
    "assert_rows_independent",
]

_MODULES = (
    "adapters",
    "evaluation",
    "gradients",
    "labels",
    "models",
    "reports",
    "runs",
    "steps",
)


def __getattr__(name: str) -> Any:
    if name in __all__:
        # None of the modules loads torch before one of its assertions is called.
        for module in _MODULES:
            home = importlib.import_module(f"{__name__}.{module}")
            if hasattr(home, name):
                return getattr(home, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
