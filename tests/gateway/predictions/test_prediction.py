"""One prediction: each start has one end, for any outcome of the pools and any moment at which the
caller leaves.
"""

from typing import cast

import pytest
import trio

from gateway.errors import Refusal
from gateway.predictions.call import CallResponse, ModelCall
from gateway.predictions.offload import OffloadedParser
from gateway.predictions.prediction import Prediction, predict
from tests.support.http_stage import (
    KEY,
    StagedOffload,
    StagedPool,
    busy,
    echo,
    echo_endpoints,
    parse,
)
from workers import Answered, Died
from workers.replica.ticket import Abandoned

BODY = b'{"request":1}'
CALL = ModelCall(key=KEY)


class Owner:
    """Records how its predictions end."""

    def __init__(self, *, large: bool = False) -> None:
        self.pool, self.offload = StagedPool(), StagedOffload()
        if large:
            self.offload.inline_limit = 1
            self.offload.pool.at_once = None
        self.endpoints = echo_endpoints(self.pool)
        self.ends: list[CallResponse | str] = []
        self.prediction = Prediction(self.endpoints, cast(OffloadedParser, self.offload), self)

    def start(self, call: ModelCall = CALL, body: bytes = BODY) -> None:
        self.prediction.start(call, body, "10.0.0.1")

    def respond(self, response: CallResponse) -> None:
        self.ends.append(response)

    def refuse(self, refused: Refusal) -> None:
        self.ends.append(refused.code)

    def withdrawn(self) -> None:
        self.ends.append("withdrawn")


def test_an_answer_is_a_response() -> None:
    """The outcome of the model's pool becomes the response."""
    owner = Owner()
    owner.start()
    assert owner.prediction.under_way
    owner.pool.answer()
    [response] = owner.ends
    assert isinstance(response, CallResponse)
    assert response.body.startswith(b'{"success":true,"response":1,')
    assert not owner.prediction.under_way


def test_refusals_come_at_once() -> None:
    """A bad body, an unknown key and a full queue are refused before `start` returns."""
    owner = Owner()
    owner.pool.at_once = busy
    for call, body in ((CALL, b"{"), (ModelCall(key="other"), BODY), (CALL, BODY)):
        owner.start(call, body)
    assert owner.ends == ["request.invalid", "model.accesskey", "model.busy"]


def test_a_large_body_is_parsed_by_the_offload_pool() -> None:
    """The offload pool comes first; only then does the model's pool get a ticket."""
    owner = Owner(large=True)
    owner.start()
    ticket = owner.offload.pool.begin()
    assert not owner.pool.seen
    ticket.settle(parse(ticket))
    assert [each.request for each in owner.pool.seen] == [b"1"]
    owner.pool.answer()
    assert len(owner.ends) == 1


@pytest.mark.parametrize("large", [False, True])
def test_a_caller_that_leaves_waits_in_no_queue(large: bool) -> None:
    """Its ticket is withdrawn while it is queued, also after its body was parsed."""
    owner = Owner(large=large)
    owner.start()
    assert owner.prediction.caller_left()
    assert owner.ends == []
    owner = Owner(large=True)
    owner.start()
    ticket = owner.offload.pool.begin()
    assert not owner.prediction.caller_left()
    ticket.settle(parse(ticket))
    assert owner.ends == ["withdrawn"]
    assert not owner.pool.waiting


def test_a_caller_that_leaves_gets_a_prediction_that_has_begun() -> None:
    """The replica finishes, and the owner gets the response."""
    owner = Owner()
    owner.start()
    owner.pool.begin()
    assert not owner.prediction.caller_left()
    owner.pool.answer()
    assert len(owner.ends) == 1


def test_abandon_ends_silently() -> None:
    """After it, an outcome reaches no owner."""
    owner = Owner()
    owner.start()
    ticket = owner.pool.begin()
    owner.prediction.abandon(0.0)
    ticket.settle(Answered(b"1", "replica-1"))
    assert owner.ends == []
    assert isinstance(ticket.outcome, Abandoned)


async def test_a_task_gets_response_or_refusal() -> None:
    """`predict` returns the response, raises the Refusal, and abandons when it is cancelled."""
    owner = Owner()
    offload = cast(OffloadedParser, owner.offload)
    owner.pool.at_once = echo
    response = await predict(owner.endpoints, offload, CALL, BODY, "10.0.0.1", "id")
    assert response.status == 200
    owner.pool.at_once = lambda ticket: Died("killed", "replica-1")
    with pytest.raises(Refusal, match="killed"):
        await predict(owner.endpoints, offload, CALL, BODY, "10.0.0.1", "id")
    owner.pool.at_once = None
    with trio.move_on_after(0.01):
        await predict(owner.endpoints, offload, CALL, BODY, "10.0.0.1", "id")
    assert isinstance(owner.pool.seen[-1].outcome, Abandoned)
