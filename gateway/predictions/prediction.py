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
    offloaded_envelope,
    resolve,
    response_to,
)
from gateway.predictions.endpoints import Endpoints
from gateway.predictions.envelope import Envelope, InvalidEnvelope, read
from gateway.predictions.offload import OffloadedParser
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
        "_endpoints",
        "_flow",
        "_model_id",
        "_offload",
        "_owner",
        "_ticket",
    )

    def __init__(
        self, endpoints: Endpoints, offload: OffloadedParser, owner: PredictionOwner
    ) -> None:
        self._endpoints = endpoints
        self._offload = offload
        self._owner = owner
        self._call: ModelCall
        self._flow = self._model_id = ""
        self._ticket: Ticket | None = None
        self._caller_left = False

    @property
    def under_way(self) -> bool:
        return self._ticket is not None

    def start(self, call: ModelCall, body: bytes, flow: str) -> None:
        """Predicts. `flow` is the client's; the ticket has that of the caller's key, if any."""
        self._call = call
        self._flow = flow
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

    def abandon(self) -> None:
        """The caller is gone."""
        ticket, self._ticket = self._ticket, None
        if ticket is not None:
            ticket.abandon()

    def _predict(self, envelope: Envelope) -> None:
        call = self._call
        try:
            pool, payload, flow, self._model_id = resolve(
                self._endpoints, call, envelope, self._flow
            )
        except Refusal as refused:
            self._owner.refuse(refused)
        else:
            self._ticket = ticket = Ticket(payload, self._on_outcome, flow, call.limit)
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
        try:
            response = response_to(
                self._endpoints, self._model_id, ticket.outcome, self._call, ticket.flow
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
    endpoints: Endpoints, offload: OffloadedParser, call: ModelCall, body: bytes, flow: str
) -> CallResponse:
    """The response to one call. Raises Refusal. Cancelled, it abandons the prediction."""
    waiting = _Waiting()
    prediction = Prediction(endpoints, offload, waiting)
    prediction.start(call, body, flow)
    try:
        await waiting.ended.wait()
    finally:
        prediction.abandon()
    assert waiting.result is not None
    if isinstance(waiting.result, Refusal):
        raise waiting.result
    return waiting.result
