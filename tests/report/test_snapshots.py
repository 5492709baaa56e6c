"""The whole text of each format on one fixed report (`pytest --snapshot-update` rewrites them)."""

from __future__ import annotations

import json

import pytest
from syrupy.assertion import SnapshotAssertion
from syrupy.extensions.single_file import SingleFileSnapshotExtension, WriteMode

from report.samples import SAMPLE
from trainguard.report import render

SUFFIXES = {
    "full": "txt",
    "concise": "txt",
    "json": "json",
    "jsonl": "jsonl",
    "sarif": "sarif",
    "junit": "xml",
    "github": "txt",
    "gitlab": "json",
    "markdown": "md",
}


@pytest.mark.parametrize("style", SUFFIXES)
def test_the_sample_is_printed_as_it_was(style: str, snapshot: SnapshotAssertion) -> None:
    class Plain(SingleFileSnapshotExtension):
        _write_mode = WriteMode.TEXT
        file_extension = SUFFIXES[style]

    printed = render(SAMPLE, style)
    if style == "sarif":
        printed = _without_what_others_decide(printed)
    assert printed == snapshot(extension_class=Plain, name=style)


def _without_what_others_decide(printed: str) -> str:
    """The release and the words of the checks' documentation have tests of their own."""
    content = json.loads(printed)
    driver = content["runs"][0]["tool"]["driver"]
    driver |= {"version": "0", "semanticVersion": "0"}
    for rule in driver["rules"]:
        for words in ("shortDescription", "fullDescription", "help"):
            rule[words] = dict.fromkeys(rule[words], "...")
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"
