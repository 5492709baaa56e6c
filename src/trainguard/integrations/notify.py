"""Tell somebody about an error while the run goes on: a function, a webhook or a command."""

from __future__ import annotations

import json
import logging
import os
import shlex
import subprocess
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from functools import partial
from http.client import HTTPException

from trainguard import __version__
from trainguard.findings import Report, Severity
from trainguard.integrations.deliveries import Deliveries, DeliveryError
from trainguard.report import text

#: Who is told if the code does not say: a URL, or a command as in a shell but without one.
VARIABLE = "TRAINGUARD_NOTIFY"
#: Seconds that a webhook may take to answer, and a command to end.
WEBHOOK_SECONDS = 5.0
COMMAND_SECONDS = 30.0
#: Characters of a webhook's text; what does not fit is in its report.
MAX_TEXT = 3000

logger = logging.getLogger("trainguard")

Notify = Callable[[Report], object] | str | Sequence[str]


class Notifier:
    """Sends each error that is new in a run, with its symptoms, to whoever is to be told.

    Args:
        send: delivers one report; None tells nobody.
    """

    def __init__(self, send: Callable[[Report], object] | None) -> None:
        self._send = send
        self._deliveries = Deliveries("whom notify names")

    def announce(self, new: Report) -> None:
        """Send causes that are new, if one of them is an error; returns at once."""
        is_error = any(cause.severity is Severity.ERROR for cause in new.causes)
        if self._send is not None and is_error:
            self._deliveries.start(partial(self._send, new))

    def end(self, report: Report) -> None:
        """Wait a bounded time for what is under way."""
        self._deliveries.wait()


def sender(notify: Notify | None) -> Callable[[Report], object] | None:
    """What delivers a report as `notify` says, or as the environment does if it is None.

    Raises:
        ValueError: notify is a text that is no http or https URL; the text is not quoted.
        TypeError: notify is nothing of the kinds named in `Notify`.
    """
    if notify is None:
        return _from_environment()
    if callable(notify):
        return notify
    if isinstance(notify, str):
        if not _is_url(notify):
            raise ValueError(
                "notify is a text but no http or https URL; a command is a list of its arguments"
            )
        return partial(_post, notify)
    if isinstance(notify, Sequence) and all(isinstance(word, str) for word in notify):
        return partial(_run, tuple(notify)) if notify else None
    raise TypeError(
        f"notify is a {type(notify).__name__}; use a function, a URL or a list of arguments"
    )


def from_text(said: str) -> Callable[[Report], object]:
    """What delivers a report to a URL, or to a command written as in a shell.

    Raises:
        ValueError: it is no command, because it is empty or a quote is not closed.
    """
    if _is_url(said):
        return partial(_post, said)
    try:
        command = shlex.split(said)
    except ValueError:
        command = []
    if not command:
        raise ValueError("neither an http or https URL nor a command")
    return partial(_run, tuple(command))


def message(report: Report) -> str:
    """The causes as a chat shows them: a block of plain text, in which nothing is a command."""
    subjects = ", ".join(subject.name for subject in report.subjects)
    said = text.full(report, summary=False).replace("```", "'''")
    shown = said if len(said) <= MAX_TEXT else said[:MAX_TEXT].rstrip() + "\n...\n"
    return _escaped(f"trainguard: {subjects}\n```\n{shown}```")


def _from_environment() -> Callable[[Report], object] | None:
    said = os.environ.get(VARIABLE, "").strip()
    if not said:
        return None
    try:
        return from_text(said)
    except ValueError as error:  # what a cluster sets for everybody must not end a run
        logger.warning("trainguard tells nobody: the variable %s is %s", VARIABLE, error)
        return None


def _is_url(said: str) -> bool:
    return said.lower().startswith(("http://", "https://"))


def _escaped(said: str) -> str:
    """As Slack asks for: `<!channel>` in the name of a tensor calls nobody."""
    return said.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _post(url: str, report: Report) -> None:
    body = f'{{"text": {json.dumps(message(report))}, "report": {report.to_json(indent=None)}}}'
    kind = {"Content-Type": "application/json; charset=utf-8"}
    agent = {"User-Agent": f"trainguard/{__version__}"}
    try:
        request = urllib.request.Request(url, data=body.encode(), headers={**kind, **agent})
        with urllib.request.urlopen(request, timeout=WEBHOOK_SECONDS):
            pass
    except urllib.error.HTTPError as error:
        error.close()
        raise DeliveryError(f"the webhook answered with status {error.code}") from None
    except (OSError, ValueError, HTTPException) as error:
        reason = getattr(error, "reason", error)
        raise DeliveryError(f"the webhook is out of reach ({type(reason).__name__})") from None


def _run(command: tuple[str, ...], report: Report) -> None:
    try:
        ended = subprocess.run(
            command,
            input=report.to_json().encode(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=COMMAND_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise DeliveryError(f"the command took more than {COMMAND_SECONDS:g} s") from None
    except OSError as error:
        raise DeliveryError(f"the command does not start ({type(error).__name__})") from None
    if ended.returncode:
        raise DeliveryError(f"the command ended with status {ended.returncode}")
