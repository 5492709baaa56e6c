"""trainguard in pytest: adapters and runs as items, and a fixture that fails on findings.

    pytest --trainguard outputs/            one item per adapter, run or log and check
    pytest --trainguard outputs/ -k TG105

    def test_sft(trainguard):
        with trainguard.watch(model, optimizer):
            train(model, optimizer)
        trainguard.check("outputs/adapter")

Loading the plugin imports neither torch nor the checks; both wait until they are used. The hooks
are here, what they do is in `trainguard.testing`.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from trainguard.testing._fixture import TrainGuardFixture

#: How the id of an item of a file begins; so does an argument that selects some of them.
PREFIX = "trainguard::"
MARKER = (
    "trainguard(select=[...], ignore=[...], fail_on='error'): checks that the fixture `trainguard` "
    "leaves out or keeps to, and the mildest severity that fails the test"
)
_selected = pytest.StashKey[tuple[str, ...]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options `--trainguard...` and the ini key `trainguard_paths`."""
    group = parser.getgroup("trainguard", "checks of training runs and adapters")
    group.addoption(
        "--trainguard",
        dest="trainguard_paths",
        action="append",
        default=[],
        metavar="PATH",
        help="collect what is recognised at or under PATH: one item per adapter, checkpoint, run "
        "or log and check",
    )
    group.addoption(
        "--trainguard-for",
        dest="trainguard_purpose",
        choices=["train", "infer"],
        default=None,
        help="what these files are about to be used for",
    )
    for word, meaning in (("select", "keep to"), ("ignore", "leave out")):
        group.addoption(
            f"--trainguard-{word}",
            dest=f"trainguard_{word}",
            action="append",
            default=[],
            metavar="CODES",
            help=f"checks to {meaning}: codes, prefixes or names, separated by commas",
        )
    group.addoption(
        "--trainguard-fail-on",
        dest="trainguard_fail_on",
        choices=["error", "warning", "info", "never"],
        default=None,
        help="the mildest severity that fails an item or a test (default: as set, or error)",
    )
    parser.addini(
        "trainguard_paths",
        "what --trainguard collects if pytest is called without files",
        type="paths",
        default=[],
    )


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker, and take the ids of our own items out of the arguments."""
    config.addinivalue_line("markers", MARKER)
    config.stash[_selected] = tuple(arg for arg in config.args if arg.startswith(PREFIX))
    config.args[:] = [arg for arg in config.args if not arg.startswith(PREFIX)]
    for path in config.getoption("trainguard_paths"):
        if not Path(path).exists():
            raise pytest.UsageError(f"--trainguard: {path} does not exist")
    if _paths(config) or config.getoption("trainguard_select"):
        from trainguard.testing._settings import session_settings

        session_settings(config)  # an unknown code is a usage error, in good time
    elif config.stash[_selected]:
        raise pytest.UsageError(
            f"{config.stash[_selected][0]} was not collected: pass --trainguard PATH as well"
        )


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(
    session: pytest.Session, config: pytest.Config, items: list[pytest.Item]
) -> None:
    """Put the items of files behind the collected tests, before any are deselected."""
    if paths := _paths(config):
        from trainguard.testing._items import file_items

        selected = config.stash[_selected]
        items.extend(file_items(session, paths, selected))


def _paths(config: pytest.Config) -> dict[Path, bool]:
    """What to collect, and whether the user asked for it by an option of this call.

    As with `testpaths`, the configured paths are left alone where pytest is called with files.
    """
    named = dict.fromkeys(map(Path, config.getoption("trainguard_paths")), True)
    is_broad = config.args_source is not pytest.Config.ArgsSource.ARGS
    if is_broad or config.stash[_selected]:
        named = {**dict.fromkeys(config.getini("trainguard_paths"), False), **named}
    return named


def pytest_report_header(config: pytest.Config) -> str | None:
    """With -v, one line about what is collected."""
    paths = _paths(config)
    if not paths or config.get_verbosity() < 1:
        return None
    from trainguard import __version__
    from trainguard.testing._settings import session_settings

    fail_on = session_settings(config).fail_on or "never"
    return f"trainguard: {__version__}, paths: {', '.join(map(str, paths))}, fails on: {fail_on}"


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """A section with every cause that was found, if there is anything to say."""
    reports = [one for group in terminalreporter.stats.values() for one in group]
    properties = [getattr(one, "user_properties", ()) for one in reports]
    if any(name.startswith("trainguard.") for found in properties for name, _ in found):
        from trainguard.testing._summary import summary_lines

        terminalreporter.section("trainguard")
        for line, markup in summary_lines(reports):
            terminalreporter.write_line(line, **markup)


def pytest_assertrepr_compare(op: str, left: object, right: object) -> list[str] | None:
    """Explain `assert report.findings == ()` with the frames of what was found."""
    sides = [side for side in (left, right) if isinstance(side, list | tuple)]
    first = {type(side[0]).__module__ for side in sides if side}
    if op != "==" or first != {"trainguard.findings"}:
        return None
    from trainguard.testing._explanation import compared_findings

    return compared_findings(left, right)


@pytest.fixture
def trainguard(request: pytest.FixtureRequest) -> TrainGuardFixture:
    """Checks files, watches loops and audits scores; an error finding fails the test."""
    from trainguard.testing._fixture import TrainGuardFixture
    from trainguard.testing._settings import test_settings

    return TrainGuardFixture(request.node, test_settings(request.node))
