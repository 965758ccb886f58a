"""The life of a replica: say hello, load the model, then answer one prediction after the other.

    -> HELLO    <- START    -> READY | FAILED, exit 1
                <- PREDICT  -> [TRACKED] ANSWER | RAISED | REFUSED     again and again
                end of pipe: exit as after a SIGTERM: the model's handler of SIGTERM runs, if it
                has one, then what it registered with `atexit`

Each prediction is answered exactly once or the process ends. Ordinary exceptions are the function's
answer; SystemExit, KeyboardInterrupt and similar end the process as they end any Python program.
"""

from __future__ import annotations

# Not `signal`, since a project's file may have that name (gotcha G2); unknown to typeshed.
import _signal  # type: ignore[import-not-found]
import faulthandler
import json
import os
import sys
import time

from . import failures, output
from .calling import Loop, is_async
from .model import load
from .names import know_localhost
from .precedence import offer
from .tracking import book
from .wire import ANSWER, FAILED, HELLO, PREDICT, RAISED, READY, REFUSED, START, Wire

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from typing import Any

PROTOCOL = 1


def main(inlet: int, outlet: int) -> None:
    """Serves one model by the wire on these two file descriptors until the gateway closes it."""
    wire = Wire(inlet, outlet)
    faulthandler.enable()  # a crash in C then writes its stack to the log
    output.by_lines()
    know_localhost()
    wire.send(HELLO, 0, _json(_introduction()))
    frames = wire.frames()
    for kind, _, body in frames:
        _expect(START, kind)
        start = json.loads(body)
        book.serve(start["crns"])
        offer()
        function = _load(wire, start)
        loop = Loop() if is_async(function) else None
        if loop is not None:
            wire.idle = loop.run_until_readable
        function, say = book.served(function, loop.awaiting if loop is not None else _as_it_is)
        read = bytes if start["raw"] else _decode
        _answer(wire, frames, read, function, say, start)
        _run_handler_of_sigterm()
        if loop is not None:
            loop.close()


def _as_it_is(function: Callable[[object], object]) -> Callable[[object], object]:
    return function


def _introduction() -> dict[str, object]:
    version = "{}.{}.{}".format(*sys.version_info)
    return {"protocol": PROTOCOL, "language": "python", "version": version, "pid": os.getpid()}


def _load(wire: Wire, start: Mapping[str, Any]) -> Callable[[object], object]:
    """The model's function; on failure, sends the reason and ends the process."""
    output.log("Start Model initialization")
    began = time.perf_counter()
    try:
        function = load(start["root"], start["file"], start["function"])
    except BaseException as problem:  # sys.exit() at the top of a file is a failed start, too
        trace = failures.traceback_text(problem)
        output.write_stderr(trace)
        wire.send(FAILED, 0, _json({**failures.describe(problem), "traceback": trace}))
        raise SystemExit(1) from None
    output.log("Finish Model initialization")
    output.say("Model ready")
    wire.send(READY, 0, _json({"seconds": time.perf_counter() - began}))
    return function


def _answer(
    wire: Wire,
    frames: Iterator[tuple[int, int, bytes]],
    read: Callable[[bytes], object],
    function: Callable[[object], object],
    say: Callable[[object], bytes],
    start: Mapping[str, Any],  # the body of START
) -> None:
    max_response_size, prefix = start["max_response_size"], start["request_prefix"]
    for kind, number, body in frames:
        _expect(PREDICT, kind)
        book.asked = True
        outcome, reply = _predict(read, function, say, body, max_response_size, prefix, number)
        book.asked = False
        output.flush()
        page = book.page
        if page is None:
            wire.send(outcome, number, reply)
            continue
        book.page = None
        if outcome == ANSWER:
            wire.send_tracked(number, page.body(), reply)
        else:
            wire.send(outcome, number, reply)


def _predict(
    read: Callable[[bytes], object],
    function: Callable[[object], object],
    say: Callable[[object], bytes],
    body: bytes,
    max_response_size: int,
    prefix: str,
    number: int,
) -> tuple[int, bytes]:
    """One prediction: the kind of frame that answers it, and its body."""
    try:
        argument = read(body)
    except (ValueError, RecursionError) as problem:
        return REFUSED, _json({"message": failures.describe(problem)["message"]})
    try:
        reply = say(function(argument))
        if len(reply) > max_response_size:
            raise ValueError(
                f"the answer is {len(reply)} bytes long as JSON; "
                f"at most {max_response_size} are allowed"
            )
    except failures.InvalidRequest as problem:
        return REFUSED, _json({"message": failures.describe(problem)["message"]})
    except Exception as problem:
        trace = failures.traceback_text(problem)
        # As `gateway/request_lines.py` reads it.
        about = "[predictd] request {}{:012x} failed, {} lines:"
        output.write_stderr(about.format(prefix, number, trace.count("\n")) + "\n" + trace)
        return RAISED, _json(failures.describe(problem))
    return ANSWER, reply


def _run_handler_of_sigterm() -> None:
    """Models that clean up expect a SIGTERM. Raised here, it never interrupts a prediction."""
    if callable(_signal.getsignal(_signal.SIGTERM)):
        _signal.raise_signal(_signal.SIGTERM)


def _expect(expected: int, kind: int) -> None:
    if kind != expected:
        raise RuntimeError(f"the gateway sent a frame of kind {kind} where {expected} was due")


def _json(body: Mapping[str, object]) -> bytes:
    # UTF-8, with at most six bytes a character: escapes of emoji take twelve, and the gateway
    # bounds what it reads. The text of failures.py has no surrogates.
    return _say(body).encode()


def _decode(body: bytes) -> object:
    text = str(body, "utf-8")
    try:
        value, end = _scan(text, 0)
        if end == len(text):
            return value
    except StopIteration:
        pass
    return _decoder.decode(
        text
    )  # it has blanks around it, or an error, which this raises with its position


# Bound now: a model that replaces `json.dumps` replaces it for itself (gotcha G11 in README).
_say = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False).encode
_decoder = json.JSONDecoder()
_scan = _decoder.scan_once  # type: ignore[attr-defined]  # unknown to typeshed
