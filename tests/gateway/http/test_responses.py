"""Responses as bytes: as h11 reads them."""

import time
from email.utils import parsedate_to_datetime

import h11
import pytest

from gateway.http.responses import ResponseRenderer
from gateway.predictions.call import CallResponse

ID = "1" * 32


def read(written: bytes, method: str) -> tuple[h11.Response, bytes, bool]:
    """The response, its body, and whether the connection can be used again."""
    client = h11.Connection(h11.CLIENT)
    client.send(h11.Request(method=method, target="/model", headers=[("Host", "x")]))
    client.send(h11.EndOfMessage())
    client.receive_data(written)
    response, body = client.next_event(), b""
    assert isinstance(response, h11.Response)
    while isinstance(event := client.next_event(), h11.Data):
        body += event.data
    assert isinstance(event, h11.EndOfMessage)
    return response, body, client.their_state is h11.DONE


@pytest.mark.parametrize("connection", ["", "close", "keep-alive"])
@pytest.mark.parametrize(
    "reply",
    [
        CallResponse(200, b'{"a":1}'),
        CallResponse(204, b"", {"Allow": "POST"}),
        CallResponse(429, b"{}", {"Retry-After": "7", "X-Other": "a, b"}),
        CallResponse(500, b""),
        CallResponse(200, b"[1]", before=b'{"a":', after=b"}"),
        CallResponse(201, bytearray(200_000), before=b"before", after=b"after"),
    ],
    ids=lambda reply: str(reply.status),
)
def test_response_is_read_as_meant(reply: CallResponse, connection: str) -> None:
    """Status, headers, body and the end of the connection, to GET and to HEAD."""
    replies = ResponseRenderer()
    for method in ("POST", "HEAD"):
        bodiless = method == "HEAD"
        pieces = replies.render(reply, ID, 0.0, connection=connection, bodiless=bodiless)
        written = b"".join(pieces)
        response, body, goes_on = read(written, method)
        headers = dict(response.headers)
        assert len(headers) == len(list(response.headers))
        assert response.status_code == reply.status
        assert body == (b"" if bodiless else reply.whole)
        assert goes_on == (connection != "close")
        assert headers[b"x-request-id"] == ID.encode()
        assert headers.get(b"connection", b"") == connection.encode()
        assert (b"content-length" in headers) == (reply.status != 204)
        for name, value in reply.headers.items():
            assert headers[name.lower().encode()] == value.encode()


def test_date_is_at_most_a_second_old(monkeypatch: pytest.MonkeyPatch) -> None:
    """The cached part of a response is rendered again each second."""
    replies = ResponseRenderer()
    wall = time.time()
    for now in (5.0, 5.5, 6.0, 7.25):
        monkeypatch.setattr(time, "time", lambda now=now: wall + now)
        response, _, _ = read(b"".join(replies.render(CallResponse(200, b""), ID, now)), "GET")
        date = parsedate_to_datetime(dict(response.headers)[b"date"].decode())
        assert 0 <= wall + now - date.timestamp() < 2


def test_ids_are_unique() -> None:
    """Also those of another gateway, or of this one after a restart."""
    ids = [
        replies.new_id()
        for replies in (ResponseRenderer(), ResponseRenderer())
        for _ in range(1000)
    ]
    assert len(set(ids)) == 2000
    assert all(len(each) == 32 for each in ids)
