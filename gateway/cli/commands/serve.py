"""The verb serve: runs the gateway in the foreground."""

import ctypes
import gc
import os
import signal
import sys
from argparse import SUPPRESS
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.cli.command import Group, argument, command
from gateway.cli.context import CommandFailed, Context, Exit
from gateway.cli.options import HOST_AND_PORT
from gateway.cli.terminal import discard_output

if TYPE_CHECKING:
    from gateway.settings import LoadedSettings

PR_SET_PDEATHSIG = 1


@command(
    "serve",
    "run the gateway until Ctrl-C",
    *HOST_AND_PORT,
    argument(
        "--allow-plain-http",
        action="store_const",
        const=True,
        help="listen on other addresses than loopback without TLS",
    ),
    argument("--config", metavar="FILE", help="TOML file of settings"),
    argument("--parent", type=int, help=SUPPRESS),
    local=True,
    examples=["predictd serve", "predictd serve --port 9000 --config gateway.toml"],
    group=Group.GATEWAY,
)
def serve(context: Context) -> None:
    """Runs the gateway in the foreground until SIGTERM or Ctrl-C."""
    arguments = context.arguments
    if arguments.parent:
        _end_with(arguments.parent)
    from gateway import settings

    named = ("data", "host", "port", "allow_plain_http")
    given = {name: value for name in named if (value := getattr(arguments, name)) is not None}
    try:
        chosen = settings.load_with_sources(
            given, Path(arguments.config) if arguments.config else None
        )
        _run(context, chosen)
    except settings.SettingsError as error:
        advice = "correct it; list all settings with `predictd settings`"
        raise CommandFailed(str(error), advice, Exit.USAGE) from error


def _run(context: Context, chosen: "LoadedSettings") -> None:
    # Imported modules stay: scanning them for garbage takes a tenth of the start.
    gc.disable()
    import trio

    from gateway.http.hypercorn import stub_imports

    stub_imports.stub_unused_protocols()
    from gateway import serving
    from gateway.http.listen_sockets import PortTaken
    from gateway.operations.service_log import ServiceLog
    from gateway.operations.systemd import read_manager
    from gateway.settings import SettingsError

    gc.freeze()
    gc.enable()
    ready, manager = _Ready(context), read_manager(context.environment)
    # On a terminal only: in the log of a service the password would stay.
    tell = partial(_tell_password, context) if sys.stderr.isatty() else None
    serve = partial(serving.serve, chosen, ready=ready, manager=manager, tell_password=tell)
    try:
        with ServiceLog():
            trio.run(serve)
    except Exception as error:
        reasons = [each for each in _leaves(error) if _is_the_operators(each)]
        if ready.was_reported or not reasons:
            raise
        if isinstance(reasons[0], SettingsError):
            raise reasons[0] from None
        message = f"cannot start the gateway: {reasons[0]}"
        advice = "run `predictd doctor`"
        if isinstance(reasons[0], PortTaken):
            user = _user_of(chosen.settings.port)
            advice = f"{user}choose another port with --port"
        raise CommandFailed(message, advice, Exit.FAILED) from error


def _user_of(port: int) -> str:
    """The process that listens on a port, as the beginning of a hint; "" if it is not known."""
    import psutil

    try:
        for each in psutil.net_connections("tcp"):
            if each.status == psutil.CONN_LISTEN and each.pid and each.laddr[1:] == (port,):
                name = psutil.Process(each.pid).name()
                return f"process {each.pid} ({name}) has it: end it, or "
    except (psutil.Error, OSError):
        pass
    return ""


def _tell_password(context: Context, password: str) -> None:
    context.terminal.say(
        f"Site administrator: admin, password: {password}\n"
        "It is shown only now, and must be changed at the first sign-in."
    )


class _Ready:
    """Reports once that the gateway serves; with `--json` to a program that waits for it."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self.was_reported = False

    def __call__(self, url: str) -> None:
        self.was_reported = True
        try:
            self._context.terminal.result(
                {"url": url, "pid": os.getpid()},
                f"Serving at {url}; stop with Ctrl-C.\n"
                "Deploy a model from a project's folder with `predictd deploy FILE:FUNCTION`.\n"
                "Sign in with a browser with `predictd open`.",
            )
        except OSError:  # the reader closed stdout; the gateway still serves
            discard_output()


def _is_the_operators(error: BaseException) -> bool:
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
    """Asks the kernel for SIGTERM at the end of the process that started this one."""
    # Bound to the parent's thread, not to its process: gotcha G1 in README.
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:
        raise CommandFailed("the parent process has ended", "start again", Exit.FAILED)
