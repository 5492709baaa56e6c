"""The matrix as a table: `python -m tests.quality.live`."""

from __future__ import annotations

import logging
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from quality.live.healthy import HEALTHY
from quality.live.sabotages import SABOTAGES
from quality.live.ways import WAYS


def main() -> None:
    logging.disable(logging.WARNING)
    named = quiet = 0
    for name, planted in sorted(SABOTAGES.items()):
        with tempfile.TemporaryDirectory() as folder:
            causes = WAYS[planted.way](Path(folder), planted.fault()).causes
        found = [(cause.code, cause.location.step) for cause in causes]
        is_named = found[:1] == [(planted.code, planted.step)]
        named += is_named
        print("named " if is_named else "MISSED", name, *found[:1] or ["nothing"], flush=True)
    for name, healthy in sorted(HEALTHY.items()):
        with tempfile.TemporaryDirectory() as folder:
            findings = healthy.way(Path(folder), healthy.change()).findings
        is_right = {f.code: f.location.step for f in findings} == dict(healthy.true)
        quiet += is_right
        print("quiet " if is_right else "ALARM ", name, *(f.code for f in findings), flush=True)
    print(f"{named} of {len(SABOTAGES)} sabotages named, {quiet} of {len(HEALTHY)} twins quiet")


if __name__ == "__main__":
    main()
