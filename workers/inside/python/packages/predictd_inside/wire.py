"""The inner end of the wire: frames on two pipes that no other code uses.

A frame is a header of 13 bytes, little-endian (u32 length of the body, u8 kind, u64 id), then the
body, which is JSON. The gateway is trusted to write correct frames. A closed pipe, even in the
middle of a frame, means that the gateway has ended or wants this process to end.

The law: only this process sends. Programs that the model starts do not inherit the pipes, and in a
process forked from this one both lead to /dev/null, so such a child, if it ever returns to the
loop, answers no request and ends.
"""

from __future__ import annotations

import os
import select
import struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

START, PREDICT = 1, 2
HELLO, READY, FAILED, ANSWER, RAISED, REFUSED, TRACKED = 16, 17, 18, 19, 20, 21, 22

HEADER = struct.Struct("<IBQ")
FIRST = 4096  # a read into a larger buffer than needed costs time
CHUNK = 65536  # the size of a pipe, and so the most that one read returns

# How often to poll for a frame before sleeping, while that pays; a poll takes half a microsecond.
SPIN_LIMIT = 48
# After this many polls the core is offered to others: seldom, since the kernel takes each offer for
# a turn of milliseconds that was given up.
OFFER = 10
SPIN_WEIGHT = 8  # polling does not pay after so many failures in a row, ...
TRY = 8  # ... but is tried again each time the process has slept so often


class Wire:
    """Two file descriptors: frames come in by one and go out by the other."""

    def __init__(self, inlet: int, outlet: int) -> None:
        self._inlet = inlet
        self._outlet = outlet
        self._poll = select.poll()
        self._poll.register(inlet, select.POLLIN)
        self._spin_credit = self._sleeps = 0
        # Does work until a frame comes, where there is any.
        self.idle: Callable[[int], None] | None = None
        for descriptor in (inlet, outlet):
            os.set_inheritable(descriptor, False)
        os.register_at_fork(after_in_child=self._lead_nowhere)  # gotcha G1 in README

    def frames(self) -> Iterator[tuple[int, int, bytes]]:
        """Every frame that comes in as (kind, id, body), until the pipe is closed."""
        data = b""
        while True:
            if not self._look() and self.idle is not None:
                self.idle(self._inlet)
            chunk = os.read(self._inlet, FIRST)
            if not chunk:
                return
            data = data + chunk if data else chunk
            while len(data) >= HEADER.size:
                length, kind, number = HEADER.unpack_from(data)
                end = HEADER.size + length
                if len(data) < end:
                    data = self._read_up_to(end, data)
                    if len(data) < end:
                        return
                yield kind, number, data[HEADER.size : end]
                data = data[end:]

    def _look(self) -> bool:
        """Polls for the next frame for a short time: to sleep and wake takes longer than a quick
        model. Whether the frame has come.

        It skips polling where that does not pay, as for slow models and rare requests.
        """
        self._sleeps += 1
        if not self._spin_credit and self._sleeps % TRY:
            return False
        for look in range(1, SPIN_LIMIT + 1):
            if self._poll.poll(0):
                self._spin_credit = SPIN_WEIGHT
                return True
            if look % OFFER == 0:
                os.sched_yield()
        if self._spin_credit:
            self._spin_credit -= 1
        return False

    def send(self, kind: int, number: int, body: bytes) -> None:
        """Writes one whole frame."""
        self._write(HEADER.pack(len(body), kind, number) + body)

    def send_tracked(self, number: int, tracked: bytes, body: bytes) -> None:
        """Writes an answer and, right before it, the prediction's metrics."""
        self._write(
            HEADER.pack(len(tracked), TRACKED, number)
            + tracked
            + HEADER.pack(len(body), ANSWER, number)
            + body
        )

    def _write(self, frames: bytes) -> None:
        """Writes frames, in as many writes as needed; exits when the reader is gone."""
        try:
            written = os.write(self._outlet, frames)
            while written < len(frames):
                written += os.write(self._outlet, memoryview(frames)[written:])
        except BrokenPipeError:
            raise SystemExit(0) from None

    def _read_up_to(self, end: int, data: bytes) -> bytes:
        """`data` and the bytes after it, at least `end` in all unless the pipe closes first."""
        pieces, size = [data], len(data)
        while size < end:
            chunk = os.read(self._inlet, CHUNK)
            if not chunk:
                break
            pieces.append(chunk)
            size += len(chunk)
        return b"".join(pieces)

    def _lead_nowhere(self) -> None:
        nowhere = os.open(os.devnull, os.O_RDWR)
        for descriptor in (self._inlet, self._outlet):
            os.dup2(nowhere, descriptor, inheritable=False)
        os.close(nowhere)
