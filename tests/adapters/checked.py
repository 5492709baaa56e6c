"""What `trainguard check` says of a folder, through the command line."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from click.testing import CliRunner

from trainguard.cli import main


@dataclass(frozen=True)
class Checked:
    """The exit status and the report of one run."""

    status: int
    report: dict[str, Any]

    @property
    def found(self) -> list[str]:
        """Names of the checks that found something."""
        return [finding["name"] for finding in self.report["findings"]]

    @property
    def causes(self) -> list[dict[str, Any]]:
        """The findings that no other finding explains."""
        return [finding for finding in self.report["findings"] if not finding["explained_by"]]


def checked(folder: Path, *options: str) -> Checked:
    """Run `trainguard check FOLDER OPTIONS` in this process.

    Raises:
        ValueError: it printed no report.
    """
    run = CliRunner().invoke(main, ["check", str(folder), "--output-format", "json", *options])
    return Checked(run.exit_code, json.loads(run.stdout))
