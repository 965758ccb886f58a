"""One prediction after the other for one caller: from the body of a call to its response.

A large body is first read by the offload pool; then the payload waits for the model's pool. At
most one ticket is open at a time. The laws:

- Each `start` is followed by exactly one of `respond`, `refuse` and `withdrawn` on the owner,
  perhaps before `start` returns; after `abandon` and a `withdraw` that succeeds by none.
- A caller that has left waits in no queue. A replica that has begun finishes.
"""

from typing import Protocol

import trio

from gateway.errors import Refusal, refusal
from gateway.predictions.call import (
    CallResponse,
    ModelCall,
    admit,
    find_endpoint,
    offloaded_envelope,
    response_to,
)
from gateway.predictions.endpoints import Endpoint, Endpoints
from gateway.predictions.envelope import Envelope, InvalidEnvelope, read
from gateway.predictions.offload import OffloadedParser
from gateway.predictions.traffic import ABANDONED
from workers import Ticket


class PredictionOwner(Protocol):
    """The caller of a prediction. Its methods must not block."""

    def respond(self, response: CallResponse) -> None: ...
    def refuse(self, refused: Refusal) -> None: ...

    def withdrawn(self) -> None:
        """The caller has left, and its request has been taken out of the queue."""


class Prediction:
    """One prediction at a time, for `owner`. For the reactor's thread."""

    __slots__ = (
        "_call",
        "_caller_left",
        "_endpoint",
        "_endpoints",
        "_flow",
        "_offload",
        "_owner",
        "_ticket",
        "_used",
    )

    def __init__(
        self, endpoints: Endpoints, offload: OffloadedParser, owner: PredictionOwner
    ) -> None:
        self._endpoints = endpoints
        self._offload = offload
        self._owner = owner
        self._call: ModelCall
        self._flow = ""
        self._ticket: Ticket | None = None
        # The model of the call and its ticket, until `record`.
        self._endpoint: Endpoint | None = None
        self._used: Ticket | None = None
        self._caller_left = False

    @property
    def under_way(self) -> bool:
        return self._ticket is not None

    def start(self, call: ModelCall, body: bytes, flow: str) -> None:
        """Predicts. `flow` is the client's; the ticket has that of the caller's key, if any."""
        self._call = call
        self._flow = flow
        self._endpoint = self._used = None
        if len(body) > self._offload.inline_limit:
            self._ticket = ticket = Ticket(body, self._on_envelope, flow)
            self._offload.pool.submit(ticket)
            return
        try:
            envelope = read(body)
        except InvalidEnvelope as error:
            self._owner.refuse(refusal(error))
        else:
            self._predict(envelope)

    def caller_left(self) -> bool:
        """The caller may be gone. Whether its request was withdrawn; otherwise a replica has begun
        with it, and the owner gets its end later."""
        self._caller_left = True
        return self._withdraw()

    def abandon(self, now: float) -> None:
        """The caller is gone."""
        ticket, self._ticket = self._ticket, None
        if ticket is not None:
            ticket.abandon()
        self.record(now, "", 0, ABANDONED)

    def record(self, now: float, request_id: str, status: int, code: str) -> None:
        """Counts the call for its model, if it has found one, once. `code` is "" for a success."""
        endpoint = self._endpoint
        if endpoint is not None:
            call = self._call
            caller = None if endpoint.may_call is None else call.caller
            endpoint.traffic.add(now, request_id, status, code, self._used, caller, call.test)
            self._endpoint = self._used = None

    def _predict(self, envelope: Envelope) -> None:
        call = self._call
        try:
            self._endpoint = endpoint = find_endpoint(self._endpoints, call, envelope)
            pool, flow = admit(self._endpoints, endpoint, call, self._flow)
        except Refusal as refused:
            self._owner.refuse(refused)
        else:
            ticket = Ticket(bytes(envelope.request), self._on_outcome, flow, call.limit)
            self._ticket = self._used = ticket
            pool.submit(ticket)

    def _on_envelope(self, ticket: Ticket) -> None:
        if ticket is not self._ticket or ticket.outcome is None:
            return  # it was withdrawn or abandoned
        self._ticket = None
        try:
            envelope = offloaded_envelope(ticket.outcome, ticket.request)
        except (Refusal, InvalidEnvelope) as error:
            self._owner.refuse(refusal(error))
            return
        self._predict(envelope)
        if self._caller_left and self._withdraw():
            self._owner.withdrawn()

    def _on_outcome(self, ticket: Ticket) -> None:
        if ticket is not self._ticket or ticket.outcome is None:
            return  # it was withdrawn or abandoned
        self._ticket = None
        assert self._endpoint is not None
        try:
            response = response_to(
                self._endpoints, self._endpoint.model_id, ticket.outcome, self._call, ticket.flow
            )
        except Refusal as refused:
            self._owner.refuse(refused)
        else:
            self._owner.respond(response)

    def _withdraw(self) -> bool:
        ticket, self._ticket = self._ticket, None
        if ticket is not None and ticket.withdraw():
            return True
        self._ticket = ticket
        return False


class _Waiting:
    """An owner for a task."""

    def __init__(self) -> None:
        self.ended = trio.Event()
        self.result: CallResponse | Refusal | None = None

    def respond(self, response: CallResponse) -> None:
        self.result = response
        self.ended.set()

    def refuse(self, refused: Refusal) -> None:
        self.result = refused
        self.ended.set()

    def withdrawn(self) -> None:
        raise AssertionError("a task abandons, it does not withdraw")


async def predict(
    endpoints: Endpoints,
    offload: OffloadedParser,
    call: ModelCall,
    body: bytes,
    flow: str,
    request_id: str,
) -> CallResponse:
    """The response to one call. Raises Refusal. Cancelled, it abandons the prediction."""
    waiting = _Waiting()
    prediction = Prediction(endpoints, offload, waiting)
    prediction.start(call, body, flow)
    try:
        await waiting.ended.wait()
        result, now = waiting.result, trio.current_time()
        if isinstance(result, Refusal):
            number = result.request_id or request_id
            prediction.record(now, number, result.kind.status, result.code)
            raise result
        assert result is not None
        prediction.record(now, request_id, result.status, "")
        return result
    finally:
        prediction.abandon(trio.current_time())
