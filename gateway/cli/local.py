"""The verbs that need no gateway: serve, which is one, demo, which brings one, doctor, sdk-path."""

import ctypes
import gc
import os
import signal
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from gateway.cli.context import CommandFailed, Context, Exit, answering_address
from gateway.cli.terminal import discard_output, table

if TYPE_CHECKING:
    from gateway.settings import LoadedSettings

PR_SET_PDEATHSIG = 1


def serve(context: Context) -> None:
    """Runs the gateway in the foreground until SIGTERM or Ctrl-C."""
    arguments = context.arguments
    if arguments.parent:
        _end_with(arguments.parent)
    from gateway import settings

    named = ("data", "host", "port", "allow_plain_http")
    given = {name: value for name in named if (value := getattr(arguments, name)) is not None}
    try:
        chosen = settings.read(given, Path(arguments.config) if arguments.config else None)
        _run(context, chosen)
    except settings.SettingsError as error:
        advice = "Correct it; `predictd serve --help` says what can be set."
        raise CommandFailed(str(error), advice, Exit.USAGE) from error


def demo(context: Context) -> None:
    """From nothing to a prediction."""
    from gateway.cli.demo import demo

    demo(context)


def doctor(context: Context) -> int:
    """What this machine offers, and what is missing."""
    from dataclasses import asdict

    from gateway.operations.doctor import DoctorInput, examine

    arguments = context.arguments
    running = answering_address(context.data)
    machine = DoctorInput(
        data=context.data,
        host=arguments.host,
        port=arguments.port,
        environment=context.environment,
        gateway_port=urlsplit(running.url).port if running else None,
        gateway_pid=running.pid if running else None,
    )
    with context.terminal.live("looking around"):
        findings = examine(machine)
    good = all(each.state != "missing" for each in findings)
    rows = [(each.name, each.state, each.found) for each in findings]
    advice = "\n".join(f"{each.name}: {each.advice}" for each in findings if each.advice)
    verdict = "Ready: try `predictd demo`." if good else "Mend what is missing, then look again."
    document = {"ready": good, "findings": [asdict(each) for each in findings]}
    text = "\n\n".join(filter(None, (table(("WHAT", "STATE", "FOUND"), rows), advice, verdict)))
    context.terminal.result(document, text)
    return Exit.OK if good else Exit.FAILED


def sdk_path(context: Context) -> None:
    """Where Python finds `cdsw` and `cml` outside of models and experiments."""
    from workers import PACKAGES

    context.terminal.result({"path": str(PACKAGES)}, str(PACKAGES))


def _run(context: Context, chosen: "LoadedSettings") -> None:
    # What is imported stays: looking through it for garbage takes a tenth of the start.
    gc.disable()
    import trio

    from gateway.http import stub_imports

    stub_imports.stub_unused_protocols()
    from gateway import serving
    from gateway.operations.service_log import ServiceLog
    from gateway.operations.systemd import read_manager
    from gateway.settings import SettingsError

    gc.freeze()
    gc.enable()
    ready, manager = _Ready(context), read_manager(context.environment)
    # Only somebody who looks on reads it; in the log of a service it would stay.
    tell = partial(_tell_password, context) if sys.stderr.isatty() else None
    serve = partial(serving.serve, chosen, ready=ready, manager=manager, tell_password=tell)
    try:
        with ServiceLog():
            trio.run(serve)
    except Exception as error:
        reasons = [each for each in _leaves(error) if _operator_can_mend(each)]
        if ready.came or not reasons:
            raise
        if isinstance(reasons[0], SettingsError):
            raise reasons[0] from None
        message = f"The gateway cannot start: {reasons[0]}"
        raise CommandFailed(message, "`predictd doctor` looks for causes.", Exit.FAILED) from error


def _tell_password(context: Context, password: str) -> None:
    context.terminal.say(
        f"Site administrator admin, password {password}\n"
        "It is shown this once, and has to be changed at the first sign-in."
    )


class _Ready:
    """Says once that the gateway serves; with `--json` to a program that waits for it."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self.came = False

    def __call__(self, url: str) -> None:
        self.came = True
        try:
            self._context.terminal.result(
                {"url": url, "pid": os.getpid()},
                f"predictd serves at {url}; stop it with Ctrl-C.\n"
                "Next, in a project's folder: predictd deploy FILE:FUNCTION\n"
                "In a browser: predictd open",
            )
        except OSError:  # whoever read stdout has gone: no reason not to serve
            discard_output()


def _operator_can_mend(error: BaseException) -> bool:
    from builder import BuilderError
    from gateway.settings import SettingsError
    from store import StoreError
    from workers import ConfinementUnavailable

    kinds = OSError | StoreError | BuilderError | SettingsError | ConfinementUnavailable
    return isinstance(error, kinds)


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for each in error.exceptions:
            yield from _leaves(each)
    else:
        yield error


def _end_with(parent: int) -> None:
    """Asks the kernel for SIGTERM when the process that started this one ends, however it ends."""
    # Bound to the parent's thread, not its process: gotcha G1 in README.
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:
        raise CommandFailed("The process that asked for this is gone.", "Start again.", Exit.FAILED)
