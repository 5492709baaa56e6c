"""The command line: thin commands over the library."""

from __future__ import annotations

from trainguard.cli.main import main

__all__ = ["main"]
