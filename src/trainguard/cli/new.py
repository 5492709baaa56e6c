"""`trainguard new`: the file of a new check, in trainguard itself or in a package."""

from __future__ import annotations

import keyword
import re
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import click

from trainguard.cli.scaffold import FAMILIES, check_text, package_texts
from trainguard.findings import relative_path

_CODE = re.compile(r"TG[1-9]\d\d")
_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
#: Where the last two digits of the codes begin that trainguard leaves to packages of others.
OTHERS = 90


@click.command()
@click.argument("code", metavar="CODE")
@click.argument("name", metavar="NAME")
@click.option(
    "--package",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="A package for checks of your own; it is made where there is none.",
)
def new(code: str, name: str, package: Path | None) -> None:
    """Write the file of a new check: CODE such as TG312, NAME such as loss-on-prompt-tokens.

    In a checkout of trainguard it goes to the family's folder. Elsewhere, and with --package, it
    goes to a package that trainguard finds through its entry point. The file has every section of
    the documentation, and fails its test until they and the judge are written.
    """
    code = code.upper()
    checkout = _checkout(Path.cwd()) if package is None else None
    _refuse_what_is_wrong(code, name, ours=checkout is not None)
    folder = _family_folder(checkout, code) if checkout else _package_folder(package, name)
    file = folder / f"{name.replace('-', '_')}.py"
    if file.exists():
        raise click.UsageError(f"{relative_path(str(file))} exists")
    _refuse_a_neighbours_code(code, folder)
    file.write_text(check_text(code, name), encoding="utf-8")
    click.echo(relative_path(str(file)))
    click.echo("Write its documentation and its judge; then its test passes.", err=True)


def _refuse_what_is_wrong(code: str, name: str, *, ours: bool) -> None:
    from trainguard.registry import all_checks

    if not _CODE.fullmatch(code):
        raise click.UsageError(f"{code} is no code: TG and three digits, the first not 0")
    if not _NAME.fullmatch(name) or keyword.iskeyword(name):
        raise click.UsageError(f"{name} is no name: small words joined by hyphens, what is wrong")
    codes = {known.code for known in all_checks()}
    for known in all_checks():
        if known.code == code:
            free = next_free(code, codes, ours=ours)
            raise click.UsageError(
                f"{code} is {known.name}; the next free code of the family is {free}"
            )
        if known.name == name:
            raise click.UsageError(f"{name} is {known.code}; another name tells them apart")
    if (int(code[3:]) >= OTHERS) is ours:
        whose = "packages of others" if ours else "trainguard, which may use it later"
        free = next_free(code, codes, ours=ours)
        message = f"{code} is left to {whose}; the next free code is {free}"
        if ours:
            raise click.UsageError(message)
        click.echo(f"note: {message}", err=True)


def _refuse_a_neighbours_code(code: str, folder: Path) -> None:
    """A package that is not installed has checks that the registry does not know."""
    texts = {file.name: file.read_text(encoding="utf-8") for file in sorted(folder.glob("*.py"))}
    for file, text in texts.items():
        if f'@check("{code}"' in text:
            taken = set(re.findall(r'@check\("(TG\d{3})"', "".join(texts.values())))
            free = next_free(code, taken, ours=False)
            raise click.UsageError(f"{code} is in {file}; the next free code is {free}")


def next_free(code: str, taken: Iterable[str], *, ours: bool) -> str:
    """The next free code of a code's family, behind the code if there is one.

    Args:
        code: `TG` and three digits.
        taken: the codes in use.
        ours: whether it is to be one of trainguard's own.
    """
    range_ = range(1, OTHERS) if ours else range(OTHERS, 100)
    free = [number for number in range_ if f"{code[:3]}{number:02}" not in set(taken)]
    if not free:
        return "none"
    behind = [number for number in free if number > int(code[3:])]
    return f"{code[:3]}{(behind or free)[0]:02}"


def _checkout(place: Path) -> Path | None:
    """The root of trainguard's own source, if a folder is in it."""
    for folder in (place, *place.parents):
        has_checks = (folder / "src/trainguard/checks/__init__.py").is_file()
        if has_checks and _project(folder).get("name") == "trainguard":
            return folder
    return None


def _family_folder(checkout: Path, code: str) -> Path:
    return checkout / "src/trainguard/checks" / FAMILIES[code[2]].folder


def _package_folder(package: Path | None, name: str) -> Path:
    """The folder of a package's checks; a package that does not exist is written first."""
    root = package or _surrounding_package(Path.cwd()) or Path(f"trainguard-{name}")
    if (root / "pyproject.toml").exists():
        return _checks_of(root)
    distribution = root.resolve().name
    if not _NAME.fullmatch(distribution):
        raise click.UsageError(f"{distribution} is no name of a package: small words and hyphens")
    for path, text in package_texts(distribution).items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text, encoding="utf-8")
    return _checks_of(root)


def _surrounding_package(place: Path) -> Path | None:
    for folder in (place, *place.parents):
        if _entry_points(folder):
            return folder
    return None


def _checks_of(root: Path) -> Path:
    """The folder that a package's entry point names."""
    entries = _entry_points(root)
    if not entries:
        raise click.UsageError(
            f'{root / "pyproject.toml"} has no [project.entry-points."trainguard.checks"]; '
            'add one such as mine = "mine.checks"'
        )
    parts = next(iter(entries.values())).partition(":")[0].split(".")
    for top in (root / "src", root):
        if (folder := top.joinpath(*parts)).is_dir():
            return folder
    raise click.UsageError(f"{'.'.join(parts)} of the entry point is no folder in {root}")


def _entry_points(folder: Path) -> dict[str, str]:
    found: dict[str, str] = _project(folder).get("entry-points", {}).get("trainguard.checks", {})
    return found


def _project(folder: Path) -> dict[str, Any]:
    """The project table of a folder's pyproject.toml; empty where there is none to read."""
    try:
        text = (folder / "pyproject.toml").read_text(encoding="utf-8")
        project: dict[str, Any] = tomllib.loads(text).get("project", {})
    except (OSError, ValueError):
        return {}
    return project
