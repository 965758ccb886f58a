"""Finds the lines of a model's log that belong to a request.

A request that fails leaves a line with its id, as its caller got it: before the traceback, with the
number of lines that follow, or after its replica has ended. A replica serves one request at a time,
so these lines belong together.
"""

import re
from typing import Protocol

_ABOUT = re.compile(r"\[predictd\] request ([0-9a-f]{32}) (?:failed, (\d{1,6}) lines:|ended )")


class LogLine(Protocol):
    """What a replica printed, and on which stream."""

    @property
    def stream(self) -> str: ...
    @property
    def text(self) -> str: ...


class RequestLines:
    """Reads the lines of one replica, in order."""

    def __init__(self) -> None:
        self._request = ""
        self._left = 0

    def request_of(self, line: LogLine) -> str:
        """The id of the request that this line belongs to, "" if none is known."""
        if line.stream != "stderr":
            return ""
        if about := _ABOUT.match(line.text):
            self._request, self._left = about[1], int(about[2] or 0)
            return self._request
        if not self._left:
            return ""
        self._left -= 1
        return self._request
