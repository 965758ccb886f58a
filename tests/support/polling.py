"""Waiting for conditions that set no event, with a deadline: in a thread, and in Trio."""

import time
from collections.abc import Callable
from typing import Any

import trio

# Seconds that no condition should take, but that a machine under load may.
DEADLINE = 30.0


def until(condition: Callable[[], Any], seconds: float = 20, *, pause: float = 0.02) -> Any:
    """The first true result of `condition`. Fails after `seconds`."""
    end = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < end, f"not within {seconds:g} s: {condition}"
        time.sleep(pause)
    return value


async def wait_until(
    condition: Callable[[], object], seconds: float = DEADLINE, *, pause: float = 0.005
) -> None:
    """Returns when `condition` is true. Raises trio.TooSlowError after `seconds`."""
    with trio.fail_after(seconds):
        while not condition():  # noqa: ASYNC110 - there is no event
            await trio.sleep(pause)
