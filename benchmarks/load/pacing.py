"""When requests of an open loop are due, and a timer that wakes the generator for them.

asyncio's timers tick in milliseconds, which is ten times as long as a prediction. A timerfd wakes
within some ten microseconds and costs nothing meanwhile; spinning would take a core from the
server. The delay of the timer is recorded and reported.
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
    """The times at which requests are due, in nanoseconds since the beginning, ascending.

    Many independent callers make Poisson arrivals. The seed is fixed, so every server gets the
    same arrivals.
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
        # By default the kernel may wake a thread 50 microseconds late, to save power.
        self._libc.prctl(_PR_SET_TIMERSLACK, 1, 0, 0, 0)
        self.fd = self._libc.timerfd_create(_CLOCK_MONOTONIC, _TFD_NONBLOCK_CLOEXEC)
        if self.fd < 0:
            raise OSError(ctypes.get_errno(), "timerfd_create")

    def set(self, due: int) -> None:
        spec = _TimerSpec(0, 0, *divmod(due, _SECOND))
        if self._libc.timerfd_settime(self.fd, _TFD_TIMER_ABSTIME, ctypes.byref(spec), None):
            raise OSError(ctypes.get_errno(), "timerfd_settime")

    def clear(self) -> None:
        """Clears the readable state after the timer expired."""
        with suppress(BlockingIOError):  # the timer was set again meanwhile
            os.read(self.fd, 8)

    def close(self) -> None:
        os.close(self.fd)
