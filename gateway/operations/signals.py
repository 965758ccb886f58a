"""Signals: each one whose default would end the process has a meaning here.

`ACTIONS` is the table, in the README for people. Signals arrive in Trio's loop as events, so an
action never comes in the midst of anything. What is not in the table keeps its default: signals by
which the kernel tells of a fault of the process itself (SEGV, BUS, FPE, ILL, TRAP, SYS), SIGABRT,
by which abort() and systemd's watchdog end it, and SIGKILL. Python ignores SIGPIPE and SIGXFSZ.

A handler is not inherited by a program that we start: for models all signals have their defaults.
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
    # The power will fail.
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
    """What a signal is for; None where it keeps its default."""
    if signal.SIGRTMIN <= number <= signal.SIGRTMAX:
        return ACTIONS["SIGRTMIN"]
    return _by_number().get(number)


def _by_number() -> dict[int, Action]:
    # Not every platform has all of them.
    found = ((getattr(signal, name, None), action) for name, action in ACTIONS.items())
    return {int(number): action for number, action in found if number is not None}


async def watch_signals(
    stop: Callable[[], None],
    reload: Callable[[], Awaitable[None]],
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Does what signals ask for. `stop` may be called more than once. Never returns."""
    had_terminal = has_terminal()
    watched = [number for number in signal.valid_signals() if action_of(number)]
    with trio.open_signal_receiver(*watched) as signals:
        task_status.started()
        async for number in signals:
            action = action_of(number)
            if number == signal.SIGHUP and had_terminal and not has_terminal():
                # Who started it in a terminal and closed that has no other way to end it.
                action = Action.STOP
            logger.info("%s: %s", _name(number), action.value if action else "")
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
