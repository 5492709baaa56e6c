"""The pages of real runs in a real browser: on a phone and a desktop, in light and dark."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from trainguard import TrainGuardCallback, check
from trainguard.integrations.run_pages import runs_of
from trainguard.report import render

import tiny

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
DRIVER = shutil.which("chromedriver")
SELENIUM = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
pytestmark = pytest.mark.skipif(
    not (CHROMIUM and DRIVER), reason="no chromium with its chromedriver is installed"
)
#: Quiet and alone: what a browser asks of its maker would be counted as a request of the page.
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
SCREENS = [(width, theme) for width in (360, 390, 1280) for theme in ("light", "dark")]
#: Ratio of the luminances of text and of what is behind it that WCAG asks of small text.
CONTRAST = 4.5

#: A phone zooms out to show what hangs over; a desktop scrolls.
NEEDED_WIDTH = "return Math.max(document.documentElement.scrollWidth, innerWidth)"
LOW_CONTRAST = """
const channel = c => { c /= 255; return c <= .03928 ? c / 12.92 : ((c + .055) / 1.055) ** 2.4; };
const parse = text => text.match(/[\\d.]+/g).map(Number);
const light = ([r, g, b]) => .2126 * channel(r) + .7152 * channel(g) + .0722 * channel(b);
const behind = element => {
  for (let at = element; at; at = at.parentElement) {
    const colour = parse(getComputedStyle(at).backgroundColor);
    if (colour.length < 4 || colour[3] > 0) return colour;
  }
  return [255, 255, 255];
};
document.querySelectorAll('details').forEach(one => { one.open = true; });
const low = [];
let seen = 0;
const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
while (walk.nextNode()) {
  const element = walk.currentNode.parentElement;
  if (!walk.currentNode.data.trim() || element.closest('svg') || !element.offsetWidth) continue;
  const [a, b] = [light(parse(getComputedStyle(element).color)), light(behind(element))];
  const ratio = (Math.max(a, b) + .05) / (Math.min(a, b) + .05);
  seen += 1;
  if (ratio < arguments[0]) low.push([element.className, walk.currentNode.data, ratio]);
}
return [seen, low];
"""


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Of a run whose loss is NaN from step 9 on, and of a healthy one."""
    top = tmp_path_factory.mktemp("runs")
    broken = tiny.trainer(
        tiny.model(), top / "nan", tiny.poisoned(9), callbacks=[TrainGuardCallback()], max_steps=24
    )
    healthy = tiny.trainer(
        tiny.lora(tiny.model()), top / "healthy", callbacks=[TrainGuardCallback()], max_steps=24
    )
    broken.train()
    healthy.train()
    return {name: top / name / "trainguard" / "report.html" for name in ("nan", "healthy")}


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    options = SELENIUM.ChromeOptions()
    options.binary_location = CHROMIUM
    options.set_capability("goog:loggingPrefs", {"performance": "ALL", "browser": "ALL"})
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(flag)
    driver = SELENIUM.Chrome(options=options, service=SELENIUM.ChromeService(DRIVER))
    yield driver
    driver.quit()


def show(browser: Any, page: Path, width: int, theme: str) -> list[str]:
    """Open the page on such a screen; returns the addresses that were asked for."""
    screen = {"width": width, "height": 844, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
    feature = {"name": "prefers-color-scheme", "value": theme}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})
    browser.get_log("performance")
    browser.get(page.as_uri())
    events = [json.loads(line["message"])["message"] for line in browser.get_log("performance")]
    return [
        event["params"]["request"]["url"]
        for event in events
        if event["method"] == "Network.requestWillBeSent"
    ]


def top(browser: Any, selector: str) -> float:
    script = "return document.querySelector(arguments[0]).getBoundingClientRect().top"
    return float(browser.execute_script(script, selector))


@pytest.mark.parametrize(("width", "theme"), SCREENS)
@pytest.mark.parametrize("name", ["nan", "healthy"])
def test_the_page_is_alone_and_readable(
    browser: Any, pages: dict[str, Path], name: str, width: int, theme: str
) -> None:
    asked = show(browser, pages[name], width, theme)
    entries = browser.execute_script("return performance.getEntriesByType('resource').length")

    assert asked == [pages[name].as_uri()]
    assert entries == 0
    seen, low = browser.execute_script(LOW_CONTRAST, CONTRAST)
    assert seen > 50
    assert low == []
    # With everything unfolded.
    assert browser.execute_script(NEEDED_WIDTH) == width
    assert browser.get_log("browser") == []


def test_a_request_an_overhang_and_pale_text_would_be_noticed(
    browser: Any, pages: dict[str, Path], tmp_path: Path
) -> None:
    faults = '<img src="x.png" alt=""><p style="width:700px;color:#ccc;background:#fff">pale</p>'
    good = pages["nan"].read_text(encoding="utf-8")
    allowed = good.replace("default-src 'none'", "default-src *").replace("<main>", faults)
    barred = good.replace("<main>", faults)
    page = tmp_path / "page.html"

    page.write_text(allowed, encoding="utf-8")
    assert show(browser, page, 390, "light")[1:] == [(tmp_path / "x.png").as_uri()]
    assert browser.execute_script(NEEDED_WIDTH) > 390
    assert [words for _, words, _ in browser.execute_script(LOW_CONTRAST, CONTRAST)[1]] == ["pale"]

    page.write_text(barred, encoding="utf-8")
    browser.get_log("browser")
    show(browser, page, 390, "light")
    assert "violates the following Content Security Policy" in str(browser.get_log("browser"))


def test_the_colours_follow_the_system(browser: Any, pages: dict[str, Path]) -> None:
    script = "return getComputedStyle(document.body).backgroundColor"
    colours = []
    for theme in ("light", "dark"):
        show(browser, pages["nan"], 390, theme)
        colours.append(browser.execute_script(script))

    assert colours == ["rgb(255, 255, 255)", "rgb(13, 17, 23)"]


@pytest.mark.parametrize("width", [390, 1280])
def test_one_screen_says_what_broke_and_what_to_do(
    browser: Any, pages: dict[str, Path], width: int
) -> None:
    show(browser, pages["nan"], width, "light")
    words = browser.execute_script("return document.querySelector('.cause').innerText")

    assert "TG501" in words
    assert "step 9" in words
    assert "logging_nan_inf_filter=False" in words
    order = ["h1", ".cause .message", ".cause .fix", ".cause .frame .marked", "#run-1-loss"]
    places = [top(browser, selector) for selector in order]
    assert places == sorted(places)
    assert places[-2] < 844


@pytest.mark.parametrize("width", [390, 1280])
def test_the_gap_of_the_nan_is_where_it_was(
    browser: Any, pages: dict[str, Path], width: int
) -> None:
    show(browser, pages["nan"], width, "light")
    places = browser.execute_script(
        """
        const box = selector => {
          const at = document.querySelector('#run-1-loss ' + selector).getBoundingClientRect();
          return [at.left, at.right];
        };
        return [box('svg'), box('svg path.lost'), box('path.curve.logged'), box('a.mark')];
        """
    )
    (left, right), gap, logged, mark = places
    at_step = [left + (right - left) * (step - 0.5) / 24 for step in (1, 9, 24)]

    assert gap == pytest.approx([left + (right - left) * 8 / 24, right], abs=2)
    assert logged == pytest.approx([at_step[0], at_step[2]], abs=2)
    assert mark[0] == pytest.approx(at_step[1], abs=2)
    assert mark[1] <= width


def test_a_healthy_run_has_curves_heat_maps_and_no_gap(
    browser: Any, pages: dict[str, Path]
) -> None:
    show(browser, pages["healthy"], 390, "dark")
    count = "return document.querySelectorAll(arguments[0]).length"

    assert browser.execute_script("return document.querySelector('h1').innerText") == "No finding"
    assert browser.execute_script(count, "svg path.lost") == 0
    assert browser.execute_script(count, "svg path.curve") >= 4
    assert browser.execute_script(count, ".heat svg path") >= 2
    assert browser.execute_script(count, ".mark") == 0


def test_a_mark_leads_to_its_finding_even_if_that_is_folded_away(
    browser: Any, pages: dict[str, Path]
) -> None:
    show(browser, pages["nan"], 390, "light")
    script = """
        const mark = document.querySelector('a.mark.symptom');
        mark.click();
        return [mark.hash, !!document.querySelector(':target'), !!document.querySelector(mark.hash)]
    """
    address, _, exists = browser.execute_script(script)

    assert exists
    assert browser.execute_script("return document.querySelector(':target').id") == address[1:]


def test_the_command_draws_the_same_page(browser: Any, pages: dict[str, Path]) -> None:
    folder = pages["nan"].parent.parent
    report = check(folder)
    page = folder / "page.html"
    page.write_text(render(report, "html", runs=runs_of(report)), encoding="utf-8")
    figures = "return [...document.querySelectorAll('figure')].map(figure => figure.id)"
    seen = []
    for shown in (pages["nan"], page):
        show(browser, shown, 1280, "light")
        seen.append(browser.execute_script(figures))

    assert seen[0] == seen[1]
    assert "run-1-loss" in seen[0]
    assert "run-1-gradients" in seen[0]
