"""When requests of an open loop are due, and waking up for them.

asyncio's timers tick in milliseconds, which is ten times what a prediction takes. A timerfd wakes
within some ten microseconds and costs nothing in between, where spinning would take a core away
from the server. What it is late is recorded and reported.
"""

import ctypes
import os
import random
from collections.abc import Iterator
from contextlib import suppress

_CLOCK_MONOTONIC = 1
_TFD_NONBLOCK_CLOEXEC = os.O_NONBLOCK | os.O_CLOEXEC
_TFD_TIMER_ABSTIME = 1
_PR_SET_TIMERSLACK = 29
_SECOND = 1_000_000_000


def due_times(rate: float, seconds: float, *, poisson: bool) -> Iterator[int]:
    """Nanoseconds since the beginning at which requests are due, ascending.

    Poisson arrivals are what many independent callers make; they come from a fixed seed, so every
    contender meets the same ones.
    """
    dice = random.Random(rate)
    step = _SECOND / rate
    at = 0.0
    while at < seconds * _SECOND:
        yield int(at)
        at += dice.expovariate(1 / step) if poisson else step


class _TimerSpec(ctypes.Structure):
    _fields_ = [(name, ctypes.c_long) for name in ("every_s", "every_ns", "due_s", "due_ns")]


class Timer:
    """A file descriptor that becomes readable at a time of `time.monotonic_ns`."""

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        # Else the kernel may wake us 50 microseconds late, to save power.
        self._libc.prctl(_PR_SET_TIMERSLACK, 1, 0, 0, 0)
        self.fd = self._libc.timerfd_create(_CLOCK_MONOTONIC, _TFD_NONBLOCK_CLOEXEC)
        if self.fd < 0:
            raise OSError(ctypes.get_errno(), "timerfd_create")

    def set(self, due: int) -> None:
        spec = _TimerSpec(0, 0, *divmod(due, _SECOND))
        if self._libc.timerfd_settime(self.fd, _TFD_TIMER_ABSTIME, ctypes.byref(spec), None):
            raise OSError(ctypes.get_errno(), "timerfd_settime")

    def clear(self) -> None:
        """Takes note that it went off."""
        with suppress(BlockingIOError):  # it was set again meanwhile
            os.read(self.fd, 8)

    def close(self) -> None:
        os.close(self.fd)
