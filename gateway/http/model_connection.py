"""One connection of a caller of models: HTTP/1.1 as a state machine without I/O.

What happens comes in by `received`, `ended`, `sent` and `broken`; what is to be done goes out by
its Line. One request at a time: until its answer is out, what follows waits in a buffer, and a
buffer that is full stops the reading. The laws:

- Each request that was read gets one answer, in order, or the connection ends.
- One deadline at a time: for the head and for the body in all, for the client to take its answer,
  for the next request to begin. One that passes costs the client its connection.
- A client that is gone has no ticket in a queue. One that only sends no more, which looks the same
  from here, still gets the answer that is being made.
- A request that is no call of a model leaves with its connection, and not a byte of it is lost.
"""

from collections import Counter
from collections.abc import Callable
from enum import Enum, auto
from math import inf
from typing import Protocol

from gateway.client_network import network_of
from gateway.errors import Refusal, refusal
from gateway.http.access_log import AccessLog
from gateway.http.body import Body
from gateway.http.chunked import ChunkedDecoder
from gateway.http.fair_shares import FairShares
from gateway.http.head_cache import HeadCache, ParsedHead
from gateway.http.proxies import Proxies
from gateway.http.request_head import ProtocolError, end_of_head
from gateway.http.responses import CONTINUE, ResponseRenderer
from gateway.predictions.call import (
    CallResponse,
    offloaded_envelope,
    refusal_response,
    resolve,
    response_to,
)
from gateway.predictions.endpoints import Endpoints
from gateway.predictions.envelope import InvalidEnvelope, read
from gateway.predictions.offload import INLINE_LIMIT, OffloadedParser
from workers import MovableTimer, Pool, Ticket

HEAD_SECONDS = 10.0
BODY_SECONDS = 30.0
SEND_SECONDS = 30.0
IDLE_SECONDS = 75.0
# At the end of the gateway: for the first request of a client, and for one that is on its way.
FIRST_SECONDS = 1.0
LAST_SECONDS = 0.1
# How long a client that still sends after its last answer is listened to (gotcha G4).
LINGER_SECONDS = 2.0
# How much may follow a request that is being answered before the reading stops.
_MOST_UNREAD = 64 * 1024
# How many requests are answered at once, without a model, before others have their turn.
_IN_A_ROW = 32
_END_OF_HEAD = b"\r\n\r\n"


class ConnectionState(Enum):
    IDLE = auto()  # between two requests
    HEAD = auto()  # some of a head has come
    BODY = auto()
    WAITING = auto()  # for the outcome of its ticket
    SENDING = auto()  # the client has not taken all of its answer
    LINGERING = auto()  # the last answer is out; what still comes is thrown away
    CLOSED = auto()


# By these names they cost a fifth of what looking them up on the class costs.
IDLE, HEAD, BODY, WAITING, SENDING, LINGERING, CLOSED = ConnectionState
_READING = (IDLE, HEAD, BODY)


class Transport(Protocol):
    """The bytes of one client, both ways."""

    def write(self, data: bytes | bytearray) -> bool:
        """Sends `data`, which nobody changes any more. False where some of it, or of what was
        written before, has to wait: `sent` follows when all is out."""

    def pause_reading(self) -> None:
        """Reads no more until `read_on`. That the client is gone is still told."""

    def resume_reading(self) -> None: ...

    def end(self) -> None:
        """Tells the client that no more comes."""

    def close(self) -> None: ...

    def detach(self, first: bytes) -> None:
        """Gives the client to the other server, with what was read and not served."""


class ConnectionContext(Protocol):
    """What the connections have in common."""

    routes: Endpoints
    examiner: OffloadedParser
    openings: HeadCache
    replies: ResponseRenderer
    memory: FairShares
    max_request_size: int
    answers: Counter[int]  # by status
    proxies: Proxies
    access_log: AccessLog | None

    def now(self) -> float: ...
    def alarm(self, call: Callable[[], object]) -> MovableTimer: ...


class ModelConnection:
    """`address` is the client of the last request: the `peer`, or, where that is a trusted proxy,
    the client that the proxy names; `flow`, what it is counted as. All methods are for the
    reactor's thread."""

    __slots__ = (
        "_alarm",
        "_began",
        "_body",
        "_door",
        "_ended",
        "_in_read",
        "_keep",
        "_last",
        "_line",
        "_model_id",
        "_opening",
        "_paused",
        "_peer",
        "_proxied",
        "_ticket",
        "_unread",
        "address",
        "flow",
        "state",
    )

    def __init__(self, door: ConnectionContext, line: Transport, peer: str) -> None:
        self._peer = peer
        self._is_in(peer)
        self._proxied = door.proxies.trusts(peer)
        self.state = IDLE
        self._door = door
        self._line = line
        self._alarm = door.alarm(self._on_deadline)
        self._alarm.set(door.now() + IDLE_SECONDS)
        self._model_id = ""  # that the request calls
        self._opening: ParsedHead | None = None  # of the request that has begun last
        # When a request was there as a whole; for the access log alone.
        self._began = inf
        self._body: Body | None = None
        self._ticket: Ticket | None = None
        # What has come and cannot be looked at yet.
        self._unread = b""
        # `_read` runs, and will see by itself that it may go on.
        self._in_read = False
        # Others have their turn before the rest of `_unread`.
        self._paused = False
        # No request is read after this one; the connection goes on after the answer under way.
        self._last = self._keep = False
        self._ended = False  # the client sends no more

    def __repr__(self) -> str:
        return f"<ModelConnection {self.address} {self.state.name}>"

    # What the line tells.

    def received(self, data: bytes) -> None:
        """The client sent something."""
        if self._unread:
            data = self._unread + data
            self._unread = b""
        if self.state in _READING:
            self._read(data)
        elif self.state is not LINGERING:
            self._unread = data
            if len(data) >= _MOST_UNREAD:
                self._line.pause_reading()

    def ended(self) -> None:
        """The client sends no more: it is gone, or wants nothing but the answer under way."""
        waiting = self.state is WAITING and not self._withdraw()
        if not waiting and self.state is not SENDING:
            self.close()
            return
        self._ended = self._last = True
        self._unread = b""
        self._line.pause_reading()

    def sent(self) -> None:
        """What had to wait has gone out."""
        if self.state is SENDING:
            self._answered(self._door.now())
            if self._unread:
                self._resume()

    def stop(self) -> None:
        """The gateway ends: a request that has begun, or is on its way, is the last one."""
        self._last = True
        if self._paused:
            self.close()
        elif self.state is IDLE:
            # Whoever has just come was let in, and gets an answer; others may have sent something
            # that nobody has read yet, and to close now would lose it.
            wait = FIRST_SECONDS if self._opening is None else LAST_SECONDS
            self._alarm.set(self._door.now() + wait)

    def close(self) -> None:
        """Ends it at once: the client is gone, or is to go."""
        if self.state is CLOSED:
            return
        ticket = self._ticket
        self._forget()
        if ticket is not None:
            ticket.abandon()
        self._line.close()

    # From bytes to requests.

    def _read(self, data: bytes) -> None:
        """Goes through `data` until it needs more of it, or an outcome."""
        self._in_read, self._paused = True, False
        left = _IN_A_ROW
        try:
            while data and self.state in _READING and (left > 0 or self.state is not IDLE):
                body = self._body
                data = self._read_head(data) if body is None else self._read_body(body, data)
                left -= 1
        except ProtocolError as malformed:
            if self._body is None:
                self._forget_head()
            self._refuse_last(refusal(malformed))
        except Refusal as refused:
            self._refuse_last(refused)
        else:
            if data and self.state is not CLOSED:
                self._unread = data
                if self.state is IDLE:
                    self._pause()
        self._in_read = False

    def _pause(self) -> None:
        """Goes on in the next turn of the reactor."""
        self._paused = True
        self._line.pause_reading()
        self._alarm.set(self._door.now())

    def _read_head(self, data: bytes) -> bytes:
        """Reads a head, and answers its request if all of it has come; returns what follows."""
        end = data.find(_END_OF_HEAD) + 4
        if end < 4:
            self._await_head(data)
            return b""
        self._opening = opening = self._door.openings.read(data[:end])
        if opening.call is None and opening.is_fallback:
            self._leave(data)
            return b""
        if self._proxied:
            self._is_in(self._door.proxies.source(opening.head.headers).address or self._peer)
        length, rest = opening.head.length, len(data) - end
        if opening.head.chunked or rest < length:
            self._begin_body(opening)
            return data[end:]
        if rest == length:
            self._answer_to(opening, data[end:])
            return b""
        self._answer_to(opening, data[end : end + length])
        return data[end + length :]

    def _await_head(self, data: bytes) -> None:
        end_of_head(data)  # it need not be complete to be malformed
        # An empty line that follows a body does not begin the next request.
        if self.state is IDLE and data.strip(b"\r\n"):
            self.state = HEAD
            self._alarm.set(self._door.now() + HEAD_SECONDS)
        self._unread = data

    def _begin_body(self, opening: ParsedHead) -> None:
        """Some of the body is still to come."""
        if opening.call is None:
            # Whatever the body says the answer is known, and nobody waits for the rest of it.
            self._last = True
            self._answer_to(opening, b"")
            return
        head, door = opening.head, self._door
        chunks = ChunkedDecoder() if head.chunked else None
        self._body = Body(door.memory, self.flow, head.length, chunks, door.max_request_size)
        self.state = BODY
        self._alarm.set(door.now() + BODY_SECONDS)
        if head.expects_continue:
            self._line.write(CONTINUE)

    def _read_body(self, body: Body, data: bytes) -> bytes:
        """Takes what belongs to the body, and answers when it is whole; returns what follows."""
        data = body.feed(data)
        if body.complete:
            assert self._opening is not None
            self._body = None
            try:
                self._answer_to(self._opening, body.join())
            finally:
                body.release()
        return data

    def _forget_head(self) -> None:
        """What is refused now is not known to be anybody's request."""
        self._opening = None
        if self._proxied:
            self._is_in(self._peer)

    def _is_in(self, address: str) -> None:
        self.address, self.flow = address, network_of(address)

    def _leave(self, data: bytes) -> None:
        """The request is for the other server, and so is the rest of the connection."""
        self._forget()
        self._line.detach(data)

    # From requests to answers.

    def _answer_to(self, opening: ParsedHead, body: bytes) -> None:
        if self._door.access_log is not None:
            self._began = self._door.now()
        if opening.call is None:
            self._answer_without_model(opening)
        elif len(body) > INLINE_LIMIT:
            ticket = Ticket(body, self._on_examined, self.flow)
            self._wait_for(self._door.examiner.pool, ticket)
        else:
            try:
                call = opening.call
                pool, payload, flow, self._model_id = resolve(
                    self._door.routes, call, read(body), self.flow
                )
            except (Refusal, InvalidEnvelope) as error:
                self._refuse(refusal(error))
            else:
                ticket = Ticket(payload, self._on_outcome, flow, call.limit)
                self._wait_for(pool, ticket)

    def _wait_for(self, pool: Pool, ticket: Ticket) -> None:
        self.state = WAITING
        self._ticket = ticket
        pool.submit(ticket)

    def _on_examined(self, ticket: Ticket) -> None:
        if ticket is not self._ticket or ticket.outcome is None:
            return
        self._ticket = None
        assert self._opening is not None
        assert self._opening.call is not None
        call = self._opening.call
        try:
            envelope = offloaded_envelope(ticket.outcome, ticket.request)
            pool, payload, flow, self._model_id = resolve(
                self._door.routes, call, envelope, self.flow
            )
        except (Refusal, InvalidEnvelope) as error:
            self._refuse(refusal(error))
            self._resume()
        else:
            self._wait_for(pool, Ticket(payload, self._on_outcome, flow, call.limit))
            # Gone in the meantime, it waits in no queue (if no replica has taken it at once).
            if self._ended and self._withdraw():
                self.close()

    def _answer_without_model(self, opening: ParsedHead) -> None:
        if opening.refusal is not None:
            self._refuse(opening.refusal)
        elif opening.reply is not None:
            self._answer(opening.reply, self._door.replies.new_id())

    def _on_outcome(self, ticket: Ticket) -> None:
        # It is not that of this connection any more when it was withdrawn or abandoned.
        if ticket is self._ticket and ticket.outcome is not None:
            self._ticket = None
            assert self._opening is not None
            assert self._opening.call is not None
            request_id = self._door.replies.new_id()
            routes, call = self._door.routes, self._opening.call
            reply = response_to(
                routes, self._model_id, ticket.outcome, request_id, call, ticket.flow
            )
            self._answer(reply, request_id)
            if self._unread:
                self._resume()

    def _refuse(self, refused: Refusal) -> None:
        request_id = self._door.replies.new_id()
        self._answer(refusal_response(refused, request_id), request_id)

    def _refuse_last(self, refused: Refusal) -> None:
        """What comes after this cannot be told apart, or nobody waits for it."""
        self._last = True
        self._refuse(refused)

    def _answer(self, reply: CallResponse, request_id: str) -> None:
        door, opening = self._door, self._opening
        connection, bodiless = "close", False
        if opening is not None:
            bodiless = opening.head.method == "HEAD"
            if not self._last:
                connection = opening.connection
        self._keep = connection != "close"
        door.answers[reply.status] += 1
        now = door.now()
        if door.access_log is not None:
            self._note(door.access_log, reply, request_id, now)
        out = True
        for piece in door.replies.render(
            reply, request_id, now, connection=connection, bodiless=bodiless
        ):
            out = self._line.write(piece)
        if out:
            self._answered(now)
        else:
            self.state = SENDING
            self._alarm.set(now + SEND_SECONDS)

    def _note(self, log: AccessLog, reply: CallResponse, request_id: str, now: float) -> None:
        head = None if self._opening is None else self._opening.head
        size = 0 if head is not None and head.method == "HEAD" else reply.size
        log.add(self.address, head, reply.status, size, max(0.0, now - self._began), request_id)
        self._began = inf

    def _answered(self, now: float) -> None:
        """The answer is out."""
        if self._keep and not self._last:
            self.state = IDLE
            self._alarm.set(now + IDLE_SECONDS)
        elif self._ended:
            self.close()
        else:
            self._linger()

    def _resume(self) -> None:
        """Goes on with what came while the last request was being answered."""
        if self.state is IDLE and not self._in_read:
            data, self._unread = self._unread, b""
            self._read(data)
            if len(self._unread) < _MOST_UNREAD and self.state is not CLOSED:
                self._line.resume_reading()

    # The end.

    def _linger(self) -> None:
        """Closing with unread bytes would reset the connection, and might lose the answer."""
        self._forget()
        self.state = LINGERING
        self._alarm.set(self._door.now() + LINGER_SECONDS)
        self._line.end()
        self._line.resume_reading()

    def _withdraw(self) -> bool:
        """Whether the ticket could be taken back, since no replica has it yet."""
        ticket, self._ticket = self._ticket, None
        if ticket is not None and ticket.withdraw():
            return True
        self._ticket = ticket
        return False

    def _on_deadline(self) -> None:
        if self.state is WAITING:
            return  # its ticket has a deadline of its own
        if self._paused:
            self._alarm.set(self._door.now() + IDLE_SECONDS)
            self._resume()
        elif self.state in (HEAD, BODY):
            if self.state is HEAD:
                self._forget_head()
            self._refuse_last(Refusal("request.timeout", "the request did not come in time"))
        else:
            self.close()

    def _forget(self) -> None:
        """Lets go of all but the line."""
        self.state = CLOSED
        self._alarm.close()
        self._unread = b""
        self._ticket = None
        if self._body is not None:
            self._body.release()
            self._body = None
