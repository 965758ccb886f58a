"""The error of a peer that could not be measured."""

from collections.abc import Iterable

_LINES = 20


class PeerFailed(Exception):
    """A peer did not install, start, answer correctly or end: the reason and its last output."""

    def __init__(self, peer: str, reason: str, output: Iterable[str] = ()) -> None:
        self.peer = peer
        self.reason = reason
        self.output = [line.rstrip() for line in output if line.strip()][-_LINES:]
        super().__init__("\n  ".join([f"{peer}: {reason}", *self.output]))
