"""The documentation builds without a warning, without torch and without the network."""

from __future__ import annotations

import html
import re
import subprocess
import sys
from pathlib import Path

import pytest

from trainguard.registry import Check, all_checks

from . import pages

BUILD = """
import socket, sys

def refuse(*_):
    raise OSError("the documentation is built offline")

socket.socket.connect = refuse
from sphinx.cmd.build import main

status = main(["-W", "--keep-going", "-q", "-E", "-b", "html", *sys.argv[1:]])
loaded = [name for name in ("torch", "transformers", "numpy")
          if getattr(sys.modules.get(name), "__file__", None)]
print("loaded:", loaded)
sys.exit(status)
"""
CHECKS = [one for one in all_checks() if one.judge.__module__.startswith("trainguard.")]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("docs")
    places = ["-d", str(folder / "trees"), str(pages.ROOT / "docs"), str(folder / "html")]
    result = subprocess.run(
        [sys.executable, "-c", BUILD, *places], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    assert "loaded: []" in result.stdout
    return folder / "html"


def text_of(page: Path) -> str:
    body = page.read_text(encoding="utf-8")
    article = body[body.index("<article") : body.index("</article")]
    apart = re.sub(r"</(dt|dd|p|td|th|li)>", " ", article)
    return " ".join(html.unescape(re.sub(r"<[^>]+>", "", apart)).split())


def test_nothing_is_fetched_from_elsewhere(built: Path) -> None:
    for page in built.rglob("*.html"):
        body = page.read_text(encoding="utf-8")
        assets = re.findall(r"<(?:script|img|iframe)[^>]+src=\"(?:https?:)?//[^\"]+", body)
        sheets = re.findall(r"<link[^>]+rel=\"stylesheet\"[^>]+href=\"(?:https?:)?//[^\"]+", body)
        assert assets + sheets == [], page
    for sheet in built.rglob("*.css"):
        assert not re.search(r"@import|url\(['\"]?https?:", sheet.read_text(encoding="utf-8")), (
            sheet
        )


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.code)
def test_a_check_has_a_page_with_all_of_its_facts(check: Check, built: Path) -> None:
    text = text_of(built / "checks" / f"{check.name}.html")

    assert text.startswith(f"{check.code} {check.name}")
    assert f"Severity {check.severity} Precision {check.precision}" in text
    for name, value in check.thresholds.items():
        assert f"{name} = {value}" in text
    for code in check.explains:
        assert code in text
    for title in re.findall(r"^## (.+)$", check.doc, re.MULTILINE):
        assert title in text


def test_a_page_is_where_the_check_says_that_it_is(built: Path) -> None:
    for check in CHECKS:
        assert (built / check.url.partition("/latest/")[2]).is_file(), check.url


def test_the_code_of_a_check_is_shown(built: Path) -> None:
    page = (built / "checks/hidden-nan-loss.html").read_text(encoding="utf-8")
    link = re.search(r'href="([^"]+)">View the source', page)

    assert link is not None
    assert "def hidden_nan_loss" in text_of((built / "checks" / link[1]).resolve())


def test_the_table_has_every_check_and_is_told_who_is_explained(built: Path) -> None:
    table = text_of(built / "checks/index.html")

    assert [check.code for check in CHECKS if f"{check.code} {check.name}" not in table] == []
    explained = text_of(built / "checks/zero-gradients.html")
    assert "Explained by" in explained
    assert "TG201 frozen-adapter" in explained


def test_the_public_names_are_documented_under_their_public_names(built: Path) -> None:
    import trainguard

    text = text_of(built / "api.html")
    for name in trainguard.__all__:
        assert name == "__version__" or f"trainguard.{name}" in text, name
