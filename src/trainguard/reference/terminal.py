"""What the reference trainer and the demo let through to the terminal."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from transformers.utils import logging as transformers_logging


@contextmanager
def quiet(*, one_thread: bool = True) -> Iterator[None]:
    """Keep the libraries' own talk, and the live warnings shown later, off the screen.

    With more threads than one a model as small as the embedded one is slower, by an order of
    magnitude on a busy machine.
    """
    threads, level = torch.get_num_threads(), transformers_logging.get_verbosity()
    logger, propagates = logging.getLogger("trainguard"), logging.getLogger("trainguard").propagate
    silent = logging.NullHandler()
    if one_thread:
        torch.set_num_threads(1)
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    logger.addHandler(silent)
    logger.propagate = False
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            yield
    finally:
        logger.removeHandler(silent)
        logger.propagate = propagates
        transformers_logging.enable_progress_bar()
        transformers_logging.set_verbosity(level)
        torch.set_num_threads(threads)
