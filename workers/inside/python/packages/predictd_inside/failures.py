"""Describes the model's exceptions, in the model's own terms and in bounded length.

It removes our frames from tracebacks: they do not help the author. The description itself must not
fail, for any `__str__` of an exception and any file names of the project. The text can always be
sent: it is Unicode, without the halves of surrogate pairs that a str may contain.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType

OURS = os.path.dirname(os.path.abspath(__file__))
LONGEST_NAME = 500
LONGEST_MESSAGE = 8_000  # characters; it travels in a reply to a caller
LONGEST_TRACEBACK = 32_000  # characters; it is kept with the deployment


class InvalidRequest(ValueError):
    """Raised by a model's function for a request that the caller has to correct.

        if "petal_length" not in args:
            raise cdsw.InvalidRequest("petal_length is missing")

    The caller gets status 400 with this message, and the replica continues. Any other exception is
    a failure of the model: status 500, and the replica is replaced.
    """


_name_of = type.__dict__["__name__"].__get__


def describe(problem: BaseException) -> dict[str, str]:
    """The exception's type and text, ready to send."""
    try:
        message = str(problem)
        if len(message) > LONGEST_MESSAGE:
            message = f"{message[:LONGEST_MESSAGE]}... ({len(message)} characters)"
        message = unicode(message) + hint(problem)
    except Exception:
        message = "(no text: its __str__ raised an exception)"
    # Not `type(problem).__name__`, which a metaclass may define.
    name: str = _name_of(type(problem))
    return {"type": name[:LONGEST_NAME], "message": message}


def hint(problem: BaseException) -> str:
    """The next step, where the operating system's text does not say it: a model may listen on a TCP
    port by number only with `network: listen`."""
    if not isinstance(problem, PermissionError):
        return ""
    from linecache import getline

    trace, line = problem.__traceback__, ""
    while trace is not None:
        line = getline(trace.tb_frame.f_code.co_filename, trace.tb_lineno)
        trace = trace.tb_next
    if "bind" not in line and "bind" not in str(problem):
        return ""
    return (
        " (it may listen on a free TCP port, which port 0 gives; on others by `--network listen`)"
    )


def unicode(text: str) -> str:
    """`text` with surrogates (`"\\ud800"`), which UTF-8 cannot encode, as their escapes."""
    # `str.encode`, since a subclass of str may have an `encode` of its own.
    return str.encode(text, "utf-8", "backslashreplace").decode()


def theirs(trace: TracebackType | None) -> TracebackType | None:
    """A traceback from its first frame that is not ours."""
    while trace is not None and trace.tb_frame.f_code.co_filename.startswith(OURS):
        trace = trace.tb_next
    return trace


def traceback_text(problem: BaseException) -> str:
    """The traceback as Python prints it, from the model's first frame on; only its end if long."""
    try:
        # A late import: it costs much of a start and may fail (gotcha G2 in README).
        from traceback import format_exception

        trace = theirs(problem.__traceback__)
        text = "".join(format_exception(type(problem), problem, trace))
    except Exception as another:
        described = describe(problem)
        text = (
            f"{described['type']}: {described['message']}\n"
            f"(no traceback, as Python's own traceback module cannot be used here: {another!r})\n"
        )
    return unicode(text if len(text) <= LONGEST_TRACEBACK else "...\n" + text[-LONGEST_TRACEBACK:])
