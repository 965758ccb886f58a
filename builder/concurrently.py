"""Runs independent parts of one step at once, with the errors of a plain call."""

from collections.abc import Awaitable, Callable

import trio


async def run_all(*parts: Callable[[], Awaitable[object]]) -> None:
    """Run all parts at once. Where one raises, the others are cancelled, and its error is raised:
    that of the first, where several raise."""
    try:
        async with trio.open_nursery() as nursery:
            for part in parts:
                nursery.start_soon(part)
    except BaseExceptionGroup as group:
        if errors := group.subgroup(Exception):
            raise _first(errors) from None
        raise


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
