"""One connection that serves calls of models: HTTP/1.1 as a state machine without I/O.

Events come in by `received`, `ended`, `sent` and `stop`; commands go out to its Transport. One
request at a time: until its response is sent, what follows waits in a buffer, and a full buffer
pauses reading. The laws:

- Each request that was read gets one response, in order, or the connection ends.
- One deadline at a time: for a head, for a body, for the client to read its response, for the next
  request to begin. A deadline that passes costs the client its connection.
- A client that is gone has no ticket in a queue. A client that only sends no more, which looks the
  same from here, still gets the response under way.
- A request that is no call is detached with its connection, and no byte of it is lost.
"""

from math import inf
from typing import Protocol

from gateway.client_network import network_of
from gateway.errors import Refusal, refusal
from gateway.http.access_log import AccessLog
from gateway.http.body import Body
from gateway.http.chunked import ChunkedDecoder
from gateway.http.connection_state import (
    BODY,
    CLOSED,
    HEAD,
    IDLE,
    LINGERING,
    READING,
    SENDING,
    WAITING,
)
from gateway.http.context import HttpContext
from gateway.http.head_cache import ParsedHead
from gateway.http.request_head import ProtocolError, end_of_head
from gateway.http.responses import CONTINUE
from gateway.predictions.call import CallResponse, refusal_response
from gateway.predictions.prediction import Prediction

# How much may follow a request under way before reading is paused.
UNREAD_LIMIT = 64 * 1024
# How many requests that need no model are answered in a row, before others have their turn.
IN_A_ROW = 32
_END_OF_HEAD = b"\r\n\r\n"


class Transport(Protocol):
    """The bytes of one client, in both directions."""

    def write(self, data: bytes | bytearray) -> bool:
        """Sends `data`, which must not change any more. False where some of it, or of what was
        written before, has to wait: `sent` follows when all is sent."""

    def pause_reading(self) -> None:
        """Reads no more until `resume_reading`. That the client is gone is still reported."""

    def resume_reading(self) -> None: ...

    def end(self) -> None:
        """Tells the client that nothing follows."""

    def close(self) -> None: ...

    def detach(self, first: bytes) -> None:
        """Hands the client to the other server, with the bytes that were read and not served."""


class ModelConnection:
    """One connection. `address` is the client of the last request: the `peer`, or the client that
    a trusted proxy names; `flow` is what it counts as. For the reactor's thread."""

    __slots__ = (
        "_body",
        "_context",
        "_ended",
        "_in_read",
        "_is_last",
        "_keep_open",
        "_parsed",
        "_peer",
        "_prediction",
        "_proxied",
        "_request_at",
        "_timer",
        "_transport",
        "_unread",
        "_yielding",
        "address",
        "flow",
        "state",
    )

    def __init__(self, context: HttpContext, transport: Transport, peer: str) -> None:
        self._peer = peer
        self._set_client(peer)
        self._proxied = context.proxies.trusts(peer)
        self.state = IDLE
        self._context = context
        self._transport = transport
        self._timer = context.make_timer(self._on_deadline)
        self._timer.set(context.now() + context.timeouts.idle)
        self._prediction = Prediction(context.endpoints, context.offload, self)
        self._parsed: ParsedHead | None = None  # of the request that began last
        # When the whole request had come; for the access log alone.
        self._request_at = inf
        self._body: Body | None = None
        # What has come and cannot be read yet.
        self._unread = b""
        # `_read` runs, and will notice by itself that it may continue.
        self._in_read = False
        # Others have their turn before the rest of `_unread`.
        self._yielding = False
        # No request is read after this one; the connection stays open after this response.
        self._is_last = self._keep_open = False
        self._ended = False  # the client sends no more

    def __repr__(self) -> str:
        return f"<ModelConnection {self.address} {self.state.name}>"

    # Events of the transport.

    def received(self, data: bytes) -> None:
        """The client sent something."""
        if self._unread:
            data = self._unread + data
            self._unread = b""
        if self.state in READING:
            self._read(data)
        elif self.state is not LINGERING:
            self._unread = data
            if len(data) >= UNREAD_LIMIT:
                self._transport.pause_reading()

    def ended(self) -> None:
        """The client sends no more: it is gone, or wants nothing but the response under way."""
        predicting = self.state is WAITING and not self._prediction.caller_left()
        if not predicting and self.state is not SENDING:
            self.close()
            return
        self._ended = self._is_last = True
        self._unread = b""
        self._transport.pause_reading()

    def sent(self) -> None:
        """All that had to wait is sent."""
        if self.state is SENDING:
            self._answered(self._context.now())
            if self._unread:
                self._resume()

    def stop(self) -> None:
        """The gateway stops: a request that has begun, or is on its way, is the last one."""
        self._is_last = True
        if self._yielding:
            self.close()
        elif self.state is IDLE:
            # The client may have sent a request that is still in the kernel. Closing now would
            # lose it.
            timeouts = self._context.timeouts
            wait = timeouts.first_request if self._parsed is None else timeouts.next_request
            self._timer.set(self._context.now() + wait)

    def close(self) -> None:
        """Ends it at once: the client is gone, or has to go."""
        if self.state is CLOSED:
            return
        self._release()
        self.state = CLOSED
        self._prediction.abandon(self._context.now())
        self._transport.close()

    # From bytes to requests.

    def _read(self, data: bytes) -> None:
        """Reads `data` until it needs more of it, or an outcome."""
        self._in_read, self._yielding = True, False
        left = IN_A_ROW
        try:
            while data and self.state in READING and (left > 0 or self.state is not IDLE):
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
                    self._yield()
        self._in_read = False

    def _yield(self) -> None:
        """Continues in the next turn of the reactor."""
        self._yielding = True
        self._transport.pause_reading()
        self._timer.set(self._context.now())

    def _read_head(self, data: bytes) -> bytes:
        """Reads a head, and serves its request if all of it has come; returns what follows."""
        end = data.find(_END_OF_HEAD) + 4
        if end < 4:
            self._await_head(data)
            return b""
        self._parsed = parsed = self._context.head_cache.read(data[:end])
        if parsed.call is None and parsed.is_fallback:
            self._detach(data)
            return b""
        if self._proxied:
            source = self._context.proxies.source(parsed.head.headers)
            self._set_client(source.address or self._peer)
        length, rest = parsed.head.length, len(data) - end
        if parsed.head.chunked or rest < length:
            self._begin_body(parsed)
            return data[end:]
        if rest == length:
            self._serve(parsed, data[end:])
            return b""
        self._serve(parsed, data[end : end + length])
        return data[end + length :]

    def _await_head(self, data: bytes) -> None:
        end_of_head(data)  # a part of a head can be malformed already
        # An empty line that follows a body does not begin the next request.
        if self.state is IDLE and data.strip(b"\r\n"):
            self.state = HEAD
            self._timer.set(self._context.now() + self._context.timeouts.head)
        self._unread = data

    def _begin_body(self, parsed: ParsedHead) -> None:
        """A part of the body is still to come."""
        if parsed.call is None:
            # The response does not depend on the body, so the rest of it is not waited for.
            self._is_last = True
            self._serve(parsed, b"")
            return
        context = self._context
        chunks = ChunkedDecoder() if parsed.head.chunked else None
        limit = context.limits.request_bytes
        self._body = Body(context.request_memory, self.flow, parsed.head.length, chunks, limit)
        self.state = BODY
        self._timer.set(context.now() + context.timeouts.call_body)
        if parsed.head.expects_continue:
            self._transport.write(CONTINUE)

    def _read_body(self, body: Body, data: bytes) -> bytes:
        """Reads what belongs to the body, and serves the request when it is whole; returns what
        follows."""
        data = body.feed(data)
        if body.complete:
            assert self._parsed is not None
            self._body = None
            try:
                self._serve(self._parsed, body.join())
            finally:
                body.release()
        return data

    def _forget_head(self) -> None:
        """The refusal that follows belongs to no request."""
        self._parsed = None
        if self._proxied:
            self._set_client(self._peer)

    def _set_client(self, address: str) -> None:
        self.address, self.flow = address, network_of(address)

    def _detach(self, data: bytes) -> None:
        """The request is for the other server, and so is the rest of the connection."""
        self._release()
        self.state = CLOSED
        self._transport.detach(data)

    # From requests to responses.

    def _serve(self, parsed: ParsedHead, body: bytes) -> None:
        if self._context.access_log is not None:
            self._request_at = self._context.now()
        if parsed.call is not None:
            self.state = WAITING
            self._prediction.start(parsed.call, body, self.flow)
        elif parsed.refusal is not None:
            self._refuse(parsed.refusal)
        elif parsed.response is not None:
            self._answer(parsed.response, self._context.responses.new_id())

    # As the owner of a prediction.

    def respond(self, response: CallResponse) -> None:
        self._answer(response, self._context.responses.new_id())
        if self._unread:
            self._resume()

    def refuse(self, refused: Refusal) -> None:
        self._refuse(refused)
        if self._unread:
            self._resume()

    def withdrawn(self) -> None:
        self.close()

    # Responses.

    def _refuse(self, refused: Refusal) -> None:
        request_id = refused.request_id or self._context.responses.new_id()
        self._answer(refusal_response(refused, request_id), request_id, refused.code)

    def _refuse_last(self, refused: Refusal) -> None:
        """Where the next request begins is unknown, or the body is not waited for."""
        self._is_last = True
        self._refuse(refused)

    def _answer(self, response: CallResponse, request_id: str, code: str = "") -> None:
        context, parsed = self._context, self._parsed
        connection, bodiless = "close", False
        if parsed is not None:
            bodiless = parsed.head.method == "HEAD"
            if not self._is_last:
                connection = parsed.connection
        self._keep_open = connection != "close"
        context.stats.answers[response.status] += 1
        now = context.now()
        self._prediction.record(now, request_id, response.status, code)
        if context.access_log is not None:
            self._log(context.access_log, response, request_id, now)
        sent = True
        for piece in context.responses.render(
            response, request_id, now, connection=connection, bodiless=bodiless
        ):
            sent = self._transport.write(piece)
        if sent:
            self._answered(now)
        else:
            self.state = SENDING
            self._timer.set(now + context.timeouts.send)

    def _log(self, log: AccessLog, response: CallResponse, request_id: str, now: float) -> None:
        head = None if self._parsed is None else self._parsed.head
        size = 0 if head is not None and head.method == "HEAD" else response.size
        seconds = max(0.0, now - self._request_at)
        log.add(self.address, head, response.status, size, seconds, request_id)
        self._request_at = inf

    def _answered(self, now: float) -> None:
        """The response is sent."""
        if self._keep_open and not self._is_last:
            self.state = IDLE
            self._timer.set(now + self._context.timeouts.idle)
        elif self._ended:
            self.close()
        else:
            self._linger()

    def _resume(self) -> None:
        """Continues with what came while the last request was served."""
        if self.state is IDLE and not self._in_read:
            data, self._unread = self._unread, b""
            self._read(data)
            if len(self._unread) < UNREAD_LIMIT and self.state is not CLOSED:
                self._transport.resume_reading()

    # The end.

    def _linger(self) -> None:
        """Closing with unread bytes would reset the connection, and could lose the response."""
        self._release()
        self.state = LINGERING
        self._timer.set(self._context.now() + self._context.timeouts.linger)
        self._transport.end()
        self._transport.resume_reading()

    def _on_deadline(self) -> None:
        if self.state is WAITING:
            return  # its ticket has a deadline of its own
        if self._yielding:
            self._timer.set(self._context.now() + self._context.timeouts.idle)
            self._resume()
        elif self.state in (HEAD, BODY):
            if self.state is HEAD:
                self._forget_head()
            self._refuse_last(Refusal("request.timeout", "the request did not come in time"))
        else:
            self.close()

    def _release(self) -> None:
        """Keeps nothing but the transport, and a ticket under way."""
        self._timer.close()
        self._unread = b""
        if self._body is not None:
            self._body.release()
            self._body = None
