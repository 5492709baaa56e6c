"""`trainguard explain`, `checks`, `config` and `completion`: what there is, and what holds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from trainguard.cli.selection import CheckWord

if TYPE_CHECKING:
    from trainguard.config import Settings
    from trainguard.registry import Check

_format = click.option(
    "--output-format",
    "style",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
)


@click.command()
@click.argument("wanted", metavar="CODE|NAME", type=CheckWord())
@_format
def explain(wanted: str, style: str) -> None:
    """Print the documentation of one check."""
    from trainguard.registry import UnknownCheckError, find

    try:
        found = find(wanted)
    except UnknownCheckError as error:
        raise click.UsageError(str(error)) from None
    if style == "json":
        click.echo(json.dumps(_described(found) | {"documentation": found.doc}, indent=2))
        return
    click.echo(f"# {found.code} {found.name} ({found.severity}, {found.precision})\n")
    click.echo(found.doc)
    if found.thresholds:
        click.echo(f"\nThresholds, [tool.trainguard.checks.{found.name}]:")
        for name, value in found.thresholds.items():
            click.echo(f"  {name.replace('_', '-')} = {value:g}")
    if found.explains:
        names = ", ".join(f"{code} {find(code).name}" for code in found.explains)
        click.echo(f"\nExplains: {names}")
    if found.url:
        click.echo(f"\n{found.url}")


@click.command()
@_format
def checks(style: str) -> None:
    """List every check."""
    from trainguard.registry import all_checks

    if style == "json":
        click.echo(json.dumps([_described(known) for known in all_checks()], indent=2))
        return
    width = max(len(known.name) for known in all_checks())
    for known in all_checks():
        click.echo(f"{known.code}  {known.name:<{width}}  {known.severity:<7}  {known.summary}")


def _described(check: Check) -> dict[str, Any]:
    return {
        "code": check.code,
        "name": check.name,
        "summary": check.summary,
        "severity": check.severity,
        "precision": check.precision,
        "explains": list(check.explains),
        "thresholds": {name.replace("_", "-"): n for name, n in check.thresholds.items()},
        "url": check.url,
    }


@click.command()
@click.argument("path", type=click.Path(exists=True, path_type=Path), default=Path())
@click.option(
    "--config",
    "file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Settings, instead of the nearest trainguard.toml or pyproject.toml.",
)
@_format
def config(path: Path, file: Path | None, style: str) -> None:
    """Print the settings that hold for PATH (default: here), and where they come from."""
    from trainguard.config import ConfigError, discover
    from trainguard.registry import UnknownCheckError

    try:
        settings = discover([path], file)
        shown = _in_force(settings, path)
    except (ConfigError, UnknownCheckError) as error:
        raise click.UsageError(str(error)) from None
    if style == "json":
        click.echo(json.dumps(shown, indent=2))
        return
    width = max(map(len, shown))
    for key, value in shown.items():
        click.echo(f"{key:<{width}}  {_as_text(value)}")


def _in_force(settings: Settings, path: Path) -> dict[str, Any]:
    return {
        "settings": str(settings.source) if settings.source else None,
        "path": str(path),
        "excluded": settings.excludes(path),
        "checks": len(settings.selected),
        "select": list(settings.select),
        "ignore": list(settings.ignore),
        "ignored here": list(settings.ignored_at(path)),
        "fail-on": settings.fail_on or "never",
        "output-format": settings.output_format,
        "baseline": _baseline(settings),
        "exclude": list(settings.exclude),
        "severity": dict(settings.severity),
        "thresholds": {
            check.name: {n.replace("_", "-"): v for n, v in check.chosen.items()}
            for check in settings.selected
            if check.chosen
        },
    }


def _baseline(settings: Settings) -> str | None:
    from trainguard.baseline import NAME

    usual = settings.root / NAME
    file = settings.baseline or (usual if usual.exists() else None)
    return str(file) if file else None


def _as_text(value: Any) -> str:
    if isinstance(value, dict):
        parts = (
            f"{k} {_as_text(v)}" if isinstance(v, dict) else f"{k}={v}" for k, v in value.items()
        )
        return ", ".join(parts) or "-"
    if isinstance(value, list):
        return ", ".join(value) or "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "-" if value is None else str(value)


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print what makes SHELL complete commands, options and checks.

    \b
    bash:  trainguard completion bash > ~/.local/share/bash-completion/completions/trainguard
    zsh:   trainguard completion zsh > "${fpath[1]}/_trainguard"
    fish:  trainguard completion fish > ~/.config/fish/completions/trainguard.fish
    """
    from click.shell_completion import get_completion_class

    kind = get_completion_class(shell)
    if kind is None:
        raise click.UsageError(f"{shell} is not known")
    root = ctx.find_root().command
    click.echo(kind(root, {}, "trainguard", "_TRAINGUARD_COMPLETE").source())
