"""Strategies for hypothesis: adapters on disk, batches and training logs, healthy or with a fault.

    from hypothesis import given
    from trainguard.testing import strategies

    @given(strategies.adapters(fault="untrained-adapter"))
    def test_an_untrained_adapter_is_refused(adapter):
        with TemporaryDirectory() as folder, pytest.raises(Refused):
            upload(adapter.save(folder))

A fault is called like the check that finds it. Nothing here needs torch. Importing this package
imports hypothesis.
"""

from trainguard.testing.strategies.adapters import ADAPTER_FAULTS, SavedAdapter, adapters
from trainguard.testing.strategies.batches import BATCH_FAULTS, batches
from trainguard.testing.strategies.logs import LOG_FAULTS, TrainingLog, training_logs

__all__ = [
    "ADAPTER_FAULTS",
    "BATCH_FAULTS",
    "LOG_FAULTS",
    "SavedAdapter",
    "TrainingLog",
    "adapters",
    "batches",
    "training_logs",
]
