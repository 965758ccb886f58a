"""`--timeout`: ends what a command waits for, as Ctrl-C does, after a time.

The work that the command waits for continues. A signal ends each kind of wait, also one for the
network; the command line has one thread that waits, the main one.
"""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn


class TimeLimitReached(KeyboardInterrupt):
    """The time of `--timeout` is over."""


@contextmanager
def time_limit(seconds: float | None) -> Iterator[None]:
    """Raises TimeLimitReached in the block after this time; None is no limit."""
    if seconds is None:
        yield
        return

    def end(*_: object) -> NoReturn:
        raise TimeLimitReached

    before = signal.signal(signal.SIGALRM, end)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
