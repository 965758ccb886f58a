"""The inner end of the wire: frames on two pipes that belong to nobody but us.

A frame is a header of 13 bytes, little-endian (u32 length of the body, u8 kind, u64 id), then the
body, which is JSON. The gateway is trusted to frame rightly; what ends is ended by it: the pipe
closing, even in the middle of a frame, means that the gateway is gone or wants us gone.

The law kept here: what is sent is sent by this process alone. Programs started by the model do not
inherit the pipes, and in a process forked from this one both lead nowhere, so such a child, should
it ever come back to the loop, answers nobody and ends.
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
FIRST = 4096  # reading into more than is needed costs time
CHUNK = 65536  # what a pipe holds, and so the most that one read brings

# How often to look for a frame before sleeping, while that pays; a look takes half a microsecond.
LOOKS = 48
# Between so many looks the core is offered to others: seldom, since the kernel takes each offer for
# a turn of milliseconds that was given up.
OFFER = 10
BELIEF = 8  # so many times for nothing in a row, and it does not pay; ...
TRY = 8  # ... but each time it has slept so often it is tried again


class Wire:
    """Two file descriptors: frames come in by one and go out by the other."""

    def __init__(self, inlet: int, outlet: int) -> None:
        self._inlet = inlet
        self._outlet = outlet
        self._poll = select.poll()
        self._poll.register(inlet, select.POLLIN)
        self._belief = self._naps = 0
        # Where there is something to do until a frame comes, it is done by this.
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
        """Wait a little for what comes next: to sleep and be woken takes longer than a quick model.
        Whether it has come.

        Where looking does not pay, as for slow models and rare requests, it is left.
        """
        self._naps += 1
        if not self._belief and self._naps % TRY:
            return False
        for look in range(1, LOOKS + 1):
            if self._poll.poll(0):
                self._belief = BELIEF
                return True
            if look % OFFER == 0:
                os.sched_yield()
        if self._belief:
            self._belief -= 1
        return False

    def send(self, kind: int, number: int, body: bytes) -> None:
        """Write one whole frame."""
        self._write(HEADER.pack(len(body), kind, number) + body)

    def send_tracked(self, number: int, tracked: bytes, body: bytes) -> None:
        """Write an answer and, right before it, what was tracked of it."""
        self._write(
            HEADER.pack(len(tracked), TRACKED, number)
            + tracked
            + HEADER.pack(len(body), ANSWER, number)
            + body
        )

    def _write(self, frames: bytes) -> None:
        """Write them, however many writes that takes; leave when nobody reads."""
        try:
            written = os.write(self._outlet, frames)
            while written < len(frames):
                written += os.write(self._outlet, memoryview(frames)[written:])
        except BrokenPipeError:
            raise SystemExit(0) from None

    def _read_up_to(self, end: int, data: bytes) -> bytes:
        """`data` and what follows it, at least `end` bytes of them unless the pipe closes first."""
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
