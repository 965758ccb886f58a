"""How the model's function is called: with one argument, and awaited where it is `async def`.

A function that can never answer is refused before it is served: a generator function, and a
function that does not take exactly one argument. The check does not call it.

It reads the flags of the code object; `inspect` would cost ten milliseconds of each start. It is
imported only for callables that are not plain functions, and to write a signature into an error.
"""

from __future__ import annotations

import functools
import types

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Function = Callable[..., Any]

_VARARGS, _GENERATOR, _COROUTINE, _ITERABLE_COROUTINE, _ASYNC_GENERATOR = 4, 32, 128, 256, 512
_METHODS = (types.FunctionType, types.MethodType)


def refuse_unfit(function: Function, name: str) -> None:
    """Raises TypeError for a function that would fail on every call."""
    code = _code(function)
    flags = code.co_flags if code is not None else 0
    # `types.coroutine` makes a generator function awaitable.
    if flags & (_GENERATOR | _ASYNC_GENERATOR) and not flags & _ITERABLE_COROUTINE:
        raise TypeError(
            f"{name!r} is a generator function (it has a `yield`), and answers are not streamed:"
            " return one value, such as a list"
        )
    if not _takes_one(function):
        raise TypeError(
            f"{name}{_signature(function)} is called with one argument, the request, which it does"
            f" not take: define it as {name}(args)"
        )


def is_async(function: Function) -> bool:
    """Whether the result of a call must be awaited, as far as the check can see."""
    # `inspect.markcoroutinefunction` and `asyncio.coroutine` set these marks.
    if hasattr(function, "_is_coroutine_mark") or hasattr(function, "_is_coroutine"):
        return True
    code = _code(function)
    if code is not None and code.co_flags & (_COROUTINE | _ITERABLE_COROUTINE):
        return True
    # A decorator returns the result of the function that it wraps, or has awaited it.
    wrapped = getattr(function, "__wrapped__", None)
    return wrapped is not None and is_async(wrapped)


def _code(function: Any) -> types.CodeType | None:
    """The code that runs when `function` is called, if it is Python code."""
    while isinstance(function, functools.partial):
        function = function.func
    if not isinstance(function, (*_METHODS, type)):
        function = type(function).__call__  # for a callable instance
    code = getattr(function, "__code__", None)
    return code if isinstance(code, types.CodeType) else None


def _takes_one(function: Any) -> bool:
    if not isinstance(function, _METHODS):
        return _binds_one(function)
    plain: Any = getattr(function, "__func__", function)
    if not isinstance(plain, types.FunctionType):
        return _binds_one(function)
    code, given = plain.__code__, 1 + (plain is not function)
    if code.co_kwonlyargcount > len(plain.__kwdefaults__ or ()):
        return False
    needed = code.co_argcount - len(plain.__defaults__ or ())
    return needed <= given and (given <= code.co_argcount or bool(code.co_flags & _VARARGS))


def _binds_one(function: Function) -> bool:
    import inspect

    try:
        signature = inspect.signature(function)
    except (ValueError, TypeError):  # no signature, as for some functions in C
        return True
    try:
        signature.bind(None)
    except TypeError:
        return False
    return True


def _signature(function: Function) -> str:
    import inspect

    return str(inspect.signature(function, follow_wrapped=False))


class Loop:
    """The event loop of a replica whose function is `async def`: one, for as long as it lives.

    So objects that a library binds to a loop (connections, locks) serve every prediction. Between
    predictions the loop continues to run the model's tasks. If the model's file used a loop, it is
    that one, and else of the kind that the file requested (uvloop, say).
    """

    def __init__(self) -> None:
        import asyncio
        import warnings

        self._asyncio = asyncio
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)
                loop = asyncio.get_event_loop()
        except RuntimeError:  # no loop: from Python 3.14 on, or after `asyncio.run`
            loop = asyncio.new_event_loop()
        self._loop = asyncio.new_event_loop() if loop.is_closed() else loop
        asyncio.set_event_loop(self._loop)

    def awaiting(self, function: Function) -> Function:
        """`function` as a plain one: it returns the awaited result."""
        run, cancelled = self._loop.run_until_complete, self._asyncio.CancelledError

        def predict(argument: object) -> object:
            result = function(argument)
            if not _is_awaitable(result):
                return result
            try:
                return run(result)
            except cancelled:  # not an Exception from Python 3.8 on, but only this call ends
                raise RuntimeError("the prediction was cancelled by the model itself") from None

        return predict

    def run_until_readable(self, descriptor: int) -> None:
        """Runs the model's remaining tasks until there is something to read."""
        self._loop.add_reader(descriptor, self._loop.stop)
        try:
            self._loop.run_forever()
        finally:
            self._loop.remove_reader(descriptor)

    def close(self) -> None:
        """Cancels all tasks, as `asyncio.run` does at its end."""
        loop, asyncio = self._loop, self._asyncio
        tasks = asyncio.all_tasks(loop)
        for task in tasks:
            task.cancel()
        if tasks:
            loop.run_until_complete(asyncio.wait(tasks))
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()


def _is_awaitable(value: object) -> bool:
    if isinstance(value, types.GeneratorType):
        return bool(value.gi_code.co_flags & _ITERABLE_COROUTINE)
    return hasattr(type(value), "__await__")
