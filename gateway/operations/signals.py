"""Signals: each signal that would end the process by default has a meaning here.

`ACTIONS` is the table; the README has it too. Signals arrive in Trio's loop as events, so an action
never interrupts other code. Signals outside the table keep their defaults: those by which the
kernel reports a fault of the process itself (SEGV, BUS, FPE, ILL, TRAP, SYS), SIGABRT, by which
abort() and systemd's watchdog end it, and SIGKILL. Python ignores SIGPIPE and SIGXFSZ.

A started program does not inherit handlers: for models all signals have their defaults.
"""

import logging
import os
import signal
from collections.abc import Awaitable, Callable
from contextlib import suppress
from enum import Enum

import trio

logger = logging.getLogger(__name__)


class Action(Enum):
    """What a signal is for."""

    STOP = "ends in the shutdown grace"
    RELOAD = "reads the certificate and its key again, opens the access log again"
    NOTHING = "is logged, and has no effect"


ACTIONS: dict[str, Action] = {
    "SIGTERM": Action.STOP,
    "SIGINT": Action.STOP,
    "SIGQUIT": Action.STOP,
    # A power failure is near.
    "SIGPWR": Action.STOP,
    # RLIMIT_CPU: SIGKILL follows.
    "SIGXCPU": Action.STOP,
    "SIGHUP": Action.RELOAD,
    "SIGUSR1": Action.NOTHING,
    "SIGUSR2": Action.NOTHING,
    "SIGALRM": Action.NOTHING,
    "SIGVTALRM": Action.NOTHING,
    "SIGPROF": Action.NOTHING,
    "SIGIO": Action.NOTHING,
    "SIGSTKFLT": Action.NOTHING,
    # All from SIGRTMIN to SIGRTMAX.
    "SIGRTMIN": Action.NOTHING,
}


def action_of(number: int) -> Action | None:
    """The action of a signal; None if it keeps its default."""
    if signal.SIGRTMIN <= number <= signal.SIGRTMAX:
        return ACTIONS["SIGRTMIN"]
    return _by_number().get(number)


def _by_number() -> dict[int, Action]:
    # Some platforms lack some of them.
    found = ((getattr(signal, name, None), action) for name, action in ACTIONS.items())
    return {int(number): action for number, action in found if number is not None}


async def watch_signals(
    stop: Callable[[], None],
    reload: Callable[[], Awaitable[None]],
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Runs the actions of signals. `stop` may be called more than once. Never returns."""
    had_terminal = has_terminal()
    watched = [number for number in signal.valid_signals() if action_of(number)]
    with trio.open_signal_receiver(*watched) as signals:
        task_status.started()
        async for number in signals:
            action = action_of(number)
            if number == signal.SIGHUP and had_terminal and not has_terminal():
                # The terminal was closed, so a user has no other way to end the gateway.
                action = Action.STOP
            logger.info(
                "signal.received name=%s: %s", _name(number), action.value if action else ""
            )
            if action is Action.STOP:
                stop()
            elif action is Action.RELOAD:
                await reload()


def has_terminal() -> bool:
    """Whether the process has a terminal that is still open."""
    try:
        terminal = os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        return False
    os.close(terminal)
    return True


def _name(number: int) -> str:
    with suppress(ValueError):
        return signal.Signals(number).name
    return f"SIGRTMIN+{number - signal.SIGRTMIN}"
